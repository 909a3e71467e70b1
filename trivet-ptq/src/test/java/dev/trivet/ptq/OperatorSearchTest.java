package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.TokenShape;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.AttentionLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Single steps of a search against the objective of the paper, written out in double. */
class OperatorSearchTest {
    /** Two candidates and the initial scale. */
    private static final float[] FACTORS = {0.5f, 1, 1.2f};

    private static final int TOKENS = 5;
    private static final double GAMMA = 0.1;

    private static LiuSettings settings(boolean ranking, boolean bias, int candidates) {
        return new LiuSettings(ranking, bias, RankReduction.MEAN, false, false, false, candidates, 1, 0, 1);
    }

    private static Optional<AttentionRanking> ranking(boolean wanted, int heads, int headWidth) {
        RankingLoss loss = new RankingLoss(TOKENS, 0, RankReduction.MEAN); // so few pairs are taken whole
        return wanted
                ? Optional.of(new AttentionRanking(loss, layout(heads, headWidth), new ReferenceKernels()))
                : Optional.empty();
    }

    /** One group of all tokens. */
    private static AttentionLayout layout(int heads, int headWidth) {
        return AttentionLayout.whole(
                new ModelUnit.Block(
                        "blocks.0", new TokenShape(TOKENS, heads * headWidth), heads, 1, 1, TOKENS, Optional.empty()),
                1);
    }

