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
    private static double whole(ErrorSums sums) {
        return sums.pearson(0, sums.columns(), new float[sums.columns()]);
    }

    private static double column(ErrorSums sums, int column) {
        return sums.pearson(column, column + 1, new float[sums.columns()]);
    }

    private static ErrorSums sums(int rows, int columns, float[] output, int[] raw, int[] correction, float[] scale) {
        ErrorSums sums = new ErrorSums(rows, columns);
        try (Arena arena = Arena.ofConfined()) {
            var o = arena.allocateFrom(JAVA_FLOAT, output);
            sums.setOutput(o);
            sums.setQuantized(o, arena.allocateFrom(JAVA_INT, raw), correction, 1, scale, 1);
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
        assertThat(whole(sums)).isCloseTo(22 / Math.sqrt(20 * 26), within(1e-6));
        assertThat(column(sums, 0)).isCloseTo(1, within(1e-6));
        assertThat(column(sums, 1)).isCloseTo(1, within(1e-6));
    }

    @Test
    void biasAndScalesAreApplied() {
        // The input's zero point 2 and scale 0.25 are applied to row sums and weight scales: corrections 10 and 4,
        // steps 0.5, 2.
        ErrorSums sums = new ErrorSums(2, 2);
        try (Arena arena = Arena.ofConfined()) {
            var o = arena.allocateFrom(JAVA_FLOAT, 1, 5, 3, 7);
            sums.setOutput(o);
            var raw = arena.allocateFrom(JAVA_INT, 12, 6, 16, 8);
            sums.setQuantized(o, raw, new int[] {5, 2}, 2, new float[] {2, 8}, 0.25f);
        }
        // q = [[1, 4], [3, 8]]
        assertThat(sums.meanError(0)).isZero();
        assertThat(sums.meanError(1)).isZero();
        assertThat(whole(sums)).isCloseTo(22 / Math.sqrt(20 * 26), within(1e-6));
        // q = [[1, 6], [3, 10]]: mean 5, deviations -4 1 -2 5; products 12 + 1 + 2 + 15, squares 20 and 46.
        assertThat(sums.pearson(0, 2, new float[] {0, 2})).isCloseTo(30 / Math.sqrt(20 * 46), within(1e-6));
        // One column's correlation is blind to its bias.
        assertThat(sums.pearson(1, 2, new float[] {0, 2})).isCloseTo(1, within(1e-6));
    }

    /** A constant output whose error is a constant, too, is exact once the bias takes the error up. */
    @Test
    void aBiasCanMakeAConstantExact() {
        ErrorSums sums = sums(2, 1, new float[] {5, 5}, new int[] {3, 3}, new int[] {0}, new float[] {1});
        assertThat(sums.meanError(0)).isEqualTo(-2);
        assertThat(column(sums, 0)).isZero();
        assertThat(sums.pearson(0, 1, new float[] {2})).isEqualTo(1);
    }

    @Test
    void oppositeSignsCorrelateNegatively() {
        ErrorSums sums = sums(3, 1, new float[] {1, 2, 4}, new int[] {-1, -2, -4}, new int[] {0}, new float[] {1});
        assertThat(column(sums, 0)).isCloseTo(-1, within(1e-6));
        assertThat(whole(sums)).isCloseTo(-1, within(1e-6));
    }

    @Test
    void noErrorIsOne() {
        ErrorSums sums = sums(
                2, 3, new float[] {1, -2, 3, 4, 5, -6}, new int[] {1, -2, 3, 4, 5, -6}, new int[3], new float[] {1, 1, 1
                });
        assertThat(whole(sums)).isEqualTo(1);
        for (int c = 0; c < 3; c++) {
            assertThat(column(sums, c)).isEqualTo(1);
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
        assertThat(column(sums, 0)).as("the same constant").isEqualTo(1);
        assertThat(column(sums, 1)).as("not the same").isZero();
        assertThat(whole(sums)).isZero();
        // The other way round: a varying output and a constant copy of it.
        ErrorSums flat = sums(
                3, 1, new float[] {value, value + 1, value + 2}, new int[] {5, 5, 5}, new int[1], new float[] {0.25f});
        assertThat(column(flat, 0)).isCloseTo(0, within(1e-3));
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
        assertThat(whole(sums)).isCloseTo(Fixtures.pearson(o, q), within(tolerance));
        for (int c = 0; c < columns; c++) {
            double[] oc = new double[rows];
            double[] qc = new double[rows];
            for (int r = 0; r < rows; r++) {
                oc[r] = o[r * columns + c];
                qc[r] = q[r * columns + c];
            }
            assertThat(column(sums, c)).as("column " + c).isCloseTo(Fixtures.pearson(oc, qc), within(tolerance));
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
                sums.setQuantized(
                        o, arena.allocateFrom(JAVA_INT, 1 + image, 2 - image), new int[1], 1, new float[] {1}, 1);
                assertThat(whole(sums)).isEqualTo(1);
                assertThat(column(sums, 0)).isEqualTo(1);
            }
        }
    }
}
