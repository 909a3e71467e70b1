package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitModel;
import dev.trivet.model.WindowPadding;
import dev.trivet.tensor.SafetensorsFile;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What holds for the sessions of every kind of model, and what distinguishes Swins. */
class ModelSessionTest {
    private static float[] noise(Geometry geometry, int images, long seed) {
        Random random = new Random(seed);
        float[] values = new float[images * geometry.channels() * geometry.imageSize() * geometry.imageSize()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    private static VitModel quantized(String name) {
        VitModel model = Fixtures.load(Fixtures.golden(name));
        return MaxScaling.quantize(model, noise(model.geometry(), 1, 1));
    }

    private static float[] run(VitModel model, Kernels kernels, float[] input, int images) {
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, images);
                ModelSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
            session.run(in, images, logits);
            return logits.toArray(JAVA_FLOAT);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"swin_micro", "swin_padded_micro"})
    void imagesOfABatchDoNotTouchEachOther(String name) {
        VitModel model = quantized(name);
        int classes = model.geometry().classes();
        float[] input = noise(model.geometry(), 3, 2);
        int length = input.length / 3;
        for (Kernels kernels : Fixtures.providers()) {
            float[] together = run(model, kernels, input, 3);
            for (int i = 0; i < 3; i++) {
                float[] image = Arrays.copyOfRange(input, i * length, (i + 1) * length);
                assertThat(run(model, kernels, image, 1))
                        .as(kernels.name() + ", image " + i)
                        .isEqualTo(Arrays.copyOfRange(together, i * classes, (i + 1) * classes));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"vit_micro", "deit_distilled_micro", "vit_gap_micro", "swin_micro_window4", "swin_padded_micro"})
    void unitsOneByOneGiveWhatTheWholeGives(String name) {
        VitModel model = quantized(name);
        Kernels kernels = new VectorKernels();
        float[] input = noise(model.geometry(), 2, 3);
        List<ModelUnit> units = model.geometry().units();
        float[] passed = input;
        List<String> watched = new ArrayList<>();
        for (int u = 0; u < units.size(); u++) {
            ModelUnit unit = units.get(u);
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 2, u, u + 1);
                    ModelSession session = executor.openSession()) {
                assertThat(passed).hasSize((int) (2 * unit.input().values()));
                MemorySegment in = u == 0 ? session.allocateInput() : session.allocateTokens();
                MemorySegment out = u == units.size() - 1 ? session.allocateLogits() : session.allocateTokens();
                MemorySegment.copy(passed, 0, in, JAVA_FLOAT, 0, passed.length);
                session.runUnit(u, in, 2, out, Optional.of(linears(watched)));
                passed = out.asSlice(0, 8 * unit.output().values()).toArray(JAVA_FLOAT);
            }
        }
        assertThat(passed).isEqualTo(run(model, kernels, input, 2));
        assertThat(watched)
                .isEqualTo(units.stream().flatMap(u -> u.linears().stream()).toList());
        assertThat(watched).containsExactlyElementsOf(model.linears().keySet());
    }

    private static LayerObserver linears(List<String> names) {
        return new LayerObserver() {
            @Override
            public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
                names.add(name);
            }
        };
    }

    @Test
    void aPartRunsNoMoreThanItHas() {
        VitModel model = quantized("swin_micro");
        try (ModelExecutor executor = ModelExecutor.compile(model, new VectorKernels(), 1, 1, 3);
                ModelSession session = executor.openSession()) {
            MemorySegment tokens = session.allocateTokens();
            MemorySegment in = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            assertThatThrownBy(() -> session.run(in, 1, logits)).isInstanceOf(IllegalStateException.class);
            assertThatThrownBy(() -> session.runUnit(0, in, 1, tokens, Optional.empty()))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("the executor was compiled without unit 0");
            assertThatThrownBy(() -> session.runUnit(3, tokens, 1, tokens, Optional.empty()))
                    .isInstanceOf(IllegalStateException.class);
            assertThatThrownBy(() -> session.runUnit(1, tokens, 2, tokens, Optional.empty()))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("2 images for a batch of 1");
        }
        assertThatThrownBy(() -> ModelExecutor.compile(model, new VectorKernels(), 1, 2, 2))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> ModelExecutor.compile(model, new VectorKernels(), 1, 0, 99))
                .isInstanceOf(IllegalArgumentException.class);
    }

    private static VitModel with(
            VitModel model, boolean positions, WindowPadding padding, Map<String, float[]> floats) {
        SwinConfig c = (SwinConfig) model.geometry();
        SwinConfig changed = new SwinConfig(
                c.imageSize(),
                c.patchSize(),
                c.channels(),
                c.width(),
                c.depths(),
                c.heads(),
                c.window(),
                c.mlpRatio(),
                c.classes(),
                c.qkvBias(),
                positions,
                padding,
                c.layerNormEpsilon());
        ModelConfig config = new ModelConfig(
                model.config().architecture(), changed, model.config().preprocessing(), List.of());
        Map<String, float[]> all = new LinkedHashMap<>(model.floats());
        all.putAll(floats);
        return new VitModel(config, model.linears(), model.matmuls(), all);
    }

    /** Positions that are alike for every token do what the embedding's bias does. */
    @Test
    void positionsAreAddedToTheEmbedding() {
        VitModel model = Fixtures.load(Fixtures.golden("swin_micro_window4"));
        float[] bias = model.floats("patch_embed.norm.bias").clone();
        float[] positions = new float[256 * 24];
        for (int i = 0; i < positions.length; i++) {
            positions[i] = (i % 24 - 11) / 8f;
        }
        for (int c = 0; c < 24; c++) {
            bias[c] += positions[c];
        }
        VitModel shifted = with(model, false, WindowPadding.AFTER_SHIFT, Map.of("patch_embed.norm.bias", bias));
        VitModel added = with(model, true, WindowPadding.AFTER_SHIFT, Map.of(SwinNames.POSITIONS, positions));
        float[] input = noise(model.geometry(), 2, 4);
        float[] expected = run(shifted, new VectorKernels(), input, 2);
        assertThat(run(added, new VectorKernels(), input, 2)).containsExactly(expected, within(1e-5f));
        assertThat(run(model, new VectorKernels(), input, 2)).isNotEqualTo(expected);
    }

    /** Hugging Face pads first: its recorded run is met, and the other order does not meet it. */
    @Test
    void paddingBeforeTheShiftAgreesWithItsRecordedRun() {
        Path folder = Fixtures.golden("swin_padded_first_micro");
        VitModel model = Fixtures.load(folder);
        VitModel first = with(model, false, WindowPadding.BEFORE_SHIFT, Map.of());
        for (Kernels kernels : Fixtures.providers()) {
            assertThat(check(first, kernels, folder)).hasSize(8).allMatch(GoldenCheck.Comparison::agrees);
            assertThat(check(model, kernels, folder)).anyMatch(c -> !c.agrees());
        }
    }

    private static List<GoldenCheck.Comparison> check(VitModel model, Kernels kernels, Path folder) {
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                SafetensorsFile golden = SafetensorsFile.open(folder.resolve("golden.safetensors"))) {
            return GoldenCheck.run(executor, golden, 1e-3, 1e-4);
        }
    }

    /** Where windows divide every map, it does not matter what padding would come first. */
    @Test
    void paddingChangesOnlyMapsThatAreNotDivided() {
        for (String name : List.of("swin_micro_window4", "swin_micro")) {
            VitModel model = Fixtures.load(Fixtures.golden(name));
            float[] input = noise(model.geometry(), 1, 5);
            VitModel other = with(model, false, WindowPadding.BEFORE_SHIFT, Map.of());
            assertThat(run(other, new VectorKernels(), input, 1)).isEqualTo(run(model, new VectorKernels(), input, 1));
        }
    }
}
