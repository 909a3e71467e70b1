package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.nio.FloatBuffer;
import org.junit.jupiter.api.Test;

class DropPathTest {
    private static final int IMAGES = 20_000;

    /** Probabilities 0, 0.2, 0.4 of three blocks; what stays is divided by 1, 0.8, 0.6, so that the mean is 1. */
    @Test
    void leavesOutMoreTheDeeperTheBlock() {
        DropPath dropPath = new DropPath(0.4, 1);
        FloatBuffer factors = FloatBuffer.allocate(6 * IMAGES);
        for (int i = 0; i < IMAGES; i++) {
            dropPath.apply(factors, 3, IMAGES, i, 2, i);
        }
        for (int block = 0; block < 3; block++) {
            double dropped = 0.2 * block;
            for (int branch = 0; branch < 2; branch++) {
                int kept = 0;
                for (int i = 0; i < IMAGES; i++) {
                    float factor = factors.get((2 * block + branch) * IMAGES + i);
                    assertThat(factor).isIn(0f, (float) (1 / (1 - dropped)));
                    kept += factor == 0 ? 0 : 1;
                }
                assertThat((double) kept / IMAGES).isCloseTo(1 - dropped, within(0.015));
            }
        }
    }

    @Test
    void dependsOnSeedEpochAndImageOnly() {
        assertThat(factors(1, 4, 7, 0)).isEqualTo(factors(1, 4, 7, 1));
        assertThat(factors(1, 4, 7, 0)).isNotEqualTo(factors(2, 4, 7, 0));
        assertThat(factors(1, 4, 7, 0)).isNotEqualTo(factors(1, 5, 7, 0));
        assertThat(factors(1, 4, 7, 0)).isNotEqualTo(factors(1, 4, 8, 0));
    }

    /** Factors of 64 blocks of one image, wherever it stands in a batch of two. */
    private static float[] factors(long seed, int epoch, int index, int at) {
        FloatBuffer out = FloatBuffer.allocate(256);
        new DropPath(0.5, seed).apply(out, 64, 2, at, epoch, index);
        float[] factors = new float[128];
        for (int i = 0; i < factors.length; i++) {
            factors[i] = out.get(2 * i + at);
        }
        return factors;
    }

    @Test
    void refusesToLeaveOutEverything() {
        assertThatIllegalArgumentException().isThrownBy(() -> new DropPath(1, 0));
        assertThatIllegalArgumentException().isThrownBy(() -> new DropPath(Double.NaN, 0));
    }
}
