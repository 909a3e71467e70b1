package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.VitExecutor;
import dev.trivet.runtime.VitSession;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class LiuSearchTest {
    @TempDir
    Path folder;

    /** The paper's form, or per-channel weights with asymmetric activations and no more than the search. */
    private static LiuSettings settings(boolean paper, int candidates, int rounds, int threads) {
        return settings(paper, false, candidates, rounds, threads);
    }

    private static LiuSettings settings(boolean paper, boolean sequential, int candidates, int rounds, int threads) {
        return new LiuSettings(
                paper, paper, RankReduction.MEAN, sequential, !paper, !paper, candidates, rounds, 0, threads);
    }

    private static VitModel quantize(VitModel model, int bits, LiuSettings settings, CalibrationImages images) {
        return quantize(model, QuantizationPlan.uniform(model.vit(), bits, bits, bits), settings, images);
    }

    private static VitModel quantize(
            VitModel model, QuantizationPlan plan, LiuSettings settings, CalibrationImages images) {
        return LiuSearch.quantize(model, new VectorKernels(), images, plan, settings, SearchListener.SILENT);
    }

    private static VitModel quantize(
            VitModel model,
            Kernels kernels,
            LiuSettings settings,
            CalibrationImages images,
            SearchListener listener,
            long candidateBudget,
            long operandBudget) {
        QuantizationPlan plan = QuantizationPlan.uniform(model.vit(), 8, 8, 8);
        LiuSearch search = new LiuSearch(plan, settings, candidateBudget, operandBudget);
        return BlockwiseSearch.quantize(
                model, model, 0, kernels, images, settings.threads(), search, listener, SearchCheckpoint.NONE);
    }

    private byte[] bytes(VitModel model) throws IOException {
        Path file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, model, new Provenance(Map.of()));
        return Files.readAllBytes(file);
    }

    /** The same images in another order. */
    private record Shuffled(CalibrationImages images) implements CalibrationImages {
        @Override
        public int size() {
            return images.size();
        }

        @Override
        public void load(int index, MemorySegment input) {
            images.load((index * 2 + 1) % size(), input);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "vit_micro, false, false",
        "vit_micro, true, false",
        "vit_micro, true, true",
        "deit_distilled_micro, false, true",
        "vit_gap_micro, true, false"
    })
    void theSameImagesGiveTheSameBytes(String name, boolean paper, boolean sequential) throws IOException {
        VitModel model = Fixtures.micro(name);
        CalibrationImages images = new Fixtures.Noise(model.vit(), 5, 1);
        byte[] first = bytes(quantize(model, 8, settings(paper, sequential, 9, 2, 1), images));
        assertThat(bytes(quantize(model, 8, settings(paper, sequential, 9, 2, 1), images)))
                .isEqualTo(first);
        assertThat(bytes(quantize(model, 8, settings(paper, sequential, 9, 2, 3), images)))
                .isEqualTo(first);
        assertThat(bytes(quantize(model, 8, settings(paper, sequential, 9, 2, 2), new Shuffled(images))))
                .isEqualTo(first);
    }

    @Test
    void everyOperatorIsQuantizedAsAsked() {
        VitModel model = Fixtures.micro("vit_micro");
        CalibrationImages images = new Fixtures.Noise(model.vit(), 2, 1);
        VitModel channels = quantize(model, 4, settings(false, 3, 1, 1), images);
        VitModel paper = quantize(model, 8, settings(true, 3, 1, 1), images);
        assertThat(channels.linears()).hasSize(1 + 3 * 4 + 1);
        assertThat(channels.matmuls()).hasSize(3 * 2);
        for (LinearLayer layer : channels.linears().values()) {
            LinearLayer.Quantized quantized = (LinearLayer.Quantized) layer;
            assertThat(quantized.bits()).isEqualTo(4);
            assertThat(quantized.perChannel()).isTrue();
            assertThat(quantized.input().highest()).isEqualTo(15);
            assertThat(quantized.bias()).isEqualTo(model.linear(layer.name()).bias());
        }
        for (LinearLayer layer : paper.linears().values()) {
            LinearLayer.Quantized quantized = (LinearLayer.Quantized) layer;
            // W^Q, W^K and W^V are one layer.
            boolean qkv = layer.name().endsWith(".attn.qkv");
            assertThat(distinct(quantized.scales())).isEqualTo(qkv ? 3 : 1);
            assertThat(quantized.scales()).hasSize(qkv ? layer.outputs() : 1);
            assertThat(quantized.input().zeroPoint()).isEqualTo(128);
            assertThat(quantized.bias()).isNotEqualTo(model.linear(layer.name()).bias());
        }
        assertThat(channels.matmuls().get("blocks.0.attn.av")).isNotNull().satisfies(q -> {
            assertThat(q.left().signed()).isFalse();
            assertThat(q.right().lowest()).isEqualTo(-8);
        });
        assertThat(paper.matmuls().get("blocks.0.attn.av"))
                .isNotNull()
                .satisfies(q -> assertThat(q.left().signed()).isTrue());
    }

    private static long distinct(float[] values) {
        java.util.Set<Float> set = new java.util.HashSet<>();
        for (float v : values) {
            set.add(v);
        }
        return set.size();
    }

    /** Without rounds the scales are those of the largest values and the biases stay. */
    @Test
    void noRoundsKeepTheInitialScales() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        VitModel quantized = quantize(model, 8, settings(true, 21, 0, 2), new Fixtures.Noise(model.vit(), 3, 1));
        LinearLayer.Float32 layer = (LinearLayer.Float32) model.linear("head");
        float most = 0;
        for (float w : layer.weight()) {
            most = Math.max(most, Math.abs(w));
        }
        LinearLayer.Quantized head = (LinearLayer.Quantized) quantized.linear("head");
        assertThat(head.scales()).containsExactly(most / 127.5f);
        assertThat(head.bias()).isEqualTo(layer.bias());
    }

    /** Where operands are not kept the unit is run again, and a pass holds no more candidates than the budget allows. */
    @ParameterizedTest
    @CsvSource({"false, false", "true, false", "true, true"})
    void budgetsChangeNothingButMemory(boolean paper, boolean sequential) throws IOException {
        VitModel model = Fixtures.micro("vit_micro");
        LiuSettings settings = settings(paper, sequential, 5, 1, 2);
        // The largest operator, the patch embedding, has 64 * 768 weights; 5 candidates and the initial scale are
        // tried.
        long largest = 6L * 64 * 768;
        CountingKernels tight = new CountingKernels();
        Fixtures.Noise images = new Fixtures.Noise(model.vit(), 3, 1);
        VitModel inGroups = quantize(model, tight, settings, images, SearchListener.SILENT, 1, 0);
        assertThat(tight.peak()).isEqualTo(largest);
        assertThat(tight.held()).as("candidates left open").isZero();
        // Each pass over the embedding: ranges, weights, inputs; the last run makes the tokens of both models.
        assertThat(images.loads).hasValue((sequential ? 2 : 1) * 3 * 3 + 2 * 3);
        CountingKernels roomy = new CountingKernels();
        Fixtures.Noise again = new Fixtures.Noise(model.vit(), 3, 1);
        long plenty = 1L << 30;
        VitModel atOnce = quantize(model, roomy, settings, again, SearchListener.SILENT, plenty, plenty);
        // Operands are kept, and only the ranges are taken from the images.
        assertThat(again.loads).hasValue((sequential ? 2 : 1) * 3 + 2 * 3);
        assertThat(roomy.held()).isZero();
        assertThat(bytes(inGroups)).isEqualTo(bytes(atOnce));
    }

    @Test
    void progressRisesToItsTotal() {
        VitModel model = Fixtures.micro("vit_micro");
        List<Long> done = new ArrayList<>();
        List<Long> totals = new ArrayList<>();
        List<String> stages = new ArrayList<>();
        LiuSearch.quantize(
                model,
                new VectorKernels(),
                new Fixtures.Noise(model.vit(), 3, 1),
                QuantizationPlan.uniform(model.vit(), 4, 4, 8),
                settings(true, true, 5, 20, 2),
                (stage, d, total) -> {
                    stages.add(stage);
                    done.add(d);
                    totals.add(total);
                });
        assertThat(done).isSorted().startsWith(0L).endsWith(totals.getLast());
        assertThat(new java.util.HashSet<>(totals)).hasSize(1);
        assertThat(stages)
                .contains("block 3 of 3, blocks.2.attn.qkv, round 2, inputs", "head, head, round 1, weights")
                .startsWith("embedding");
        // Operators come to rest long before the twentieth round.
        assertThat(stages).noneMatch(stage -> stage.contains("round 20"));
    }

    @Test
    void anUnreadableImageEndsTheSearchAndFreesItsCandidates() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        Fixtures.Noise noise = new Fixtures.Noise(model.vit(), 4, 1);
        CalibrationImages torn = new CalibrationImages() {
            @Override
            public int size() {
                return 4;
            }

            @Override
            public void load(int index, MemorySegment input) {
                noise.load(index, input);
                if (noise.loads.get() > 6) {
                    throw new BadInputException("image " + index + ": is torn");
                }
            }
        };
        CountingKernels kernels = new CountingKernels();
        assertThatThrownBy(() ->
                        quantize(model, kernels, settings(false, 5, 3, 2), torn, SearchListener.SILENT, 1L << 30, 0))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("is torn");
        assertThat(kernels.peak()).isPositive();
        assertThat(kernels.held()).isZero();
    }

    @Test
    void imagesAreNeeded() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        assertThatThrownBy(() -> quantize(model, 8, settings(false, 5, 1, 1), new Fixtures.Noise(model.vit(), 0, 1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("no calibration images");
    }

    @ParameterizedTest
    @CsvSource({
        "vit_micro, 8, false",
        "vit_micro, 8, true",
        "vit_micro, 4, false",
        "vit_micro, 4, true",
        "deit_distilled_micro, 8, false",
        "deit_distilled_micro, 4, true",
        "vit_gap_micro, 8, true",
        "vit_gap_micro, 4, false"
    })
    void theSearchIsNoWorseThanTheInitialScales(String name, int bits, boolean paper) {
        VitModel model = Fixtures.micro(name);
        CalibrationImages images = new Fixtures.Noise(model.vit(), 4, 2);
        Map<String, Double> initial =
                Similarity.byOperator(model, quantize(model, bits, settings(paper, 21, 0, 2), images), images);
        Map<String, Double> searched =
                Similarity.byOperator(model, quantize(model, bits, search(paper, 3), images), images);
        assertThat(mean(searched)).as(initial + " became " + searched).isGreaterThanOrEqualTo(mean(initial));
        assertThat(searched.values()).as(searched.toString()).allMatch(s -> s > (bits == 8 ? 0.998 : 0.8));
    }

    /** Without the ranking loss, which trades similarity for order. */
    private static LiuSettings search(boolean paper, int rounds) {
        return new LiuSettings(false, false, RankReduction.MEAN, false, !paper, !paper, 21, rounds, 0, 2);
    }

    private static double mean(Map<String, Double> similarities) {
        return similarities.values().stream().mapToDouble(s -> s).average().orElseThrow();
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "deit_distilled_micro", "vit_gap_micro"})
    void eightBitLogitsAreCloseToTheFloatModels(String name) {
        VitModel model = Fixtures.micro(name);
        CalibrationImages calibration = new Fixtures.Noise(model.vit(), 8, 3);
        CalibrationImages unseen = new Fixtures.Noise(model.vit(), 16, 4);
        for (boolean paper : new boolean[] {false, true}) {
            VitModel quantized = quantize(model, 8, settings(paper, 21, 3, 2), calibration);
            assertThat(sqnrDb(model, quantized, unseen)).as("paper " + paper).isGreaterThanOrEqualTo(20);
        }
    }

    @ParameterizedTest
    @CsvSource({"10, 10, 30", "10, 8, 20", "8, 10, 20", "3, 10, -1", "10, 3, -10", "3, 3, -10"})
    void widthsAreIndependent(int weightBits, int activationBits, double sqnr) {
        VitModel model = Fixtures.micro("vit_micro");
        QuantizationPlan plan = QuantizationPlan.uniform(model.vit(), weightBits, activationBits, 10);
        VitModel quantized = quantize(model, plan, settings(true, 5, 2, 2), new Fixtures.Noise(model.vit(), 4, 3));
        for (OperatorPlan operator : plan.operators()) {
            if (operator.weightBits() == 0) {
                MatmulQuantizers product =
                        Objects.requireNonNull(quantized.matmuls().get(operator.operator()));
                assertThat(product.left().bits()).isEqualTo(operator.activationBits());
                assertThat(product.right().bits()).isEqualTo(operator.activationBits());
                continue;
            }
            LinearLayer.Quantized layer = (LinearLayer.Quantized) quantized.linear(operator.operator());
            assertThat(layer.bits()).isEqualTo(operator.weightBits());
            assertThat(layer.input().bits()).isEqualTo(operator.activationBits());
            int highest = Integer.MIN_VALUE;
            for (long i = 0; i < (long) layer.outputs() * layer.inputs(); i++) {
                highest = Math.max(highest, Math.abs(layer.code(i)));
            }
            // A scale of at most 1.2 times the initial one uses at least 1 / 1.2 of the grid.
            assertThat(highest).isBetween((int) ((1 << (layer.bits() - 1)) / 1.25) - 1, 1 << (layer.bits() - 1));
        }
        assertThat(sqnrDb(model, quantized, new Fixtures.Noise(model.vit(), 4, 4)))
                .isGreaterThan(sqnr);
    }

    /** A bit more halves the steps, which quarters what an operator's correlation lacks of 1, also beyond a byte. */
    @Test
    void twoMoreBitsAreWorthTwelveDecibels() {
        VitModel model = Fixtures.micro("vit_micro");
        CalibrationImages images = new Fixtures.Noise(model.vit(), 4, 3);
        double[] decibels = new double[3];
        for (int i = 0; i < 3; i++) {
            VitModel quantized = quantize(model, 6 + 2 * i, search(true, 2), images);
            for (double similarity :
                    Similarity.byOperator(model, quantized, images).values()) {
                decibels[i] += -10 * Math.log10(1 - similarity);
            }
            decibels[i] /= 1 + 3 * 6 + 1;
        }
        assertThat(decibels[1] - decibels[0]).isBetween(10.0, 13.0);
        assertThat(decibels[2] - decibels[1]).isBetween(11.0, 13.0);
    }

    @Test
    void excludedOperatorsStayFloat() {
        VitModel model = Fixtures.micro("vit_micro");
        List<OperatorPlan> operators = new ArrayList<>();
        for (OperatorPlan o : QuantizationPlan.uniform(model.vit(), 8, 8, 8).operators()) {
            boolean excluded =
                    o.operator().equals("blocks.1.attn.qk") || o.operator().equals("blocks.1.mlp.fc1");
            operators.add(
                    excluded ? new OperatorPlan(o.operator(), o.weightBits() == 0 ? 0 : 32, OperatorPlan.FLOAT) : o);
        }
        for (boolean sequential : new boolean[] {false, true}) {
            VitModel quantized = quantize(
                    model,
                    new QuantizationPlan(operators),
                    settings(true, sequential, 3, 1, 1),
                    new Fixtures.Noise(model.vit(), 2, 1));
            assertThat(quantized.linear("blocks.1.mlp.fc1")).isSameAs(model.linear("blocks.1.mlp.fc1"));
            assertThat(quantized.linear("blocks.1.mlp.fc2")).isInstanceOf(LinearLayer.Quantized.class);
            assertThat(quantized.matmuls())
                    .doesNotContainKey("blocks.1.attn.qk")
                    .hasSize(5);
        }
    }

    /**
     * In parallel calibration an operator does not know what becomes of the others. In sequential calibration it does, except
     * for the first, which sees the image.
     */
    @Test
    void parallelAndSequentialDifferWhereTheyShould() {
        VitModel model = Fixtures.micro("vit_micro");
        CalibrationImages images = new Fixtures.Noise(model.vit(), 3, 1);
        QuantizationPlan all = QuantizationPlan.uniform(model.vit(), 3, 3, 3);
        List<OperatorPlan> one = new ArrayList<>();
        for (OperatorPlan o : all.operators()) {
            boolean kept = o.operator().equals("blocks.1.mlp.fc2");
            one.add(kept ? o : new OperatorPlan(o.operator(), o.weightBits() == 0 ? 0 : 32, OperatorPlan.FLOAT));
        }
        VitModel parallel = quantize(model, all, settings(true, false, 9, 2, 1), images);
        VitModel parallelAlone = quantize(model, new QuantizationPlan(one), settings(true, false, 9, 2, 1), images);
        VitModel sequential = quantize(model, all, settings(true, true, 9, 2, 1), images);
        VitModel sequentialAlone = quantize(model, new QuantizationPlan(one), settings(true, true, 9, 2, 1), images);
        assertThat(describe(parallel, "blocks.1.mlp.fc2")).isEqualTo(describe(parallelAlone, "blocks.1.mlp.fc2"));
        assertThat(describe(sequentialAlone, "blocks.1.mlp.fc2"))
                .isEqualTo(describe(parallelAlone, "blocks.1.mlp.fc2"));
        assertThat(describe(sequential, "blocks.1.mlp.fc2")).isNotEqualTo(describe(parallel, "blocks.1.mlp.fc2"));
        assertThat(describe(sequential, "patch_embed.proj")).isEqualTo(describe(parallel, "patch_embed.proj"));
        assertThat(describe(sequential, "blocks.0.attn.qkv")).isNotEqualTo(describe(parallel, "blocks.0.attn.qkv"));
    }

    private static Map<String, List<Object>> contents(VitModel model) {
        Map<String, List<Object>> contents = new java.util.TreeMap<>();
        model.linears().keySet().forEach(name -> contents.put(name, describe(model, name)));
        model.matmuls().forEach((name, quantizers) -> contents.put(name, List.of(quantizers)));
        return contents;
    }

    private static List<Object> describe(VitModel model, String name) {
        LinearLayer.Quantized layer = (LinearLayer.Quantized) model.linear(name);
        return List.of(
                java.util.Arrays.toString(layer.codes().toArray(JAVA_BYTE)),
                java.util.Arrays.toString(layer.scales()),
                java.util.Arrays.toString(layer.bias()),
                layer.input());
    }

    /** Sequential calibration with bias correction brings each layer's mean output back to the float model's. */
    @Test
    void sequentialBiasCorrectionRemovesInheritedShifts() {
        VitModel model = Fixtures.micro("vit_micro");
        CalibrationImages images = new Fixtures.Noise(model.vit(), 6, 1);
        QuantizationPlan plan = QuantizationPlan.uniform(model.vit(), 3, 3, 3);
        double[] wanted = meanLogits(model, images);
        double[] without = meanLogits(
                quantize(
                        model,
                        plan,
                        new LiuSettings(true, false, RankReduction.MEAN, true, false, false, 9, 2, 0, 2),
                        images),
                images);
        double[] with = meanLogits(quantize(model, plan, settings(true, true, 9, 2, 2), images), images);
        assertThat(largestDifference(wanted, without)).isGreaterThan(0.01);
        assertThat(largestDifference(wanted, with)).isLessThan(1e-4);
    }

    private static double[] meanLogits(VitModel model, CalibrationImages images) {
        double[] mean = new double[model.vit().classes()];
        for (int i = 0; i < images.size(); i++) {
            float[] logits = logits(model, images, i);
            for (int c = 0; c < mean.length; c++) {
                mean[c] += logits[c] / images.size();
            }
        }
        return mean;
    }

    private static double largestDifference(double[] a, double[] b) {
        double most = 0;
        for (int i = 0; i < a.length; i++) {
            most = Math.max(most, Math.abs(a[i] - b[i]));
        }
        return most;
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void aSearchGoesOnFromEveryCheckpoint(boolean sequential) {
        VitModel model = Fixtures.micro("deit_distilled_micro");
        CalibrationImages images = new Fixtures.Noise(model.vit(), 3, 1);
        QuantizationPlan plan = QuantizationPlan.uniform(model.vit(), 4, 9, 10);
        LiuSettings settings = settings(true, sequential, 5, 2, 2);
        List<VitModel> reached = new ArrayList<>();
        VitModel whole = LiuSearch.quantize(
                model, model, 0, new VectorKernels(), images, plan, settings, SearchListener.SILENT, (units, so) -> {
                    reached.add(so);
                    assertThat(units).isEqualTo(reached.size());
                });
        assertThat(reached).hasSize(model.vit().depth() + 2);
        Map<String, List<Object>> expected = contents(whole);
        assertThat(contents(reached.getLast())).isEqualTo(expected);
        for (int u = 1; u <= reached.size(); u++) {
            VitModel resumed = LiuSearch.quantize(
                    model,
                    reached.get(u - 1),
                    u,
                    new VectorKernels(),
                    images,
                    plan,
                    settings,
                    SearchListener.SILENT,
                    SearchCheckpoint.NONE);
            assertThat(contents(resumed)).as("from unit " + u).isEqualTo(expected);
        }
    }

    @Test
    void memoryBound() {
        VitModel model = Fixtures.micro("vit_micro");
        assertThat(LiuSearch.memoryBound(model.vit(), LiuSettings.defaults(0, 1)))
                .isEqualTo(LiuSearch.CANDIDATE_BUDGET + LiuSearch.OPERAND_BUDGET);
        assertThat(LiuSearch.memoryBound(
                        model.vit(),
                        new LiuSettings(true, true, RankReduction.MEAN, false, false, false, 1000, 1, 0, 1)))
                .isEqualTo(Math.max(LiuSearch.CANDIDATE_BUDGET, 1001L * 8 * 64 * 768) + LiuSearch.OPERAND_BUDGET);
    }

    @Test
    void thePlanMustFitTheModel() {
        VitModel model = Fixtures.micro("vit_micro");
        QuantizationPlan other =
                QuantizationPlan.uniform(Fixtures.micro("deit_distilled_micro").vit(), 8, 8, 8);
        assertThatThrownBy(() -> quantize(model, other, settings(true, 5, 1, 1), new Fixtures.Noise(model.vit(), 1, 1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("the plan");
    }

    private static double sqnrDb(VitModel model, VitModel quantized, CalibrationImages images) {
        double signal = 0;
        double noise = 0;
        for (int i = 0; i < images.size(); i++) {
            float[] a = logits(model, images, i);
            float[] b = logits(quantized, images, i);
            for (int c = 0; c < a.length; c++) {
                signal += (double) a[c] * a[c];
                noise += ((double) a[c] - b[c]) * ((double) a[c] - b[c]);
            }
        }
        return 10 * Math.log10(signal / noise);
    }

    private static float[] logits(VitModel model, CalibrationImages images, int index) {
        try (VitExecutor executor = new VitExecutor(model, new VectorKernels(), 1);
                VitSession session = executor.openSession()) {
            MemorySegment input = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            images.load(index, input);
            session.run(input, 1, logits);
            return logits.toArray(JAVA_FLOAT);
        }
    }
}
