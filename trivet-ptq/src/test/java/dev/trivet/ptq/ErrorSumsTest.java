package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ErrorSumsTest {
    private static ErrorSums sums(int rows, int columns, float[] output, int[] raw, int[] correction, float[] scale) {
        ErrorSums sums = new ErrorSums(rows, columns);
        try (Arena arena = Arena.ofConfined()) {
            var o = arena.allocateFrom(JAVA_FLOAT, output);
            sums.setOutput(o);
            sums.setQuantized(o, arena.allocateFrom(JAVA_INT, raw), correction, scale);
        }
        return sums;
    }

    /** Eq. (11) over all elements of an image; the correction and scale of each column are applied first. */
    @Test
    void handWorkedMatrix() {
        // q = (raw - correction) * scale = [[1, 4], [3, 8]], o = [[1, 5], [3, 7]]
        ErrorSums sums = sums(
                2, 2, new float[] {1, 5, 3, 7}, new int[] {12, 3, 16, 5}, new int[] {10, 1}, new float[] {0.5f, 2});
        // Both have mean 4. Deviations: o -3 1 -1 3, q -3 0 -1 4; products 9 + 0 + 1 + 12, squares 20 and 26.
        assertThat(sums.pearson()).isCloseTo(22 / Math.sqrt(20 * 26), within(1e-6));
        assertThat(sums.pearson(0)).isCloseTo(1, within(1e-6));
        assertThat(sums.pearson(1)).isCloseTo(1, within(1e-6));
    }

    @Test
    void oppositeSignsCorrelateNegatively() {
        ErrorSums sums = sums(3, 1, new float[] {1, 2, 4}, new int[] {-1, -2, -4}, new int[] {0}, new float[] {1});
        assertThat(sums.pearson(0)).isCloseTo(-1, within(1e-6));
        assertThat(sums.pearson()).isCloseTo(-1, within(1e-6));
    }

    @Test
    void noErrorIsOne() {
        ErrorSums sums = sums(
                2, 3, new float[] {1, -2, 3, 4, 5, -6}, new int[] {1, -2, 3, 4, 5, -6}, new int[3], new float[] {1, 1, 1
                });
        assertThat(sums.pearson()).isEqualTo(1);
        for (int c = 0; c < 3; c++) {
            assertThat(sums.pearson(c)).isEqualTo(1);
        }
    }

    /** Pearson's r of a constant is not defined; a constant is like its own copy and like nothing else. */
    @ParameterizedTest
    @ValueSource(floats = {0f, 1f, 0.1f, -7.3f, 1234.567f})
    void constants(float value) {
        int rows = 17;
        float[] output = new float[2 * rows];
        int[] raw = new int[2 * rows];
        Arrays.fill(output, value);
        for (int r = 0; r < rows; r++) {
            raw[2 * r] = 1;
            raw[2 * r + 1] = 3 + r % 4;
        }
        ErrorSums sums = sums(rows, 2, output, raw, new int[2], new float[] {value, 0.3f});
        assertThat(sums.pearson(0)).as("the same constant").isEqualTo(1);
        assertThat(sums.pearson(1)).as("not the same").isZero();
        assertThat(sums.pearson()).isZero();
        // The other way round: a varying output and a constant copy of it.
        ErrorSums flat = sums(
                3, 1, new float[] {value, value + 1, value + 2}, new int[] {5, 5, 5}, new int[1], new float[] {0.25f});
        assertThat(flat.pearson(0)).isCloseTo(0, within(1e-3));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 16, 17, 40})
    void raggedWidthsAgreeWithDoubles(int columns) {
        compare(23, columns, 0, 1e-6);
    }

    /** At a mean hundred times the spread, sums of plain squares in float would be lost. */
    @ParameterizedTest
    @ValueSource(doubles = {-100, 30, 1000})
    void aLargeMeanCostsNoPrecision(double mean) {
        compare(197, 5, mean, 1e-6);
    }

    /** At 8 bits the error is about a two-hundredth of the spread. */
    private static void compare(int rows, int columns, double mean, double tolerance) {
        Random random = new Random(columns);
        float[] output = new float[rows * columns];
        int[] raw = new int[rows * columns];
        int[] correction = new int[columns];
        float[] scale = new float[columns];
        double[] o = new double[rows * columns];
        double[] q = new double[rows * columns];
        for (int c = 0; c < columns; c++) {
            correction[c] = random.nextInt(-5000, 5000);
            scale[c] = 0.002f + random.nextFloat() / 100;
        }
        for (int i = 0; i < raw.length; i++) {
            int c = i % columns;
            output[i] = (float) (mean * (1 + 0.1 * c) + random.nextGaussian());
            raw[i] = correction[c] + Math.round(output[i] / scale[c]);
            o[i] = output[i];
            q[i] = (raw[i] - correction[c]) * (double) scale[c];
        }
        ErrorSums sums = sums(rows, columns, output, raw, correction, scale);
        assertThat(sums.pearson()).isCloseTo(Fixtures.pearson(o, q), within(tolerance));
        for (int c = 0; c < columns; c++) {
            double[] oc = new double[rows];
            double[] qc = new double[rows];
            for (int r = 0; r < rows; r++) {
                oc[r] = o[r * columns + c];
                qc[r] = q[r * columns + c];
            }
            assertThat(sums.pearson(c)).as("column " + c).isCloseTo(Fixtures.pearson(oc, qc), within(tolerance));
        }
    }

    /** An image's sums replace the last image's. */
    @Test
    void sumsAreReused() {
        ErrorSums sums = new ErrorSums(2, 1);
        try (Arena arena = Arena.ofConfined()) {
            for (int image = 0; image < 2; image++) {
                var o = arena.allocateFrom(JAVA_FLOAT, 1 + image, 2 - image);
                sums.setOutput(o);
                sums.setQuantized(o, arena.allocateFrom(JAVA_INT, 1 + image, 2 - image), new int[1], new float[] {1});
                assertThat(sums.pearson()).isEqualTo(1);
                assertThat(sums.pearson(0)).isEqualTo(1);
            }
        }
    }
}
