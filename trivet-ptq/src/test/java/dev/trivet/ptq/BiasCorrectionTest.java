package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class BiasCorrectionTest {
    /**
     * X = [[1, 2], [3, 6]] has the mean (2, 4); quantized to [[1, 1], [2, 8]], eX = [[0, -1], [-1, 2]] has (-0.5, 0.5). W =
     * [[1, 2], [-1, 3]] quantized to [[1.5, 2], [-1, 2]], eW = [[0.5, 0], [0, -1]].
     */
    @Test
    void handWorkedTerms() {
        BiasCorrection correction = BiasCorrection.of(
                MemorySegment.ofArray(new float[] {1, 2, 3, 6}),
                MemorySegment.ofArray(new float[] {1, 1, 2, 8}),
                2,
                2,
                new float[] {1, 2, -1, 3},
                new float[] {1.5f, 2, -1, 2});
        assertThat(correction.outputs()).isEqualTo(2);
        assertThat(correction.weightError(0)).isEqualTo(1); // 0.5 * 2
        assertThat(correction.inputError(0)).isEqualTo(0.5); // 1 * -0.5 + 2 * 0.5
        assertThat(correction.jointError(0)).isEqualTo(-0.25); // 0.5 * -0.5
        assertThat(correction.total(0)).isEqualTo(1.25);
        assertThat(correction.weightError(1)).isEqualTo(-4); // -1 * 4
        assertThat(correction.inputError(1)).isEqualTo(2); // -1 * -0.5 + 3 * 0.5
        assertThat(correction.jointError(1)).isEqualTo(-0.5); // -1 * 0.5
        assertThat(correction.total(1)).isEqualTo(-2.5);
        assertThat(correction.corrected(new float[] {10, 20})).containsExactly(8.75f, 22.5f);
    }

    private static float[] noise(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (0.5 + random.nextGaussian());
        }
        return values;
    }

    private static float[] rounded(float[] values, float step) {
        float[] rounded = values.clone();
        for (int i = 0; i < rounded.length; i++) {
            rounded[i] = (float) Math.rint(rounded[i] / step) * step;
        }
        return rounded;
    }

    private static double[] meanOutput(float[] x, float[] w, int rows, int inputs) {
        double[] mean = new double[w.length / inputs];
        for (int r = 0; r < rows; r++) {
            for (int n = 0; n < mean.length; n++) {
                for (int k = 0; k < inputs; k++) {
                    mean[n] += (double) x[r * inputs + k] * w[n * inputs + k] / rows;
                }
            }
        }
        return mean;
    }

    /** Eq. (16): the three terms are all that sets the mean outputs apart, and corrected biases bring them together. */
    @Property(tries = 100)
    void theTotalIsTheShiftOfTheMeanOutput(
            @ForAll long seed,
            @ForAll @IntRange(min = 1, max = 20) int rows,
            @ForAll @IntRange(min = 1, max = 20) int inputs,
            @ForAll @IntRange(min = 1, max = 20) int outputs) {
        Random random = new Random(seed);
        float[] x = noise(random, rows * inputs);
        float[] w = noise(random, outputs * inputs);
        float[] xq = rounded(x, 0.3f);
        float[] wq = rounded(w, 0.2f);
        BiasCorrection correction =
                BiasCorrection.of(MemorySegment.ofArray(x), MemorySegment.ofArray(xq), rows, inputs, w, wq);
        double[] o = meanOutput(x, w, rows, inputs);
        double[] oq = meanOutput(xq, wq, rows, inputs);
        float[] bias = correction.corrected(new float[outputs]);
        for (int n = 0; n < outputs; n++) {
            assertThat(correction.total(n)).isCloseTo(oq[n] - o[n], within(1e-5));
            assertThat(oq[n] + bias[n]).isCloseTo(o[n], within(1e-5));
        }
    }

    @Test
    void exactValuesNeedNoCorrection() {
        MemorySegment x = MemorySegment.ofArray(new float[] {1, 2, 3});
        BiasCorrection correction = BiasCorrection.of(x, x, 1, 3, new float[] {4, 5, 6}, new float[] {4, 5, 6});
        assertThat(correction.total(0)).isZero();
        assertThat(correction.corrected(new float[] {0.1f})).containsExactly(0.1f);
    }

    @Test
    void shapesHaveToAgree() {
        assertThatThrownBy(() -> new BiasCorrection(new double[3], new double[2], new float[6], new float[6]))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new BiasCorrection(new double[3], new double[3], new float[6], new float[3]))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new BiasCorrection(new double[3], new double[3], new float[7], new float[7]))
                .isInstanceOf(IllegalArgumentException.class);
        BiasCorrection two = new BiasCorrection(new double[3], new double[3], new float[6], new float[6]);
        assertThatThrownBy(() -> two.corrected(new float[3])).isInstanceOf(IllegalArgumentException.class);
    }
}
