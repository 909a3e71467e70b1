package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class LevelHistogramTest {
    private static LevelHistogram histogram(double[] values, double[] weights) {
        LevelHistogram histogram = new LevelHistogram(
                Arrays.stream(values).min().orElseThrow(),
                Arrays.stream(values).max().orElseThrow());
        for (int i = 0; i < values.length; i++) {
            histogram.add(values[i], weights[i]);
        }
        return histogram;
    }

    private static double[] ones(int count) {
        double[] ones = new double[count];
        Arrays.fill(ones, 1);
        return ones;
    }

    /** What the quantizer really does to each value; the histogram plays no part. */
    private static double error(ActivationQuantizer quantizer, double[] values, double[] weights) {
        double error = 0;
        for (int i = 0; i < values.length; i++) {
            double d = values[i] - quantizer.dequantize(quantizer.quantize((float) values[i]));
            error += weights[i] * d * d;
        }
        return error;
    }

    /** The same for other levels of a quantizer's grid, given in steps from zero. */
    private static double error(ActivationQuantizer grid, int[] levels, double[] values, double[] weights) {
        List<Integer> codes = Arrays.stream(levels)
                .map(l -> l + grid.zeroPoint())
                .sorted()
                .distinct()
                .boxed()
                .toList();
        return error(
                new ActivationQuantizer(grid.scale(), grid.zeroPoint(), codes.getFirst(), codes.getLast(), codes),
                values,
                weights);
    }

    private static double[] normal(long seed, int count) {
        Random random = new Random(seed);
        return random.doubles(count).map(d -> random.nextGaussian()).toArray();
    }

    /** The codes relative to the zero point. */
    private static int[] steps(ActivationQuantizer quantizer) {
        return quantizer.levels().stream()
                .mapToInt(c -> c - quantizer.zeroPoint())
                .toArray();
    }

    /** Two levels: every pair of codes of the chosen grid is tried. */
    @ParameterizedTest
    @CsvSource({"1, false", "2, false", "3, false", "1, true", "2, true", "3, true"})
    void noPairOfCodesIsBetter(long seed, boolean signed) {
        Random random = new Random(seed);
        double[] values = random.doubles(9, signed || seed == 3 ? -1 : 0, 4)
                .map(v -> v * v * v)
                .toArray();
        double[] weights = random.doubles(9, 0.1, 3).toArray();
        ActivationQuantizer chosen = histogram(values, weights).levels(1, signed);
        int zero = chosen.zeroPoint();
        int lowest = signed ? -128 : -zero;
        double least = Double.POSITIVE_INFINITY;
        for (int i = lowest; i <= (signed ? -1 : 0); i++) {
            for (int j = Math.max(0, i + 1); j < lowest + 256; j++) {
                least = Math.min(least, error(chosen, new int[] {i, j}, values, weights));
            }
        }
        assertThat(chosen.levels()).hasSize(2);
        assertThat(error(chosen, values, weights)).isCloseTo(least, within(1e-3 * least));
    }

    /**
     * Four levels, of which one is zero because no value is negative: the best three others are the codes nearest to the means
     * of some division of the values into runs.
     */
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5})
    void noFourCodesAreBetter(long seed) {
        Random random = new Random(seed);
        double[] values =
                random.doubles(9, 0, 3).map(v -> Math.exp(v) - 1).sorted().toArray();
        double[] weights = random.doubles(9, 0.1, 3).toArray();
        ActivationQuantizer chosen = histogram(values, weights).levels(2, false);
        double least = Double.POSITIVE_INFINITY;
        for (int a = 0; a < 9; a++) {
            for (int b = a + 1; b < 9; b++) {
                for (int c = b + 1; c < 9; c++) {
                    int[] ends = {a, b, c, 9};
                    int[] levels = new int[4];
                    for (int run = 0; run < 3; run++) {
                        double sum = 0;
                        double weight = 0;
                        for (int i = ends[run]; i < ends[run + 1]; i++) {
                            sum += weights[i] * values[i];
                            weight += weights[i];
                        }
                        levels[run + 1] = (int) Math.min(Math.rint(sum / weight / chosen.scale()), 255);
                    }
                    least = Math.min(least, error(chosen, levels, values, weights));
                }
            }
        }
        assertThat(chosen.levels()).hasSize(4).startsWith(0);
        assertThat(error(chosen, values, weights)).isLessThanOrEqualTo(least * 1.001);
    }

    /** Three clusters and zero: with four levels nothing is left but the distance to the nearest code. */
    @Test
    void clustersGetALevelEach() {
        double[] values = {0, 1, 1, 1, 2.5, 2.5, 10, 10};
        ActivationQuantizer chosen = histogram(values, ones(8)).levels(2, false);
        double step = chosen.scale();
        assertThat(steps(chosen))
                .containsExactly(0, (int) Math.rint(1 / step), (int) Math.rint(2.5 / step), (int) Math.rint(10 / step));
        assertThat(step).isCloseTo(10.0 / 255, within(1e-6));
    }

    /** Ends are searched in coarse fractions; a search as fine as one likes finds little more. */
    @ParameterizedTest
    @CsvSource({"2, false", "3, false", "4, false", "6, false", "2, true", "3, true", "4, true", "6, true"})
    void uniformIsNearTheBestOfAFineSearch(int bits, boolean signed) {
        double[] values = normal(bits, 600);
        double[] skewed =
                Arrays.stream(values).map(v -> v < 0 ? v / 4 : v * v * 3).toArray();
        for (double[] x : List.of(values, skewed)) {
            double low = Arrays.stream(x).min().orElseThrow();
            double high = Arrays.stream(x).max().orElseThrow();
            int most = (1 << bits) - 1;
            double least = Double.POSITIVE_INFINITY;
            for (int t = 1; t <= 60; t++) {
                for (int b = 1; b <= (signed ? 1 : 60); b++) {
                    double top = high * t / 60;
                    double bottom = low * b / 60;
                    float scale =
                            (float) (signed ? Math.max(top, -low * t / 60) / (most / 2.0) : (top - bottom) / most);
                    ActivationQuantizer candidate = signed
                            ? new ActivationQuantizer(scale, 0, -(most + 1) / 2, most / 2)
                            : new ActivationQuantizer(scale, Math.clamp(Math.round(-bottom / scale), 0, most), 0, most);
                    least = Math.min(least, error(candidate, x, ones(x.length)));
                }
            }
            ActivationQuantizer chosen = histogram(x, ones(x.length)).uniform(bits, signed);
            assertThat(error(chosen, x, ones(x.length))).isBetween(0.9 * least, 1.12 * least);
        }
    }

    /**
     * That the histogram's error of a quantizer is what its bins can tell: a bin goes to one level as a whole, and boundaries
     * move to the nearest edge of a bin. So a value within half a bin of a boundary may be counted on either side of it, at the
     * squared distance to the level there; every other value counts at the level that the quantizer gives it.
     */
    private static void assertWithinWhatABinHides(LevelHistogram histogram, ActivationQuantizer quantizer, double[] x) {
        double low = Math.min(0, Arrays.stream(x).min().orElseThrow());
        double high = Math.max(0, Arrays.stream(x).max().orElseThrow());
        // A quantizer works in float32: its boundaries lie within a few units of the last place of where they should.
        double reach = (high - low) / 4096 / 2 + 4 * Math.ulp((float) Math.max(high, -low));
        double least = 0;
        double most = 0;
        for (double value : x) {
            double nearest = Double.POSITIVE_INFINITY;
            double farthest = 0;
            int last = quantizer.quantize((float) (value + reach));
            for (int code = quantizer.quantize((float) (value - reach)); code <= last; code++) {
                double d = value - (quantizer.level(code) - quantizer.zeroPoint()) * (double) quantizer.scale();
                nearest = Math.min(nearest, d * d);
                farthest = Math.max(farthest, d * d);
            }
            least += nearest;
            most += farthest;
        }
        // The histogram takes the differences of sums of squares.
        double rounding = 1e-12 * Arrays.stream(x).map(v -> v * v).sum() + 1e-300;
        assertThat(histogram.error(quantizer)).isBetween(least - rounding, most + rounding);
    }

    /**
     * Bins of width 1 and codes of width 15.2, of which 0 and 2 are in use: 7.6 is where code 1 begins, and so level 2. The edge
     * of a bin that is nearest to it is 8, so 7.8 is counted at level 0 while it goes to 30.4; 7.5 and 8.1 are counted where
     * they go.
     */
    @ParameterizedTest
    @CsvSource({"7.5, 7.5, 7.5", "7.8, 7.8, 22.6", "8.1, 22.3, 22.3"})
    void aBinGoesToOneLevelAsAWhole(double value, double counted, double real) {
        ActivationQuantizer quantizer = new ActivationQuantizer(15.2f, 0, 0, 255, List.of(0, 2, 255));
        LevelHistogram histogram = new LevelHistogram(0, 4096);
        histogram.add(value, 1);
        assertThat(histogram.error(quantizer)).isCloseTo(counted * counted, within(1e-4));
        assertThat(error(quantizer, new double[] {value}, ones(1))).isCloseTo(real * real, within(1e-4));
    }

    /** Three of its 300 values lie between a boundary and the edge nearest to it, and make up a fifth of the error. */
    @Test
    void valuesBesideABoundaryCountOnTheOtherSide() {
        neverWorseThanTheWholeRange(-9048582652260535201L, 7);
    }

    @Property(tries = 60)
    void neverWorseThanTheWholeRange(@ForAll long seed, @ForAll @IntRange(min = 2, max = 8) int bits) {
        Random random = new Random(seed);
        double power = 1 + 3 * random.nextDouble();
        double offset = 2 * random.nextGaussian();
        double[] x = Arrays.stream(normal(seed, 300))
                .map(v -> offset + Math.signum(v) * Math.pow(Math.abs(v), power))
                .toArray();
        double low = Math.min(0, Arrays.stream(x).min().orElseThrow());
        double high = Math.max(0, Arrays.stream(x).max().orElseThrow());
        int most = (1 << bits) - 1;
        float step = (float) ((high - low) / most);
        ActivationQuantizer whole =
                new ActivationQuantizer(step, Math.clamp(Math.round(-low / step), 0, most), 0, most);
        LevelHistogram histogram = histogram(x, ones(x.length));
        assertWithinWhatABinHides(histogram, whole, x);
        ActivationQuantizer uniform = histogram.uniform(bits, false);
        assertThat(uniform.bits()).isEqualTo(bits);
        assertThat(histogram.error(uniform)).isLessThanOrEqualTo(histogram.error(whole));
        assertWithinWhatABinHides(histogram, uniform, x);
        ActivationQuantizer levels = histogram.levels(bits, false);
        assertThat(levels.bits()).isEqualTo(bits);
        assertThat(levels.levels()).hasSize(bits == 8 ? 0 : 1 << bits);
        assertThat(levels.zeroPoint()).isBetween(levels.lowest(), levels.highest());
        assertWithinWhatABinHides(histogram, levels, x);
    }

    /** A heavy tail: most of a uniform grid is empty, and levels need not be. */
    @Test
    void levelsBeatUniformOnSkewedValues() {
        double[] x = Arrays.stream(normal(1, 2000)).map(v -> Math.exp(2 * v)).toArray();
        LevelHistogram histogram = histogram(x, ones(x.length));
        assertThat(error(histogram.levels(4, false), x, ones(x.length)))
                .isLessThan(0.4 * error(histogram.uniform(4, false), x, ones(x.length)));
    }

    /** Signed codes have zero point 0, and stay signed where no value is negative, or none positive. */
    @ParameterizedTest
    @CsvSource({"-2, 2", "0.5, 3", "-3, -0.5", "0, 1e-6", "1, 1", "0, 0", "-1, -1"})
    void signedCodesStaySigned(double low, double high) {
        double[] values = low == high
                ? new double[] {low, low, low}
                : new Random(5).doubles(200, low, high).toArray();
        LevelHistogram histogram = histogram(values, ones(values.length));
        for (int bits = 2; bits <= 10; bits++) {
            for (ActivationQuantizer q :
                    List.of(histogram.uniform(bits, true), histogram.levels(Math.min(bits, 8), true))) {
                assertThat(q.signed()).isTrue();
                assertThat(q.zeroPoint()).isZero();
                assertThat(q.highest()).isNotNegative();
                assertThat(q.quantize(0)).isBetween(q.lowest(), q.highest());
            }
        }
    }

    @ParameterizedTest
    @ValueSource(doubles = {0, 1, -1, 3e4, 1e-9, -1e-30})
    void constantValues(double value) {
        double[] values = {value, value, value, value};
        LevelHistogram histogram = histogram(values, ones(4));
        for (int bits = 2; bits <= 8; bits++) {
            for (ActivationQuantizer q : List.of(histogram.uniform(bits, false), histogram.levels(bits, false))) {
                assertThat(q.bits()).isEqualTo(bits);
                assertThat((double) q.dequantize(q.quantize((float) value)))
                        .isCloseTo(value, within(Math.max(1e-12, 2e-3 * Math.abs(value))));
                assertThat(q.quantize(0)).isBetween(q.lowest(), q.highest());
            }
        }
    }

    /** Numerators lie in 0..1 and their quantizer has the zero point 0, whatever the width. */
    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4, 6, 7, 8, 9, 10})
    void positiveValuesHaveTheirZeroAtTheBottom(int bits) {
        double[] values = new Random(1).doubles(500).map(v -> Math.pow(v, 6)).toArray();
        LevelHistogram histogram = new LevelHistogram(0, 1);
        for (double v : values) {
            histogram.add(v, 1);
        }
        assertThat(histogram.uniform(bits, false).zeroPoint()).isZero();
        ActivationQuantizer levels = histogram.levels(bits, false);
        assertThat(levels.zeroPoint()).isZero();
        assertThat(levels.lowest()).isZero();
    }

    @Test
    void weightsCountAndHistogramsJoin() {
        double[] values = normal(3, 100);
        double[] weights = IntStream.range(0, 100).mapToDouble(i -> i % 7).toArray();
        LevelHistogram whole = histogram(values, weights);
        LevelHistogram joined = whole.empty();
        LevelHistogram half = whole.empty();
        for (int i = 0; i < 100; i++) {
            if (i == 50) {
                joined.add(half);
                half.clear();
            }
            half.add(values[i], weights[i]);
        }
        joined.add(half);
        assertThat(joined.levels(3, false)).isEqualTo(whole.levels(3, false));
        assertThat(joined.uniform(5, true)).isEqualTo(whole.uniform(5, true));
        // A value that weighs nothing does not stretch the range.
        LevelHistogram outlier = new LevelHistogram(-1, 100);
        outlier.add(100, 0);
        for (double v : values) {
            outlier.add(Math.clamp(v, -1, 1), 1);
        }
        assertThat(outlier.uniform(4, false).dequantize(15)).isLessThan(10);
    }

    @Test
    void aChangeAfterAnAnswerIsSeen() {
        try (Arena arena = Arena.ofConfined()) {
            LevelHistogram histogram = new LevelHistogram(0, 8);
            histogram.add(arena.allocateFrom(JAVA_FLOAT, 1, 1, 1, 8), 3, 1);
            ActivationQuantizer before = histogram.uniform(2, false);
            histogram.add(8, 1000);
            assertThat(histogram.uniform(2, false)).isNotEqualTo(before);
            histogram.clear();
            histogram.add(arena.allocateFrom(JAVA_FLOAT, 1, 1, 1, 8), 3, 1);
            assertThat(histogram.uniform(2, false)).isEqualTo(before);
        }
    }
}
