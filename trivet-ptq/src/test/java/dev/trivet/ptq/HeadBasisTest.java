package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HeadBasisTest {
    /** Moments of channels whose sizes differ {@code spread}-fold. */
    private static double[] moments(long seed, int width, double spread) {
        Random random = new Random(seed);
        double[] mix = random.doubles((long) width * width)
                .map(d -> random.nextGaussian())
                .toArray();
        double[] moments = new double[width * width];
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < width; j++) {
                double scale = Math.pow(spread, (i + j) / (2.0 * width));
                for (int k = 0; k < width; k++) {
                    moments[i * width + j] += scale * mix[i * width + k] * mix[j * width + k];
                }
                moments[i * width + j] += i == j ? scale * width : 0;
            }
        }
        return moments;
    }

    /** A (left) or A^-T (right), as they act on the unit vectors. */
    private static double[] matrix(HeadBasis basis, int width, boolean left) {
        float[] unit = new float[width * width];
        for (int i = 0; i < width; i++) {
            unit[i * width + i] = 1;
        }
        basis.applyToRows(unit, width, 0, left);
        double[] matrix = new double[unit.length];
        for (int i = 0; i < unit.length; i++) {
            matrix[i] = unit[i];
        }
        return matrix;
    }

    /** {@code a m a^T}. */
    private static double[] congruent(double[] a, double[] m, int width) {
        double[] result = new double[width * width];
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < width; j++) {
                for (int k = 0; k < width; k++) {
                    for (int l = 0; l < width; l++) {
                        result[i * width + j] += a[i * width + k] * m[k * width + l] * a[j * width + l];
                    }
                }
            }
        }
        return result;
    }

    private static void productsAreKept(HeadBasis basis, int width) {
        Random random = new Random(width);
        float[] a = new float[width];
        float[] b = new float[width];
        double sizes = 0;
        double before = 0;
        for (int i = 0; i < width; i++) {
            a[i] = (float) random.nextGaussian();
            b[i] = (float) random.nextGaussian();
            before += (double) a[i] * b[i];
        }
        basis.applyToRows(a, 1, 0, true);
        basis.applyToRows(b, 1, 0, false);
        double after = 0;
        for (int i = 0; i < width; i++) {
            after += (double) a[i] * b[i];
            sizes += Math.abs((double) a[i] * b[i]);
        }
        assertThat(after).isCloseTo(before, within(1e-6 * (1 + sizes)));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 8, 12, 64})
    void productsStayAndBothSidesBecomeAlike(int width) {
        double[] p = moments(1, width, 30);
        double[] q = moments(2, width, 0.05);
        HeadBasis basis = new HeadBasis(p, q, width);
        productsAreKept(basis, width);
        double[] left = congruent(matrix(basis, width, true), p, width);
        double[] right = congruent(matrix(basis, width, false), q, width);
        double mean = 0;
        for (int i = 0; i < width; i++) {
            mean += left[i * width + i] / width;
        }
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < width; j++) {
                // The floor under weak directions is a thousandth of the mean.
                assertThat(left[i * width + j]).isCloseTo(right[i * width + j], within(0.02 * mean));
            }
            if (Integer.bitCount(width) == 1) {
                assertThat(left[i * width + i]).isCloseTo(mean, within(0.02 * mean));
            } else {
                assertThat(left[i * width + i]).isBetween(0.05 * mean, 2 * mean);
            }
        }
    }

    /** The sum of both sides' energies, which sets the noise, is the least there is: twice the sum of the roots of PQ's values. */
    @Test
    void energiesAreLeast() {
        double[] p = {4, 0, 0, 9};
        double[] q = {25, 0, 0, 1};
        HeadBasis basis = new HeadBasis(p, q, 2);
        double[] left = congruent(matrix(basis, 2, true), p, 2);
        double[] right = congruent(matrix(basis, 2, false), q, 2);
        // Roots of 100 and 9.
        assertThat(left[0] + left[3]).isCloseTo(13, within(0.05));
        assertThat(right[0] + right[3]).isCloseTo(13, within(0.05));
        assertThat(left[0]).isCloseTo(6.5, within(0.03));
    }

    /** Channels that carry nothing, repeat each other, or all stand still. */
    @ParameterizedTest
    @ValueSource(ints = {2, 3, 64})
    void singularMoments(int width) {
        double[] none = new double[width * width];
        double[] one = new double[width * width];
        one[0] = 5;
        double[] same = new double[width * width];
        java.util.Arrays.fill(same, 2);
        double[] full = moments(1, width, 10);
        for (double[] p : new double[][] {none, one, same, full}) {
            for (double[] q : new double[][] {none, one, same, full}) {
                HeadBasis basis = new HeadBasis(p, q, width);
                productsAreKept(basis, width);
                for (boolean left : new boolean[] {true, false}) {
                    for (double v : matrix(basis, width, left)) {
                        assertThat(Math.abs(v))
                                .as("no weight grows without bounds")
                                .isLessThan(1e5);
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 6, 8, 12, 64})
    void theSpreadingMatrixIsOrthonormal(int width) {
        double[] unit = new double[width * width];
        for (int i = 0; i < width; i++) {
            unit[i * width + i] = 1;
        }
        double[] gram = congruent(HeadBasis.spread(width), unit, width);
        assertThat(gram).containsExactly(unit, within(1e-12));
        if (Integer.bitCount(width) == 1) {
            for (double v : HeadBasis.spread(width)) {
                assertThat(Math.abs(v)).isCloseTo(1 / Math.sqrt(width), within(1e-12));
            }
        }
    }

    /** What reads A x through W A^-1 gives what W gave. */
    @Test
    void columnsUndoTheRows() {
        int width = 3;
        HeadBasis basis = new HeadBasis(moments(1, width, 10), moments(2, width, 0.1), width);
        float[] x = {9, 1, -2, 0.5f, 9};
        float[] w = {0, 0.3f, -0.7f, 1.1f, 0, 0, 2, 0.25f, -1, 0};
        double[] before = {0.3 * 1 + 0.7 * 2 + 1.1 * 0.5, 2 - 0.5 - 0.5};
        basis.applyToRows(x, 1, 1, true);
        basis.applyInverseToColumns(w, 5, 1);
        assertThat(new float[] {x[0], x[4], w[0], w[4], w[5], w[9]}).containsExactly(9, 9, 0, 0, 0, 0);
        for (int n = 0; n < 2; n++) {
            double sum = 0;
            for (int c = 1; c < 4; c++) {
                sum += (double) w[5 * n + c] * x[c];
            }
            assertThat(sum).isCloseTo(before[n], within(1e-5));
        }
    }
}
