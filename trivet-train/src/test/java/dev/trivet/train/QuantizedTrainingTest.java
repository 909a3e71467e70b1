package dev.trivet.train;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.BadInputException;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.Geometry;
import dev.trivet.model.Interpolation;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class QuantizedTrainingTest {
    private static final VitConfig VIT =
            new VitConfig(8, 4, 1, 16, 2, 2, 32, 3, Pooling.TOKEN, true, false, true, 1e-6f);
    private static final Preprocessing PREPROCESSING =
            new Preprocessing(8, 8, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f));
    private static final SyntheticImages TRAIN = new SyntheticImages(200, 1);
    private static final SyntheticImages TEST = new SyntheticImages(400, 2);

    @TempDir
    private Path folder;

    private static List<Arguments> models() {
        List<Arguments> models = new ArrayList<>();
        for (int seed = 1; seed <= 9; seed++) {
            models.add(Arguments.of(VIT, seed));
            models.add(Arguments.of(ModelProbe.SMALL_SWIN, seed));
        }
        return models;
    }

    /** @param random whether images are mirrored and branches left out, which these images do not need */
    private static TrainingSettings settings(Recipe recipe, int epochs, boolean random, int threads) {
        return SmallTraining.settings(
                recipe,
                epochs,
                new TrainingSettings.Steps(16, 1, 3e-3, 0.05, 1, 1, 0.9, UpdateRule.MUON),
                random,
                random ? 0.1 : 0,
                7,
                Precision.FP32,
                threads);
    }

    private VitModel trainedFloat(Geometry geometry) {
        Path output = folder.resolve("float");
        ModelConfig config = new ModelConfig("vit_tiny_patch16_224", geometry, PREPROCESSING, List.of());
        new Training(config, settings(Recipe.FLOAT, 10, false, 2), output)
                .run(TRAIN, TEST, false, new TrainingListener() {});
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(output, Optional.empty())) {
            return VitModel.read(checkpoint);
        }
    }

    private static VitModel read(Path folder) {
        try (SafetensorsFile file = SafetensorsFile.open(folder.resolve(Training.QUANTIZED))) {
            return QuantizedModelFile.read(file).model();
        }
    }

    /** Logits of all test images from the integer executor, one image at a time. */
    private static float[][] execute(VitModel model, LayerObserver observer) {
        ImageSet images = ImageSet.of(TEST, model.geometry(), PREPROCESSING);
        float[][] all = new float[images.size()][];
        try (ModelExecutor executor =
                        ModelExecutor.compile(model, KernelSelection.get().kernels(), 1);
                ModelSession session = executor.openSession()) {
            MemorySegment input = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            for (int i = 0; i < all.length; i++) {
                byte[] pixels = images.pixels(i);
                for (int p = 0; p < pixels.length; p++) {
                    input.setAtIndex(JAVA_FLOAT, p, ((pixels[p] & 0xff) / 255f - 0.4f) / 0.2f);
                }
                session.run(input, 1, logits, Optional.of(observer));
                all[i] = logits.toArray(JAVA_FLOAT);
            }
        }
        return all;
    }

    private static int best(float[] logits) {
        int best = 0;
        for (int c = 1; c < logits.length; c++) {
            best = logits[c] > logits[best] ? c : best;
        }
        return best;
    }

    @ParameterizedTest
    @EnumSource(
            value = Recipe.class,
            names = {"W8A8", "TERVIT", "TERNARY"})
    void theFileOfEveryRecipeIsAsGoodAsTheTrainingSaid(Recipe recipe) throws IOException {
        VitModel start = trainedFloat(VIT);
        double simulated = new Training(start, settings(recipe, 9, false, 2), folder.resolve("out"))
                .run(TRAIN, TEST, false, new TrainingListener() {});
        assertThat(simulated).isGreaterThan(0.95);
        VitModel packed = read(folder.resolve("out"));
        float[][] logits = execute(packed, new LayerObserver() {});
        int right = 0;
        for (int i = 0; i < logits.length; i++) {
            right += best(logits[i]) == TEST.label(i) ? 1 : 0;
        }
        assertThat((double) right / logits.length).isCloseTo(simulated, within(0.005));
        LinearLayer.Quantized inner = (LinearLayer.Quantized) packed.linear("blocks.1.mlp.fc1");
        assertThat(inner.isTernary()).isEqualTo(recipe != Recipe.W8A8);
        assertThat(((LinearLayer.Quantized) packed.linear("head")).bits()).isEqualTo(8);
        List<String> log = Files.readAllLines(folder.resolve("out/log.csv"));
        assertThat(log).hasSize(10);
        assertThat(log.get(1)).startsWith(recipe == Recipe.TERNARY ? "ternary,1," : "w8a8,1,");
        assertThat(log.get(9)).startsWith(recipe == Recipe.W8A8 ? "w8a8,9," : "ternary,9,");
        assertThat(folder.resolve("out/curve.svg"))
                .content()
                .contains("<polyline")
                .endsWith("</svg>\n");
    }

    /** The simulation's models with their operands before they are rounded, by name. */
    private static final class Recorded implements Arithmetic {
        private final FakeQuantization inner;
        private final Map<String, float[]> operands = new HashMap<>();

        Recorded(FakeQuantization inner) {
            this.inner = inner;
        }

        private void record(String name, Tensor x) {
            FloatBuffer memory = Torch.floats(x.detach().contiguous());
            float[] values = new float[memory.capacity()];
            memory.get(values);
            operands.put(name, values);
        }

        @Override
        public Tensor linear(String name, Tensor input, Tensor weight, Optional<Tensor> bias) {
            record(name, input);
            return inner.linear(name, input, weight, bias);
        }

        @Override
        public Tensor attention(ModelUnit.Block unit, Tensor q, Tensor k, Tensor v, Optional<Tensor> bias) {
            record(ActivationRanges.left(unit.scores()), q);
            record(ActivationRanges.right(unit.scores()), k);
            record(ActivationRanges.right(unit.mixing()), v);
            return inner.attention(unit, q, k, v, bias);
        }

        @Override
        public Optional<ActivationRanges> ranges() {
            return inner.ranges();
        }
    }

    /**
     * A disturbed model of ternary weights, simulated and executed: the same answers, and the same codes but where a value lies at the
     * border between two.
     */
    @ParameterizedTest
    @MethodSource("models")
    void simulationAndExecutorAgree(Geometry geometry, int seed) {
        WeightQuantizer ternary = new WeightQuantizer.Ternary(true, SmallTraining.TERNARY.scale(), 2.5f);
        ImageSet images = ImageSet.of(TEST, geometry, PREPROCESSING);
        try (PointerScope _ = new PointerScope();
                NoGradGuard _ = new NoGradGuard();
                ActivationRanges ranges = new ActivationRanges(geometry)) {
            ParameterLayout layout = ParameterLayout.of(geometry);
            QuantizedWeights weights =
                    new QuantizedWeights(layout, geometry, PREPROCESSING, ternary, new WeightQuantizer.EightBit());
            Recorded recorded = new Recorded(new FakeQuantization(ranges));
            try (TrainableModel model =
                    TrainableModel.of(geometry, recorded, new Parameters(layout, Optional.of(weights)), 3)) {
                ModelProbe.disturb(model, new java.util.Random(seed));
                model.parameters().refresh();
                ImageBatch batch = new ImageBatch(geometry, PREPROCESSING, images.size());
                for (int i = 0; i < images.size(); i++) {
                    batch.put(i, images, i);
                }
                assertThat(ranges.known()).isFalse();
                Tensor unrounded = model.forward(batch.patches(), Optional.empty());
                ranges.update(0);
                assertThat(ranges.known()).isTrue();
                FloatBuffer simulated = Torch.floats(model.forward(batch.patches(), Optional.empty()));
                assertThat(simulated).isNotEqualTo(Torch.floats(unrounded));
                VitModel packed =
                        QuantizedExport.model(new ModelConfig("micro", geometry, PREPROCESSING, List.of()), model);
                CodeComparison comparison = new CodeComparison(recorded.operands, ranges, images.size());
                float[][] executed =
                        execute(packed, geometry instanceof VitConfig ? comparison : new LayerObserver() {});
                int same = 0;
                for (int i = 0; i < executed.length; i++) {
                    float[] mine = new float[geometry.classes()];
                    simulated.get(i * mine.length, mine);
                    same += best(mine) == best(executed[i]) ? 1 : 0;
                }
                assertThat(same).isGreaterThanOrEqualTo((int) Math.ceil(0.995 * executed.length));
                if (geometry instanceof VitConfig) {
                    // 10 layers and 2 x 2 products of 2 blocks, of each image; patches are compared by the layers
                    // behind them.
                    assertThat(comparison.operands).isEqualTo((9 + 6) * images.size());
                    assertThat(comparison.largest).isLessThanOrEqualTo(1);
                    assertThat(comparison.different).isLessThan(comparison.codes / 10_000);
                }
                batch.close();
            }
        }
    }

    /**
     * Compares the executor's codes, image by image, with those of the simulation's values. What an image's first different code
     * does to its later layers is the model's doing, so gaps are looked at up to the first layer with one.
     */
    private static final class CodeComparison implements LayerObserver {
        private final Map<String, float[]> expected;
        private final ActivationRanges ranges;
        private final int images;
        private final Map<String, Integer> done = new HashMap<>();
        private int operands;
        /** Of the first layers with different codes. */
        private int largest;

        private final boolean[] differs;
        private long different;
        private long codes;

        CodeComparison(Map<String, float[]> expected, ActivationRanges ranges, int images) {
            this.expected = expected;
            this.ranges = ranges;
            this.images = images;
            differs = new boolean[images];
        }

        @Override
        public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
            compare(name, input);
        }

        @Override
        public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
            if (name.endsWith(".qk")) {
                compare(ActivationRanges.left(name), left);
            }
            compare(ActivationRanges.right(name), right);
        }

        private void compare(String name, MemorySegment found) {
            Optional<ActivationQuantizer> quantizer = ranges.quantizer(name);
            if (quantizer.isEmpty()) {
                return;
            }
            operands++;
            float[] all = java.util.Objects.requireNonNull(expected.get(name));
            int each = all.length / images;
            int from = done.merge(name, each, Integer::sum) - each;
            boolean follows = differs[from / each];
            for (int i = 0; i < each; i++) {
                int code = found.get(JAVA_BYTE, i);
                int executed = quantizer.get().signed() ? code : code & 0xff;
                int gap = Math.abs(executed - quantizer.get().quantize(all[from + i]));
                differs[from / each] |= gap > 0;
                if (!follows) {
                    codes++;
                    largest = Math.max(largest, gap);
                    different += gap == 0 ? 0 : 1;
                }
            }
        }
    }

    private static TrainingListener powerCut(int last) {
        return new TrainingListener() {
            @Override
            public void epoch(EpochReport report) {
                if (report.epoch() == last) {
                    throw new IllegalStateException("power cut");
                }
            }
        };
    }

    /** Steps too small to move a float leave what the training began with: another training's file, code by code. */
    @Test
    void startsWithATernaryFile() {
        VitModel start = trainedFloat(VIT);
        new Training(start, settings(Recipe.TERNARY, 2, false, 1), folder.resolve("first"))
                .run(TRAIN, TEST, false, new TrainingListener() {});
        VitModel first = read(folder.resolve("first"));
        TrainingSettings still = SmallTraining.settings(
                Recipe.TERNARY,
                1,
                new TrainingSettings.Steps(16, 1, 1e-30, 0, 0, 1, 0.9, UpdateRule.ADAMW),
                false,
                0,
                7,
                Precision.FP32,
                1);
        new Training(start, first, still, folder.resolve("second")).run(TRAIN, TEST, false, new TrainingListener() {});
        VitModel second = read(folder.resolve("second"));
        for (String name : List.of("blocks.0.attn.qkv", "blocks.1.attn.proj", "blocks.1.mlp.fc2")) {
            LinearLayer.Quantized before = (LinearLayer.Quantized) first.linear(name);
            LinearLayer.Quantized after = (LinearLayer.Quantized) second.linear(name);
            assertThat(after.codes().toArray(JAVA_BYTE))
                    .as(name)
                    .isEqualTo(before.codes().toArray(JAVA_BYTE));
            assertThat(after.scales()).as(name).isEqualTo(before.scales());
            assertThat(after.bias()).as(name).isEqualTo(before.bias());
        }
        assertThat(second.floats()).usingRecursiveComparison().isEqualTo(first.floats());
        // From the float model's own weights the same settings end elsewhere, and may not resume this.
        assertThatThrownBy(() -> new Training(start, still, folder.resolve("second"))
                        .run(TRAIN, TEST, true, new TrainingListener() {}))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("comes from another ternary file (SHA-256 ")
                .hasMessageContaining(", now none)");
    }

    @Test
    void refusesToResumeFromAnotherFloatModel() {
        VitModel start = trainedFloat(VIT);
        TrainingSettings settings = settings(Recipe.TERNARY, 2, false, 1);
        assertThatThrownBy(
                        () -> new Training(start, settings, folder.resolve("out")).run(TRAIN, TEST, false, powerCut(1)))
                .hasMessage("power cut");
        Map<String, float[]> floats = new HashMap<>(start.floats());
        float[] scale =
                java.util.Objects.requireNonNull(floats.get("norm.weight")).clone();
        scale[3] = Math.nextUp(scale[3]);
        floats.put("norm.weight", scale);
        VitModel disturbed = new VitModel(start.config(), start.linears(), start.matmuls(), floats);
        assertThatThrownBy(() -> new Training(disturbed, settings, folder.resolve("out"))
                        .run(TRAIN, TEST, true, new TrainingListener() {}))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("checkpoint.safetensors: comes from another float model (SHA-256 ")
                .hasMessageContaining("resume with the same float model");
    }

    /** A weight decay of 100 per step throws the weights to infinity. */
    @ParameterizedTest
    @EnumSource(
            value = Recipe.class,
            names = {"W8A8", "TERNARY"})
    void stopsWhenTheLossIsNoNumber(Recipe recipe) {
        VitModel start = trainedFloat(VIT);
        TrainingSettings wild = SmallTraining.settings(
                recipe,
                3,
                new TrainingSettings.Steps(16, 1, 10, 10, 0, Double.POSITIVE_INFINITY, 0, UpdateRule.ADAMW),
                false,
                0,
                7,
                Precision.FP32,
                1);
        assertThatThrownBy(() -> new Training(start, wild, folder.resolve("out"))
                        .run(TRAIN, TEST, false, new TrainingListener() {}))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("training diverged at epoch ");
    }

    /** Chosen anew, it could be another one where the training was resumed. */
    @Test
    void choosesThePrecisionOnceForAllStages() {
        VitModel start = trainedFloat(VIT);
        TrainingSettings settings = SmallTraining.settings(
                Recipe.TERVIT,
                2,
                new TrainingSettings.Steps(16, 1, 3e-3, 0.05, 1, 1, 0.9, UpdateRule.MUON),
                false,
                0,
                7,
                Precision.AUTO,
                1);
        List<String> notes = new ArrayList<>();
        new Training(start, settings, folder.resolve("out")).run(TRAIN, TEST, false, new TrainingListener() {
            @Override
            public void note(String line) {
                notes.add(line);
            }
        });
        assertThat(notes).singleElement().asString().startsWith("precision: ");
        try (SafetensorsFile file = SafetensorsFile.open(folder.resolve("out").resolve(Training.QUANTIZED))) {
            Map<String, String> facts =
                    QuantizedModelFile.read(file).provenance().facts();
            assertThat(facts)
                    .containsOnlyKeys(
                            "tool",
                            "seed",
                            "threads",
                            "training_model",
                            "training_data",
                            "training_settings",
                            "training_float_model")
                    .containsEntry("seed", "7")
                    .containsEntry("threads", "1");
            assertThat(facts.get("tool")).matches("trivet [0-9.]+ train");
        }
    }

    @Test
    void resumesBitForBitThroughTheStages() throws IOException {
        VitModel start = trainedFloat(VIT);
        TrainingSettings settings = settings(Recipe.TERVIT, 3, true, 1);
        new Training(start, settings, folder.resolve("unbroken")).run(TRAIN, TEST, false, new TrainingListener() {});
        for (int epoch = 1; epoch < 3; epoch++) {
            int last = epoch;
            assertThatThrownBy(() -> new Training(start, settings, folder.resolve("broken"))
                            .run(TRAIN, TEST, last > 1, powerCut(last)))
                    .hasMessage("power cut");
        }
        new Training(start, settings, folder.resolve("broken")).run(TRAIN, TEST, true, new TrainingListener() {});
        Files.copy(folder.resolve("broken").resolve(Training.QUANTIZED), folder.resolve("first"));
        Files.delete(folder.resolve("broken").resolve(Training.QUANTIZED));
        new Training(start, settings, folder.resolve("broken")).run(TRAIN, TEST, true, new TrainingListener() {});
        assertThat(folder.resolve("broken").resolve(Training.QUANTIZED))
                .hasSameBinaryContentAs(folder.resolve("first"));
        for (String file : List.of(Training.QUANTIZED, "checkpoint.safetensors")) {
            assertThat(folder.resolve("broken").resolve(file))
                    .hasSameBinaryContentAs(folder.resolve("unbroken").resolve(file));
        }
    }
}
