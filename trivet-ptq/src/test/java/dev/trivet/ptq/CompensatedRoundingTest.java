package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.BadInputException;
import dev.trivet.quant.WeightCoding;
import java.util.Comparator;
import java.util.Random;
import java.util.stream.IntStream;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CompensatedRoundingTest {
    /** {@code [inputs, outputs]}. */
    private static double[] noise(long seed, int count) {
        Random random = new Random(seed);
        double[] values = new double[count];
        for (int i = 0; i < count; i++) {
            values[i] = random.nextGaussian();
        }
        return values;
    }

    /** Covariance of strongly correlated inputs. */
    private static double[] correlated(long seed, int inputs) {
        double[] mix = noise(seed, inputs * inputs);
        double[] h = new double[inputs * inputs];
        for (int i = 0; i < inputs; i++) {
            for (int j = 0; j < inputs; j++) {
                // Directions of falling energy.
                for (int k = 0; k < inputs; k++) {
                    h[i * inputs + j] += mix[i * inputs + k] * mix[j * inputs + k] / ((k + 1) * (k + 1));
                }
            }
        }
        return h;
    }

    private static int nearest(double weight, float scale, int bits) {
        int half = 1 << (bits - 1);
        return (int) Math.clamp(Math.rint(weight / scale), -half, half - 1);
    }

    private static double outputError(double[] h, double[] error) {
        double sum = 0;
        for (int i = 0; i < error.length; i++) {
            for (int j = 0; j < error.length; j++) {
                sum += error[i] * h[i * error.length + j] * error[j];
            }
        }
        return sum;
    }

    /**
     * By hand: H = [[4, 2], [2, 2]] and damping 0.01 * 3. The first input has more energy and is rounded as it is; the error is
     * {@code 4 e0^2 + 4 e0 e1 + 2.03 e1^2}, which for a given e0 is least at {@code e1 = -2 / 2.03 e0}.
     */
    @Test
    void theSecondInputMakesUpForTheFirst() {
        double[] h = {4, 2, 2, 2};
        int outputs = 40;
        double[] weight = new double[2 * outputs];
        for (int n = 0; n < outputs; n++) {
            weight[n] = 1 - 0.01 * n;
            weight[outputs + n] = 0.013 * n - 0.3;
        }
        CompensatedRounding.Rounded rounded =
                new CompensatedRounding(h, 2, outputs).round(weight, WeightCoding.ofBits(4));
        int moved = 0;
        for (int n = 0; n < outputs; n++) {
            float scale = rounded.scales()[n];
            int first = nearest(weight[n], scale, 4);
            double left = weight[n] - first * (double) scale;
            int second = nearest(weight[outputs + n] + 2 / 2.03 * left, scale, 4);
            assertThat(rounded.codes()[2 * n]).isEqualTo(first);
            assertThat(rounded.codes()[2 * n + 1]).isEqualTo(second);
            moved += second == nearest(weight[outputs + n], scale, 4) ? 0 : 1;
        }
        assertThat(moved).as("codes that are not the nearest").isGreaterThan(5);
    }

    /** The input of most energy comes first wherever it stands. */
    @Test
    void theOrderIsThatOfEnergy() {
        double[] weight = {0.31, 0.9};
        CompensatedRounding.Rounded a =
                new CompensatedRounding(new double[] {4, 2, 2, 2}, 2, 1).round(weight, WeightCoding.ofBits(3));
        double[] turned = {0.9, 0.31};
        CompensatedRounding.Rounded b =
                new CompensatedRounding(new double[] {2, 2, 2, 4}, 2, 1).round(turned, WeightCoding.ofBits(3));
        assertThat(a.scales()).isEqualTo(b.scales());
        assertThat(a.codes()).containsExactly(b.codes()[1], b.codes()[0]);
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4, 8, 10})
    void independentInputsAreRoundedToTheNearest(int bits) {
        int inputs = 12;
        int outputs = 9;
        double[] h = new double[inputs * inputs];
        for (int i = 0; i < inputs; i++) {
            h[i * inputs + i] = 1 + i % 5;
        }
        double[] weight = noise(bits, inputs * outputs);
        CompensatedRounding.Rounded rounded =
                new CompensatedRounding(h, inputs, outputs).round(weight, WeightCoding.ofBits(bits));
        for (int n = 0; n < outputs; n++) {
            for (int k = 0; k < inputs; k++) {
                assertThat(rounded.codes()[n * inputs + k])
                        .isEqualTo(nearest(weight[k * outputs + n], rounded.scales()[n], bits));
            }
        }
    }

    /**
     * A channel none of whose codes is at an end of the range: the nearest plane's bound {@code sum_k R_kk^2 s^2 / 4} on
     * {@code e^T (H + d I) e}, whatever H is.
     */
    @Property(tries = 200)
    void errorIsWithinTheBoundOfTheNearestPlane(@ForAll long seed, @ForAll @IntRange(min = 3, max = 10) int bits) {
        int inputs = 2 + (int) Math.floorMod(seed, 14L);
        int outputs = 20;
        double[] h = correlated(seed, inputs);
        double[] weight = noise(seed + 1, inputs * outputs);
        CompensatedRounding.Rounded rounded =
                new CompensatedRounding(h, inputs, outputs).round(weight, WeightCoding.ofBits(bits));
        double[] damped = h.clone();
        double trace = 0;
        for (int k = 0; k < inputs; k++) {
            trace += h[k * inputs + k];
        }
        for (int k = 0; k < inputs; k++) {
            damped[k * inputs + k] += 0.01 * trace / inputs;
        }
        double pivots = sumOfPivots(damped, inputs);
        int half = 1 << (bits - 1);
        for (int n = 0; n < outputs; n++) {
            double scale = rounded.scales()[n];
            double[] error = new double[inputs];
            boolean clipped = false;
            for (int k = 0; k < inputs; k++) {
                int code = rounded.codes()[n * inputs + k];
                clipped |= code == -half || code == half - 1;
                error[k] = weight[k * outputs + n] - code * scale;
            }
            if (!clipped) {
                assertThat(outputError(damped, error)).isLessThanOrEqualTo(pivots * scale * scale / 4 * (1 + 1e-9));
            }
        }
    }

    /** The squared diagonal of R: inputs of falling energy are eliminated from the last to the first. */
    private static double sumOfPivots(double[] matrix, int inputs) {
        int[] order = IntStream.range(0, inputs)
                .boxed()
                .sorted(Comparator.comparingDouble(k -> -matrix[k * inputs + k]))
                .mapToInt(Integer::intValue)
                .toArray();
        double[] m = matrix.clone();
        double sum = 0;
        for (int last = inputs - 1; last >= 0; last--) {
            int p = order[last];
            double pivot = m[p * inputs + p];
            sum += pivot;
            for (int i = 0; i < last; i++) {
                double factor = m[order[i] * inputs + p] / pivot;
                for (int j = 0; j < last; j++) {
                    m[order[i] * inputs + order[j]] -= factor * m[p * inputs + order[j]];
                }
            }
        }
        return sum;
    }

    /**
     * From some inputs on, feedback gains far more than single channels lose by it. With three inputs or so, of which two tell
     * nearly the same, a layer of 60 channels can be worse than the nearest codes, so those are not asked for it.
     */
    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4, 5, 6, 7, 8})
    void feedbackIsBetterThanTheNearestCodes(int bits) {
        int outputs = 60;
        for (int inputs = 8; inputs < 40; inputs++) {
            double[] h = correlated(inputs, inputs);
            double[] weight = noise(inputs + 1, inputs * outputs);
            CompensatedRounding.Rounded rounded =
                    new CompensatedRounding(h, inputs, outputs).round(weight, WeightCoding.ofBits(bits));
            double fed = 0;
            double plain = 0;
            int half = 1 << (bits - 1);
            for (int n = 0; n < outputs; n++) {
                float scale = rounded.scales()[n];
                double[] a = new double[inputs];
                double[] b = new double[inputs];
                for (int k = 0; k < inputs; k++) {
                    double w = weight[k * outputs + n];
                    int code = rounded.codes()[n * inputs + k];
                    assertThat(code).isBetween(-half, half - 1);
                    a[k] = w - code * (double) scale;
                    b[k] = w - nearest(w, scale, bits) * (double) scale;
                }
                fed += outputError(h, a);
                plain += outputError(h, b);
            }
            assertThat(fed).as("%d inputs", inputs).isLessThan(plain);
        }
    }

    /** No scale of a fine search has a much smaller error along H's diagonal. */
    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4, 8})
    void scalesAreNearTheBest(int bits) {
        int inputs = 40;
        double[] h = new double[inputs * inputs];
        for (int i = 0; i < inputs; i++) {
            h[i * inputs + i] = 0.2 + i % 3;
        }
        double[] weight = noise(7, inputs);
        float chosen = new CompensatedRounding(h, inputs, 1)
                .round(weight, WeightCoding.ofBits(bits))
                .scales()[0];
        double least = Double.POSITIVE_INFINITY;
        for (int s = 1; s <= 4000; s++) {
            least = Math.min(least, diagonalError(h, weight, s * 1e-3f * 3 / (1 << (bits - 1)), bits));
        }
        assertThat(diagonalError(h, weight, chosen, bits)).isBetween(least * 0.99, least * 1.25);
    }

    private static double diagonalError(double[] h, double[] weight, float scale, int bits) {
        double error = 0;
        for (int k = 0; k < weight.length; k++) {
            double e = weight[k] - nearest(weight[k], scale, bits) * (double) scale;
            error += h[k * weight.length + k] * e * e;
        }
        return error;
    }

    /** One input: (c + l w) / (h + l) with l = 0.5 h. */
    @Test
    void ridgeOfOneInput() {
        double[] moved =
                new CompensatedRounding(new double[] {2}, 1, 2).ridge(new double[] {3, -1}, new double[] {0.5, 4}, 0.5);
        assertThat(moved).containsExactly(new double[] {(3 + 0.5) / 3, (-1 + 4.0) / 3}, within(1e-12));
    }

    /** Two inputs, by Cramer's rule: H + l I = [[5, 1], [1, 3]] with l = 1 = 1/3 of the mean of 4 and 2. */
    @Test
    void ridgeOfTwoInputs() {
        double[] h = {4, 1, 1, 2};
        double[] w = {0.5, -1};
        double[] c = {2, 3};
        double p = 2 + 0.5;
        double q = 3 - 1;
        double[] moved = new CompensatedRounding(h, 2, 1).ridge(c, w, 1 / 3.0);
        assertThat(moved).containsExactly(new double[] {(3 * p - q) / 14, (5 * q - p) / 14}, within(1e-12));
    }

    @Test
    void limitsOfTheRidge() {
        int inputs = 7;
        int outputs = 3;
        double[] h = correlated(3, inputs);
        double[] truth = noise(4, inputs * outputs);
        double[] weight = noise(5, inputs * outputs);
        double[] c = new double[inputs * outputs];
        for (int i = 0; i < inputs; i++) {
            for (int n = 0; n < outputs; n++) {
                for (int j = 0; j < inputs; j++) {
                    c[i * outputs + n] += h[i * inputs + j] * truth[j * outputs + n];
                }
            }
        }
        CompensatedRounding rounding = new CompensatedRounding(h, inputs, outputs);
        assertThat(rounding.ridge(c, weight, 0)).containsExactly(truth, within(1e-6));
        assertThat(rounding.ridge(c, weight, 1e12)).containsExactly(rounding.transposed(weight), within(1e-9));
        // What the wanted outputs ask for already stays, at any pull.
        double[] fitting = new double[inputs * outputs];
        for (int k = 0; k < inputs; k++) {
            for (int n = 0; n < outputs; n++) {
                fitting[n * inputs + k] = truth[k * outputs + n];
            }
        }
        assertThat(rounding.ridge(c, fitting, 0.1)).containsExactly(truth, within(1e-9));
    }

    /** Channels that never change, repeat each other, or are slightly negative by rounding. */
    @Test
    void flatCovariances() {
        double[][] flat = {
            new double[9], {1, 1, 0, 1, 1, 0, 0, 0, 0}, {-1e-9, 0, 0, 0, 1, 0, 0, 0, 1}, {-1e-9, 0, 0, 0, 0, 0, 0, 0, 0}
        };
        double[] weight = {0.9, -0.4, 0.2};
        for (double[] h : flat) {
            CompensatedRounding rounding = new CompensatedRounding(h, 3, 1);
            CompensatedRounding.Rounded rounded = rounding.round(weight, WeightCoding.ofBits(8));
            assertThat(rounded.scales()[0]).isPositive();
            for (int k = 0; k < 3; k++) {
                assertThat(rounded.codes()[k] * rounded.scales()[0]).isCloseTo((float) weight[k], within(0.7f));
            }
            assertThat(rounding.ridge(new double[3], weight, 0.3)).doesNotContain(Double.NaN);
        }
        CompensatedRounding.Rounded zero =
                new CompensatedRounding(correlated(1, 3), 3, 1).round(new double[3], WeightCoding.ofBits(4));
        assertThat(zero.codes()).containsOnly(0);
        assertThat(zero.scales()[0]).isPositive();
    }

    /** Sums that overflowed float32 once made the search for enough damping endless. */
    @ParameterizedTest
    @ValueSource(doubles = {Double.POSITIVE_INFINITY, Double.NaN})
    void overflowIsRefused(double bad) {
        assertThatThrownBy(() -> new CompensatedRounding(new double[] {1, bad, bad, 1}, 2, 1))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("overflow");
        assertThatThrownBy(() -> new CompensatedRounding(new double[] {bad, 0, 0, 1}, 2, 1))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("overflow");
    }
}
