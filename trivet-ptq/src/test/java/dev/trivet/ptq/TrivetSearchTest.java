package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.BadInputException;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TrivetSearchTest {
    private static final Provenance NONE = new Provenance(Map.of());

    @TempDir
    Path folder;

    private static CalibrationImages noise(VitModel model, int images) {
        return new Fixtures.Noise(model.vit(), images, 1);
    }

    private static Quantization quantization(
            VitModel model, QuantizationPlan plan, CalibrationImages images, TrivetSettings settings) {
        return new Quantization(model, new VectorKernels(), images, plan, settings);
    }

    private static VitModel quantize(VitModel model, QuantizationPlan plan, int images, TrivetSettings settings) {
        return quantization(model, plan, noise(model, images), settings).run(SearchListener.SILENT);
    }

    private static QuantizationPlan uniform(VitModel model, int weightBits, int activationBits) {
        return QuantizationPlan.uniform(model.vit(), weightBits, activationBits, Math.max(8, weightBits));
    }

    private byte[] bytes(VitModel model) throws IOException {
        Path file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, model, NONE);
        return Files.readAllBytes(file);
    }

    private VitModel throughAFile(VitModel model) {
        Path file = folder.resolve("checkpoint.safetensors");
        QuantizedModelFile.write(file, model, NONE);
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            return QuantizedModelFile.read(source).model();
        }
    }

    /** On images that the search has not seen. */
    private static double sqnrDb(VitModel model, VitModel quantized) {
        CalibrationImages images = new Fixtures.Noise(model.vit(), 10, 99);
        return Logits.sqnrDb(Logits.of(model, images), Logits.of(quantized, images));
    }

    private static void same(VitModel actual, VitModel expected) {
        assertThat(actual.config()).isEqualTo(expected.config());
        assertThat(actual.matmuls()).isEqualTo(expected.matmuls());
        assertThat(actual.floats().keySet()).isEqualTo(expected.floats().keySet());
        expected.floats()
                .forEach((name, values) ->
                        assertThat(actual.floats(name)).as(name).isEqualTo(values));
        expected.linears().forEach((name, e) -> {
            LinearLayer a = actual.linear(name);
            assertThat(a.bias()).as(name).isEqualTo(e.bias());
            switch (e) {
                case LinearLayer.Float32 f ->
                    assertThat(((LinearLayer.Float32) a).weight()).as(name).isEqualTo(f.weight());
                case LinearLayer.Quantized q -> {
                    LinearLayer.Quantized b = (LinearLayer.Quantized) a;
                    assertThat(b.bits()).isEqualTo(q.bits());
                    assertThat(b.codes().toArray(JAVA_BYTE))
                            .as(name)
                            .isEqualTo(q.codes().toArray(JAVA_BYTE));
                    assertThat(b.scales()).as(name).isEqualTo(q.scales());
                    assertThat(b.input()).as(name).isEqualTo(q.input());
                }
            }
        });
    }

    // ---- the same result whatever happens

    @ParameterizedTest
    @CsvSource({
        "vit_micro, 8, 8",
        "vit_micro, 4, 4",
        "deit_distilled_micro, 10, 10",
        "deit_distilled_micro, 3, 8",
        "vit_gap_micro, 2, 2",
        "vit_gap_micro, 4, 4"
    })
    void threadsAndRepetitionsChangeNothing(String name, int weightBits, int activationBits) throws IOException {
        VitModel model = Fixtures.micro(name);
        QuantizationPlan plan = uniform(model, weightBits, activationBits);
        byte[] first = bytes(quantize(model, plan, 6, TrivetSettings.defaults(3, 1)));
        assertThat(bytes(quantize(model, plan, 6, TrivetSettings.defaults(3, 1))))
                .isEqualTo(first);
        assertThat(bytes(quantize(model, plan, 6, TrivetSettings.defaults(3, 3))))
                .isEqualTo(first);
        // The method draws nothing: its seed is that of the images.
        assertThat(bytes(quantize(model, plan, 6, TrivetSettings.defaults(4, 1))))
                .isEqualTo(first);
    }

    /** After every unit the search is given up, and taken up again from what a file kept of it. */
    @ParameterizedTest
    @CsvSource({
        "vit_micro, 4, 4, true",
        "deit_distilled_micro, 10, 10, true",
        "deit_distilled_micro, 3, 8, false",
        "vit_gap_micro, 2, 2, true",
        "vit_gap_micro, 8, 8, true"
    })
    void takenUpAgainAtEveryUnit(String name, int weightBits, int activationBits, boolean rotation) throws IOException {
        VitModel model = Fixtures.micro(name);
        TrivetSettings settings = new TrivetSettings(rotation, true, true, true, 5, 2);
        Quantization quantization =
                quantization(model, uniform(model, weightBits, activationBits), noise(model, 6), settings);
        Map<Integer, VitModel> reached = new TreeMap<>();
        VitModel expected = quantization.run(
                quantization.start(),
                SearchListener.SILENT,
                choice -> {},
                (units, m) -> reached.put(units, throughAFile(m)));
        int units = model.vit().depth() + 2;
        assertThat(reached.keySet()).hasSize(units).contains(1, units);
        byte[] bytes = bytes(expected);
        for (Map.Entry<Integer, VitModel> at : reached.entrySet()) {
            List<Integer> later = new ArrayList<>();
            VitModel resumed = quantization.run(
                    new Quantization.Begun(at.getValue(), at.getKey()),
                    SearchListener.SILENT,
                    choice -> {},
                    (u, m) -> later.add(u));
            same(resumed, expected);
            assertThat(bytes(resumed)).isEqualTo(bytes);
            assertThat(later).hasSize(units - at.getKey());
        }
    }

    // ---- what comes out

    @ParameterizedTest
    @CsvSource({
        "vit_micro, 8, 8, 20",
        "deit_distilled_micro, 8, 8, 20",
        "vit_gap_micro, 8, 8, 20",
        "vit_micro, 10, 10, 20",
        "deit_distilled_micro, 10, 10, 20",
        "vit_gap_micro, 10, 10, 20",
        "vit_micro, 4, 4, 3",
        "deit_distilled_micro, 4, 4, 3",
        "vit_gap_micro, 4, 4, 3",
        "vit_micro, 3, 8, 3",
        "vit_gap_micro, 3, 8, 3",
        "vit_micro, 2, 2, -10",
        "deit_distilled_micro, 2, 2, -10"
    })
    void logitsStayNearTheFloatModels(String name, int weightBits, int activationBits, double least) {
        VitModel model = Fixtures.micro(name);
        List<OperatorChoice> choices = new ArrayList<>();
        Quantization quantization = quantization(
                model, uniform(model, weightBits, activationBits), noise(model, 32), TrivetSettings.defaults(0, 2));
        VitModel quantized =
                quantization.run(quantization.start(), SearchListener.SILENT, choices::add, SearchCheckpoint.NONE);
        double db = sqnrDb(model, quantized);
        System.out.printf("%s W%dA%d: %.1f dB%n", name, weightBits, activationBits, db);
        assertThat(db).isGreaterThan(least);
        int edge = Math.max(8, weightBits);
        quantized.linears().forEach((layer, l) -> {
            boolean block = layer.startsWith("blocks.");
            LinearLayer.Quantized q = (LinearLayer.Quantized) l;
            assertThat(q.bits()).isEqualTo(block ? weightBits : edge);
            assertThat(q.input().bits()).isEqualTo(block ? activationBits : edge);
        });
        assertThat(quantized.matmuls()).hasSize(2 * model.vit().depth());
        quantized.matmuls().forEach((product, q) -> {
            assertThat(q.normalized()).isEqualTo(product.endsWith(".av"));
            assertThat(q.left().bits()).isEqualTo(activationBits);
            assertThat(q.right().bits()).isEqualTo(activationBits);
        });
        // The choice that is reported is the best that was tried, one for each linear and for each block's products.
        assertThat(choices).hasSize(quantized.linears().size() + model.vit().depth());
        for (OperatorChoice choice : choices) {
            assertThat(choice.heldOutError())
                    .isEqualTo(choice.tried().stream()
                            .mapToDouble(OperatorChoice.Tried::error)
                            .min()
                            .orElseThrow());
        }
    }

    /** Without one of the parts it still works; levels and the fold of LayerNorms show in the model. */
    @ParameterizedTest
    @CsvSource({
        "false, true, true, true",
        "true, false, true, true",
        "true, true, false, true",
        "true, true, true, false",
        "false, false, false, false"
    })
    void eachPartCanBeSwitchedOff(boolean rotation, boolean bases, boolean levels, boolean compensation)
            throws IOException {
        VitModel model = Fixtures.micro("vit_micro");
        TrivetSettings settings = new TrivetSettings(rotation, bases, levels, compensation, 0, 2);
        List<OperatorChoice> choices = new ArrayList<>();
        // So many images that the ridge has rows enough.
        Quantization quantization = quantization(model, uniform(model, 4, 4), noise(model, 32), settings);
        VitModel quantized =
                quantization.run(quantization.start(), SearchListener.SILENT, choices::add, SearchCheckpoint.NONE);
        assertThat(sqnrDb(model, quantized)).isGreaterThan(2);
        List<String> tried = choices.stream()
                .flatMap(c -> c.tried().stream())
                .map(OperatorChoice.Tried::description)
                .toList();
        assertThat(tried.stream().anyMatch(t -> t.contains("ridge"))).isEqualTo(compensation);
        assertThat(tried.stream().anyMatch(t -> t.contains("levels"))).isEqualTo(levels);
        if (!rotation || !bases) {
            assertThat(bytes(quantized))
                    .isNotEqualTo(bytes(quantize(model, uniform(model, 4, 4), 32, TrivetSettings.defaults(0, 2))));
        }
        if (!levels) {
            quantized
                    .linears()
                    .values()
                    .forEach(l -> assertThat(((LinearLayer.Quantized) l).input().levels())
                            .isEmpty());
            for (MatmulQuantizers q : quantized.matmuls().values()) {
                assertThat(q.left().levels()).isEmpty();
                assertThat(q.right().levels()).isEmpty();
            }
        }
        if (!rotation) {
            assertThat(quantized.floats(VitNames.POSITIONS)).isEqualTo(model.floats(VitNames.POSITIONS));
        }
    }

    // ---- exclusions

    private static QuantizationPlan excluding(VitModel model, int bits, Set<String> excluded) {
        List<OperatorPlan> operators =
                new ArrayList<>(uniform(model, bits, bits).operators());
        operators.replaceAll(o ->
                excluded.contains(o.operator()) ? new OperatorPlan(o.operator(), o.weightBits() == 0 ? 0 : 32, 32) : o);
        return new QuantizationPlan(operators);
    }

    private static void excluded(VitModel model, VitModel quantized, Set<String> excluded) {
        for (String name : QuantizationPlan.names(model.vit())) {
            boolean isFloat = (name.endsWith(".qk") || name.endsWith(".av"))
                    ? !quantized.matmuls().containsKey(name)
                    : quantized.linear(name) instanceof LinearLayer.Float32;
            assertThat(isFloat).as(name).isEqualTo(excluded.contains(name));
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "patch_embed.proj",
                "blocks.0.attn.qkv",
                "blocks.0.attn.qk",
                "blocks.0.attn.av",
                "blocks.0.attn.proj",
                "blocks.0.mlp.fc1",
                "blocks.1.mlp.fc2",
                "head",
                "head_dist"
            })
    void anyOneOperatorCanStayFloat(String name) throws IOException {
        VitModel model = Fixtures.micro("deit_distilled_micro");
        VitModel quantized = quantize(model, excluding(model, 8, Set.of(name)), 32, TrivetSettings.defaults(0, 2));
        excluded(model, quantized, Set.of(name));
        assertThat(sqnrDb(model, quantized)).isGreaterThan(20);
        assertThat(bytes(throughAFile(quantized))).isEqualTo(bytes(quantized));
    }

    /** Products alone, projections without products, attention or MLPs alone, one product of each block. */
    @Test
    void groupsOfOperatorsCanStayFloat() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        List<String> names = QuantizationPlan.names(model.vit());
        Map<String, List<String>> groups = new HashMap<>();
        groups.put(
                "all but products",
                names.stream().filter(n -> !QuantizationPlan.isProduct(n)).toList());
        groups.put(
                "products", names.stream().filter(QuantizationPlan::isProduct).toList());
        groups.put("qkv", names.stream().filter(n -> n.endsWith("qkv")).toList());
        groups.put(
                "qkv, proj",
                names.stream()
                        .filter(n -> n.endsWith("qkv") || n.endsWith("attn.proj"))
                        .toList());
        groups.put(
                "qkv, av",
                names.stream()
                        .filter(n -> n.endsWith("qkv") || n.endsWith("av"))
                        .toList());
        groups.put("attention", names.stream().filter(n -> n.contains("attn")).toList());
        groups.put("mlp", names.stream().filter(n -> n.contains("mlp")).toList());
        groups.forEach((group, list) -> {
            Set<String> excluded = Set.copyOf(list);
            VitModel quantized = quantize(model, excluding(model, 8, excluded), 32, TrivetSettings.defaults(0, 2));
            excluded(model, quantized, excluded);
            assertThat(sqnrDb(model, quantized)).as(group).isGreaterThan(20);
        });
    }

    @Test
    void everythingCanStayFloat() {
        for (String name : List.of("vit_micro", "deit_distilled_micro", "vit_gap_micro")) {
            VitModel model = Fixtures.micro(name);
            VitModel quantized = quantize(
                    model, QuantizationPlan.uniform(model.vit(), 32, 32, 32), 2, TrivetSettings.defaults(0, 2));
            assertThat(quantized.isQuantized()).isFalse();
            CalibrationImages images = noise(model, 3);
            assertThat(Logits.of(quantized, images)).containsExactly(Logits.of(model, images), within(1e-4f));
        }
    }

    // ---- thin calibration

    /**
     * One image gives a head a single row, which varies nowhere. What so few images say of others is little (the head clips what
     * lies beyond the few rows it has seen), but the model is right on them.
     */
    @ParameterizedTest
    @CsvSource({
        "vit_micro, 1, 8, 25", "deit_distilled_micro, 1, 8, 25", "vit_gap_micro, 1, 4, 10",
        "vit_micro, 2, 8, 20", "vit_micro, 5, 8, 20", "vit_gap_micro, 4, 2, 3"
    })
    void aHandfulOfImages(String name, int images, int bits, double least) {
        VitModel model = Fixtures.micro(name);
        VitModel quantized = quantize(model, uniform(model, bits, bits), images, TrivetSettings.defaults(0, 2));
        CalibrationImages seen = noise(model, images);
        assertThat(Logits.sqnrDb(Logits.of(model, seen), Logits.of(quantized, seen)))
                .isGreaterThan(least);
        for (float logit : Logits.of(quantized, new Fixtures.Noise(model.vit(), 5, 99))) {
            assertThat(logit).isFinite();
        }
    }

    /** Keys that never change, channels that are always zero, images that are all the same. */
    @Timeout(300)
    @ParameterizedTest
    @ValueSource(ints = {2, 4, 8, 10})
    void constantChannels(int bits) {
        VitModel model = ModelRewriteTest.withConstantChannels(Fixtures.micro("vit_gap_micro"), 0);
        assertThat(sqnrDb(model, quantize(model, uniform(model, bits, bits), 32, TrivetSettings.defaults(0, 2))))
                .isGreaterThan(bits >= 8 ? 20 : -10);
        CalibrationImages black = new CalibrationImages() {
            @Override
            public int size() {
                return 6;
            }

            @Override
            public void load(int index, MemorySegment input) {
                input.fill((byte) 0);
            }
        };
        VitModel quantized = quantization(model, uniform(model, bits, bits), black, TrivetSettings.defaults(0, 2))
                .run(SearchListener.SILENT);
        // On what it was shown it is right: biases take what is constant.
        assertThat(Logits.sqnrDb(Logits.of(model, black), Logits.of(quantized, black)))
                .isGreaterThan(bits >= 4 ? 10 : 0);
        for (float logit : Logits.of(quantized, noise(model, 2))) {
            assertThat(logit).isFinite();
        }
    }

    // ---- the run

    @Test
    void anUnreadableImageEndsTheSearch() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        Fixtures.Noise good = new Fixtures.Noise(model.vit(), 4, 1);
        for (int after : new int[] {0, 2, 9, 15}) {
            good.loads.set(0);
            CalibrationImages torn = new CalibrationImages() {
                @Override
                public int size() {
                    return 4;
                }

                @Override
                public void load(int index, MemorySegment input) {
                    good.load(index, input);
                    if (good.loads.get() > after) {
                        throw new BadInputException("image " + index + ": is torn");
                    }
                }
            };
            assertThatThrownBy(() -> quantization(model, uniform(model, 8, 8), torn, TrivetSettings.defaults(0, 2))
                            .run(SearchListener.SILENT))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining("is torn");
        }
    }

    @Test
    void progressRisesToItsTotal() {
        VitModel model = Fixtures.micro("vit_micro");
        List<Long> done = new ArrayList<>();
        List<Long> totals = new ArrayList<>();
        List<String> stages = new ArrayList<>();
        quantization(model, uniform(model, 4, 4), noise(model, 3), TrivetSettings.defaults(0, 2))
                .run((stage, d, total) -> {
                    stages.add(stage);
                    done.add(d);
                    totals.add(total);
                });
        assertThat(done).isSorted().startsWith(0L).endsWith(totals.getLast());
        assertThat(Set.copyOf(totals)).hasSize(1);
        assertThat(stages)
                .startsWith("embedding")
                .contains("block 1 of 3, bases", "block 3 of 3, blocks.2.attn.av", "head, head");
    }

    @Test
    void wrongArgumentsAreRefused() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        assertThatThrownBy(() -> quantize(model, uniform(model, 8, 8), 0, TrivetSettings.defaults(0, 1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("no calibration images");
        VitModel other = Fixtures.micro("deit_distilled_micro");
        assertThatThrownBy(() -> quantize(model, uniform(other, 8, 8), 2, TrivetSettings.defaults(0, 1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("the plan names head_dist, which the model lacks");
        VitModel quantized = quantize(model, uniform(model, 8, 8), 2, TrivetSettings.defaults(0, 1));
        assertThatThrownBy(() -> quantize(quantized, uniform(model, 8, 8), 2, TrivetSettings.defaults(0, 1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("the model is quantized already");
        assertThatThrownBy(() -> TrivetSettings.defaults(0, 0)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void memoryDoesNotDependOnTheImages() {
        VitModel model = Fixtures.micro("vit_micro");
        long one = quantization(model, uniform(model, 4, 4), noise(model, 1), TrivetSettings.defaults(0, 1))
                .memoryBound();
        long many = quantization(model, uniform(model, 4, 4), noise(model, 1_000_000), TrivetSettings.defaults(0, 1))
                .memoryBound();
        assertThat(one).isPositive().isEqualTo(many);
        Quantization two = quantization(model, uniform(model, 4, 4), noise(model, 1), TrivetSettings.defaults(0, 2));
        // Two searches at a time, each with stores of its own, beside those of the float walk.
        assertThat(two.sensitivityMemoryBound() - two.memoryBound()).isGreaterThan(7 * TokenStore.IN_MEMORY);
        // Each of the four stores holds at most so much: the tokens of both models, a layer's inputs and outputs.
        assertThat(one).isGreaterThan(4 * TokenStore.IN_MEMORY);
        assertThat(quantization(model, uniform(model, 4, 4), noise(model, 1), TrivetSettings.defaults(0, 8))
                        .memoryBound())
                .isGreaterThan(one);
    }
}