    private static float[] noise(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    /**
     * Eq. (8), a weight or operand on the paper's grid, as a value. At the initial step the largest value lies half way
     * between two codes, so the rounding is done in float like the kernels'.
     */
    private static double quantized(float x, float step, int bits) {
        int half = 1 << (bits - 1);
        return Math.clamp(Math.rint(x * (1f / step)), -half, half - 1) * step;
    }

    private static float initialStep(float[] values, int from, int to, int bits) {
        float most = 0;
        for (int i = from; i < to; i++) {
            most = Math.max(most, Math.abs(values[i]));
        }
        return most / ((1 << (bits - 1)) - 0.5f);
    }

    /** Mean of eq. (13) over whole maps {@code [heads, TOKENS, TOKENS]}. */
    private static double rankingLoss(double[] reference, double[] candidate) {
        double sum = 0;
        int terms = 0;
        for (int row = 0; row < reference.length / TOKENS; row++) {
            for (int i = 0; i < TOKENS - 1; i++) {
                for (int j = i + 1; j < TOKENS; j++) {
                    double order = reference[row * TOKENS + i] - reference[row * TOKENS + j];
                    double margin = candidate[row * TOKENS + i] - candidate[row * TOKENS + j];
                    sum += Math.max(0.2 - margin * Math.signum(order), 0);
                    terms++;
                }
            }
        }
        return sum / terms;
    }

    /** {@code q k^T / sqrt(headWidth)}, operands {@code [heads, TOKENS, headWidth]}. */
    private static double[] map(double[] q, double[] k, int heads, int headWidth) {
        double[] map = new double[heads * TOKENS * TOKENS];
        for (int h = 0; h < heads; h++) {
            for (int i = 0; i < TOKENS; i++) {
                for (int j = 0; j < TOKENS; j++) {
                    double sum = 0;
                    for (int c = 0; c < headWidth; c++) {
                        sum += q[(h * TOKENS + i) * headWidth + c] * k[(h * TOKENS + j) * headWidth + c];
                    }
                    map[(h * TOKENS + i) * TOKENS + j] = sum / Math.sqrt(headWidth);
                }
            }
        }
        return map;
    }

    private static double[] doubles(float[] values) {
        double[] copy = new double[values.length];
        for (int i = 0; i < copy.length; i++) {
            copy[i] = values[i];
        }
        return copy;
    }

    private static double[] quantized(float[] values, float step, int bits) {
        double[] copy = new double[values.length];
        for (int i = 0; i < copy.length; i++) {
            copy[i] = quantized(values[i], step, bits);
        }
        return copy;
    }

    private static int argmax(double[] values) {
        int best = 0;
        for (int i = 1; i < values.length; i++) {
            best = values[i] >= values[best] ? i : best;
        }
        return best;
    }

    /** Whether the first is ahead by more than rounding. */
    private static boolean clear(double[] values) {
        double[] sorted = values.clone();
        java.util.Arrays.sort(sorted);
        return sorted[sorted.length - 1] - sorted[sorted.length - 2] > 1e-4;
    }

    // ---- ranking

    /** One head of three channels at 3 bits: which right scale wins is worked out for each seed with and without the loss. */
    @Test
    void theRankingLossDecidesTheScaleOfAProduct() {
        int changed = 0;
        for (int seed = 0; seed < 200; seed++) {
            Random random = new Random(seed);
            float[] q = noise(random, TOKENS * 3);
            float[] k = noise(random, TOKENS * 3);
            int bits = 3;
            double[] exact = map(doubles(q), doubles(k), 1, 3);
            double[] left = quantized(q, initialStep(q, 0, q.length, bits), bits);
            double[] similarity = new double[FACTORS.length];
            double[] objective = new double[FACTORS.length];
            for (int c = 0; c < FACTORS.length; c++) {
                float step = initialStep(k, 0, k.length, bits) * FACTORS[c];
                double[] candidate = map(left, quantized(k, step, bits), 1, 3);
                similarity[c] = Fixtures.pearson(exact, candidate);
                objective[c] = similarity[c] - GAMMA * rankingLoss(exact, candidate);
            }
            if (!clear(similarity) || !clear(objective)) {
                continue;
            }
            changed += argmax(similarity) == argmax(objective) ? 0 : 1;
            assertThat(productChoice(q, k, bits, false)).as("seed " + seed).isEqualTo(argmax(similarity));
            assertThat(productChoice(q, k, bits, true)).as("seed " + seed).isEqualTo(argmax(objective));
        }
        assertThat(changed).as("seeds where the loss changes the choice").isGreaterThan(3);
    }

    private static int productChoice(float[] q, float[] k, int bits, boolean ranked) {
        MatmulSearch search = new MatmulSearch(
                new OperatorPlan("blocks.0.attn.qk", 0, bits),
                new ProductCorrelation(layout(1, 3), true),
                ranking(ranked, 1, 3),
                new ReferenceKernels(),
                settings(ranked, false, 2));
        try (Arena arena = Arena.ofConfined();
                SearchScratch scratch = new SearchScratch(new ReferenceKernels())) {
            MemorySegment left = arena.allocateFrom(JAVA_FLOAT, q);
            MemorySegment right = arena.allocateFrom(JAVA_FLOAT, k);
            float[] scores = new float[TOKENS * TOKENS];
            double[] exact = map(doubles(q), doubles(k), 1, 3);
            for (int i = 0; i < scores.length; i++) {
                scores[i] = (float) (exact[i] * Math.sqrt(3)); // the product itself is not scaled
            }
            search.observe(left, right);
            search.initialize();
            search.open(OperatorSearch.Side.RIGHT);
            search.score(scratch, left, right, arena.allocateFrom(JAVA_FLOAT, scores));
            search.choose();
            search.close();
        }
        double factor = search.quantizers().right().scale() / initialStep(k, 0, k.length, bits);
        return nearest(factor);
    }

    private static int nearest(double factor) {
        int best = 0;
        for (int c = 0; c < FACTORS.length; c++) {
            best = Math.abs(FACTORS[c] - factor) < Math.abs(FACTORS[best] - factor) ? c : best;
        }
        assertThat(factor).isCloseTo(FACTORS[best], within(1e-5));
        return best;
    }

    /**
     * Of the projection's three matrices the first is judged with the keys of the initial scale, the second with the queries
     * of the initial scale, the third by similarity alone. Inputs are whole numbers, so that only weights have errors.
     */
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void theRankingLossDecidesTheScalesOfQueriesAndKeys(boolean ranked) {
        int width = 4; // two heads of two channels
        int bits = 3;
        int changed = 0;
        for (int seed = 0; seed < 100; seed++) {
            Random random = new Random(seed);
            float[] x = new float[TOKENS * width];
            for (int i = 0; i < x.length; i++) {
                x[i] = random.nextInt(-100, 101);
            }
            x[0] = 127.5f; // the input's step is 1
            float[] weight = noise(random, 3 * width * width);
            for (int i = 0; i < weight.length; i++) {
                weight[i] /= 100;
            }
            float[] bias = noise(random, 3 * width);
            double[][] objectives = objectives(x, weight, bias, width, bits, true);
            double[][] similarities = objectives(x, weight, bias, width, bits, false);
            double[][] wanted = ranked ? objectives : similarities;
            int[] choice = projectionChoice(x, weight, bias, width, bits, ranked);
            for (int part = 0; part < 3; part++) {
                if (clear(wanted[part]) && clear(similarities[part])) {
                    assertThat(choice[part])
                            .as("seed " + seed + " part " + part)
                            .isEqualTo(argmax(wanted[part]));
                    changed += argmax(wanted[part]) == argmax(similarities[part]) ? 0 : 1;
                    assertThat(part < 2 || argmax(wanted[part]) == argmax(similarities[part]))
                            .isTrue();
                }
            }
        }
        if (ranked) {
            assertThat(changed).isGreaterThan(3);
        }
    }

    private static double[][] objectives(float[] x, float[] weight, float[] bias, int width, int bits, boolean ranked) {
        double[][] exact = new double[3][];
        double[][][] candidates = new double[3][FACTORS.length][];
        double[] inputs = quantized(x, 1, 8);
        for (int part = 0; part < 3; part++) {
            exact[part] = columns(doubles(x), doubles(weight), bias, part, width);
            float step = initialStep(weight, part * width * width, (part + 1) * width * width, bits);
            for (int c = 0; c < FACTORS.length; c++) {
                double[] codes = quantized(weight, step * FACTORS[c], bits);
                candidates[part][c] = columns(inputs, codes, bias, part, width);
            }
        }
        double[] reference = map(heads(exact[0]), heads(exact[1]), 2, 2);
        double[][] objectives = new double[3][FACTORS.length];
        for (int part = 0; part < 3; part++) {
            for (int c = 0; c < FACTORS.length; c++) {
                objectives[part][c] = Fixtures.pearson(
                        less(exact[part], bias, part, width), less(candidates[part][c], bias, part, width));
                if (ranked && part < 2) {
                    double[] q = heads(candidates[0][part == 0 ? c : 1]);
                    double[] k = heads(candidates[1][part == 1 ? c : 1]);
                    objectives[part][c] -= GAMMA * rankingLoss(reference, map(q, k, 2, 2));
                }
            }
        }
        return objectives;
    }

    /** The bias is not part of a product. */
    private static double[] less(double[] values, float[] bias, int part, int width) {
        double[] without = values.clone();
        for (int i = 0; i < without.length; i++) {
            without[i] -= bias[part * width + i % width];
        }
        return without;
    }

    /** {@code [TOKENS, width]} of one matrix, with bias. */
    private static double[] columns(double[] x, double[] weight, float[] bias, int part, int width) {
        double[] out = new double[TOKENS * width];
        for (int t = 0; t < TOKENS; t++) {
            for (int n = 0; n < width; n++) {
                double sum = bias[part * width + n];
                for (int k = 0; k < width; k++) {
                    sum += x[t * width + k] * weight[(part * width + n) * width + k];
                }
                out[t * width + n] = sum;
            }
        }
        return out;
    }

    /** {@code [TOKENS, 2 * 2]} as {@code [2, TOKENS, 2]}. */
    private static double[] heads(double[] values) {
        double[] out = new double[values.length];
        for (int t = 0; t < TOKENS; t++) {
            for (int c = 0; c < 4; c++) {
                out[(c / 2 * TOKENS + t) * 2 + c % 2] = values[t * 4 + c];
            }
        }
        return out;
    }

    private static int[] projectionChoice(
            float[] x, float[] weight, float[] bias, int width, int bits, boolean ranked) {
        LinearSearch search = new LinearSearch(
                new LinearLayer.Float32("qkv", 3 * width, width, weight, bias),
                TOKENS,
                3,
                new OperatorPlan("qkv", bits, 8),
                ranking(ranked, 2, 2),
                new ReferenceKernels(),
                settings(ranked, false, 2));
        try (Arena arena = Arena.ofConfined();
                SearchScratch scratch = new SearchScratch(new ReferenceKernels())) {
            MemorySegment input = arena.allocateFrom(JAVA_FLOAT, x);
            MemorySegment output = arena.allocate(JAVA_FLOAT, TOKENS * 3L * width);
            for (int part = 0; part < 3; part++) {
                double[] columns = columns(doubles(x), doubles(weight), new float[3 * width], part, width);
                for (int i = 0; i < columns.length; i++) {
                    long at = (long) (i / width) * 3 * width + (long) part * width + i % width;
                    output.setAtIndex(JAVA_FLOAT, at, (float) columns[i]);
                }
            }
            search.observe(input, MemorySegment.NULL);
            search.initialize();
            search.open(OperatorSearch.Side.RIGHT);
            search.score(scratch, input, MemorySegment.NULL, output);
            search.choose();
            search.close();
        }
        LinearLayer.Quantized layer = search.quantized();
        int[] choice = new int[3];
        for (int part = 0; part < 3; part++) {
            float step = initialStep(weight, part * width * width, (part + 1) * width * width, bits);
            choice[part] = nearest(layer.scale(part * width) / step);
        }
        return choice;
    }

    // ---- bias correction

    private static LinearSearch searched(
            LinearLayer.Float32 layer, MemorySegment input, MemorySegment output, int rows, LiuSettings settings) {
        LinearSearch search = new LinearSearch(
                layer,
                rows,
                1,
                new OperatorPlan(layer.name(), 3, 3),
                Optional.empty(),
                new ReferenceKernels(),
                settings);
        search.observe(input, MemorySegment.NULL);
        search.initialize();
        try (SearchScratch scratch = new SearchScratch(new ReferenceKernels())) {
            for (OperatorSearch.Side side : OperatorSearch.Side.values()) {
                search.open(side);
                search.score(scratch, input, MemorySegment.NULL, output);
                search.choose();
                search.close();
            }
        }
        return search;
    }

    /**
     * One weight 3.5 on the 3-bit grid of step 1 is clipped to 3, inputs 3.5, 1, 1, 0.5 become 3, 1, 1, 0. The output's mean
     * is 3.5 * 1.5 = 5.25, the quantized one's 3 * 1.25 = 3.75 at the initial scales; whichever scales win, the bias makes up
     * for exactly what their codes lack.
     */
    @Test
    void aKnownShiftIsTakenUpByTheBias() {
        float[] x = {3.5f, 1, 1, 0.5f};
        float[] products = {12.25f, 3.5f, 3.5f, 1.75f};
        LinearLayer.Float32 layer = new LinearLayer.Float32("one", 1, 1, new float[] {3.5f}, new float[] {0.125f});
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment input = arena.allocateFrom(JAVA_FLOAT, x);
            MemorySegment output = arena.allocateFrom(JAVA_FLOAT, products);
            LinearLayer.Quantized with =
                    searched(layer, input, output, 4, settings(false, true, 2)).quantized();
            LinearLayer.Quantized without =
                    searched(layer, input, output, 4, settings(false, false, 2)).quantized();
            assertThat(without.bias()).containsExactly(0.125f);
            double mean = 0;
            for (float v : x) {
                ActivationQuantizer q = with.input();
                mean += q.dequantize(q.quantize(v)) * with.code(0) * with.scale(0) / 4;
            }
            assertThat(mean).isNotCloseTo(5.25, within(0.1));
            assertThat(mean + with.bias()[0]).isCloseTo(5.25 + 0.125, within(1e-6));
        }
    }

