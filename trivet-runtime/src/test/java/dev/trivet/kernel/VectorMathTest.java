package dev.trivet.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.SplittableRandom;
import jdk.incubator.vector.FloatVector;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class VectorMathTest {
    private static final int L = FloatVector.SPECIES_PREFERRED.length();

    private static float highest(float[] lanes) {
        return VectorMath.highest(FloatVector.fromArray(FloatVector.SPECIES_PREFERRED, lanes, 0));
    }

    /** Of numbers of either sign alone and of both, and of what padding and masks bring. */
    @ParameterizedTest
    @CsvSource({"-3, -1", "1, 3", "-2, 2", "-1e-40, -1e-42", "-1e30, 1e30"})
    void highestIsTheLargestLane(float low, float high) {
        SplittableRandom random = new SplittableRandom(5);
        for (int run = 0; run < 100; run++) {
            float[] lanes = new float[L];
            float expected = Float.NEGATIVE_INFINITY;
            for (int i = 0; i < L; i++) {
                lanes[i] = (float) (low + (high - low) * random.nextDouble());
                if (random.nextInt(4) == 0) {
                    lanes[i] = Float.NEGATIVE_INFINITY;
                }
                expected = Math.max(expected, lanes[i]);
            }
            assertThat(highest(lanes)).isEqualTo(expected);
        }
    }

    @ParameterizedTest
    @CsvSource({"-0.0, -1, -0.0", "0.0, -0.0, 0.0", "-Infinity, -Infinity, -Infinity", "Infinity, 7, Infinity"})
    void highestOfTwo(float one, float others, float expected) {
        for (int i = 0; i < L; i++) {
            float[] lanes = new float[L];
            Arrays.fill(lanes, others);
            lanes[i] = one;
            assertThat(Float.floatToRawIntBits(highest(lanes))).isEqualTo(Float.floatToRawIntBits(expected));
        }
    }
}