    /** The three terms of eq. (16), each computed from mean vectors, add up to what the search removes. */
    @Test
    void theBiasTakesUpAllThreeTerms() {
        int rows = 20;
        int inputs = 6;
        int outputs = 5;
        Random random = new Random(4);
        float[] x = noise(random, rows * inputs);
        for (int i = 0; i < x.length; i++) {
            x[i] += 0.7f;
        }
        float[] weight = noise(random, outputs * inputs);
        float[] bias = noise(random, outputs);
        LinearLayer.Float32 layer = new LinearLayer.Float32("five", outputs, inputs, weight, bias);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment input = arena.allocateFrom(JAVA_FLOAT, x);
            MemorySegment output = arena.allocate(JAVA_FLOAT, (long) rows * outputs);
            for (int i = 0; i < rows * outputs; i++) {
                double sum = 0;
                for (int k = 0; k < inputs; k++) {
                    sum += (double) x[i / outputs * inputs + k] * weight[i % outputs * inputs + k];
                }
                output.setAtIndex(JAVA_FLOAT, i, (float) sum);
            }
            LinearLayer.Quantized layerFound = searched(layer, input, output, rows, settings(false, true, 5))
                    .quantized();
            MemorySegment quantizedInput = arena.allocate(JAVA_FLOAT, x.length);
            for (int i = 0; i < x.length; i++) {
                ActivationQuantizer q = layerFound.input();
                quantizedInput.setAtIndex(JAVA_FLOAT, i, q.dequantize(q.quantize(x[i])));
            }
            float[] quantizedWeight = new float[weight.length];
            for (int i = 0; i < weight.length; i++) {
                quantizedWeight[i] = layerFound.code(i) * layerFound.scale(i / inputs);
            }
            BiasCorrection expected = BiasCorrection.of(input, quantizedInput, rows, inputs, weight, quantizedWeight);
            float[] corrected = expected.corrected(bias);
            for (int n = 0; n < outputs; n++) {
                assertThat(Math.abs(expected.inputError(n)) + Math.abs(expected.jointError(n)))
                        .as("more than the weight's term")
                        .isGreaterThan(1e-3);
                assertThat(layerFound.bias()[n]).isCloseTo(corrected[n], within(1e-5f));
            }
        }
    }

    /** A side whose surroundings have not changed is settled; correcting the bias unsettles both. */
    @Test
    void searchesComeToRest() {
        float[] x = noise(new Random(1), 64);
        LinearLayer.Float32 layer = new LinearLayer.Float32("one", 1, 4, noise(new Random(2), 4), new float[] {0});
        float[] products = new float[16];
        for (int i = 0; i < x.length; i++) {
            products[i / 4] += x[i] * layer.weight()[i % 4];
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment input = arena.allocateFrom(JAVA_FLOAT, x);
            MemorySegment output = arena.allocateFrom(JAVA_FLOAT, products);
            LinearSearch corrected = searched(layer, input, output, 16, settings(false, true, 2));
            assertThat(corrected.isSettled(OperatorSearch.Side.RIGHT)).isFalse();
            assertThat(corrected.isSettled(OperatorSearch.Side.LEFT)).isFalse();
            LinearSearch plain = searched(layer, input, output, 16, settings(false, false, 2));
            assertThat(plain.isSettled(OperatorSearch.Side.LEFT)).isTrue();
            assertThat(plain.objective()).isBetween(0.5, 1.0);
        }
    }
}
