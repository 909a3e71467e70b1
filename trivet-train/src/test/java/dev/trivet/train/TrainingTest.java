package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.image.RgbImage;
import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.Geometry;
import dev.trivet.model.Interpolation;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.WindowPadding;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.bytedeco.javacpp.Pointer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class TrainingTest {
    private static final VitConfig CONFIG =
            new VitConfig(8, 4, 1, 16, 2, 2, 32, 3, Pooling.TOKEN, true, false, true, 1e-6f);
    private static final Preprocessing PREPROCESSING =
            new Preprocessing(8, 8, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f));
    private static final SyntheticImages TRAIN = new SyntheticImages(200, 1);
    private static final SyntheticImages TEST = new SyntheticImages(90, 2);

    @TempDir
    private Path folder;

    private static TrainingSettings settings(int epochs) {
        return settings(epochs, UpdateRule.MUON, 1);
    }

    private static TrainingSettings settings(int epochs, UpdateRule rule, int threads) {
        return settings(epochs, rule, false, 0, 7, Precision.FP32, threads);
    }

    private static TrainingSettings settings(int epochs, Precision precision) {
        return settings(epochs, UpdateRule.MUON, false, 0, 7, precision, 1);
    }

    private static TrainingSettings settings(
            int epochs, UpdateRule rule, boolean flip, double dropPath, long seed, Precision precision, int threads) {
        return SmallTraining.settings(
                Recipe.FLOAT,
                epochs,
                new TrainingSettings.Steps(16, 1, 3e-3, 0.05, 1, 1, 0.9, rule),
                flip,
                dropPath,
                seed,
                precision,
                threads);
    }

    private Training training(TrainingSettings settings, String output) {
        return training(CONFIG, settings, output);
    }

    private Training training(Geometry geometry, TrainingSettings settings, String output) {
        return training(geometry, PREPROCESSING, settings, output);
    }

    private Training training(
            Geometry geometry, Preprocessing preprocessing, TrainingSettings settings, String output) {
        return new Training(
                new ModelConfig("vit_tiny_patch16_224", geometry, preprocessing, List.of()),
                settings,
                folder.resolve(output));
    }

    private static List<Arguments> trainings() {
        return geometries().stream()
                .flatMap(geometry -> Arrays.stream(UpdateRule.values()).map(rule -> Arguments.of(geometry, rule)))
                .toList();
    }

    private static List<Geometry> geometries() {
        return List.of(CONFIG, ModelProbe.SMALL_SWIN);
    }

    /** Everything that is random. */
    private static TrainingSettings random(int epochs, UpdateRule rule) {
        return settings(epochs, rule, true, 0.3, 7, Precision.FP32, 1);
    }

    /** Ends the training when an epoch is over, as a power cut would. */
    private static TrainingListener stopAfter(int epoch) {
        return new TrainingListener() {
            @Override
            public void epoch(EpochReport report) {
                if (report.epoch() == epoch) {
                    throw new Stopped();
                }
            }
        };
    }

    private static final class Stopped extends RuntimeException {
        private static final long serialVersionUID = 1L;
    }

    private static TrainingListener silent() {
        return new TrainingListener() {};
    }

    @ParameterizedTest
    @MethodSource("trainings")
    void learns(Geometry geometry, UpdateRule rule) throws IOException {
        double accuracy = training(geometry, settings(12, rule, 2), "out").run(TRAIN, TEST, false, silent());
        assertThat(accuracy).isGreaterThan(0.95);
        List<String> log = Files.readAllLines(folder.resolve("out/log.csv"));
        assertThat(log).hasSize(13);
        assertThat(log.get(0)).isEqualTo("stage,epoch,loss,learning_rate,train_accuracy,test_accuracy,seconds");
        assertThat(Double.parseDouble(log.get(12).split(",", -1)[2]))
                .isLessThan(Double.parseDouble(log.get(1).split(",", -1)[2]) - 0.3);
        assertThat(Double.parseDouble(log.get(12).split(",", -1)[5])).isBetween(accuracy - 1e-5, accuracy + 1e-5);
    }

    /** The written weights are the model that was evaluated: another module loaded from the file answers the same. */
    @ParameterizedTest
    @MethodSource("geometries")
    void writesTheModelThatWasEvaluated(Geometry geometry) {
        double accuracy = training(geometry, settings(4), "out").run(TRAIN, TEST, false, silent());
        ImageSet test = ImageSet.of(TEST, geometry, PREPROCESSING);
        try (TrainableModel model = TrainableModel.of(geometry, Arithmetic.FLOAT, 99);
                SafetensorsFile file = SafetensorsFile.open(folder.resolve("out/model.safetensors"));
                Replicas replicas = new Replicas(model, Optional.empty(), PREPROCESSING, 16, settings(4))) {
            model.parameters().load(file);
            assertThat((double) replicas.correct(test) / test.size()).isEqualTo(accuracy);
        }
    }

    @Test
    void writesTimmsShapes() {
        training(settings(1), "out").run(TRAIN, TEST, false, silent());
        try (SafetensorsFile file = SafetensorsFile.open(folder.resolve("out/model.safetensors"))) {
            assertThat(file.find("cls_token").orElseThrow().shape()).containsExactly(1L, 1L, 16L);
            assertThat(file.find("pos_embed").orElseThrow().shape()).containsExactly(1L, 5L, 16L);
            assertThat(file.find("patch_embed.proj.weight").orElseThrow().shape())
                    .containsExactly(16L, 1L, 4L, 4L);
        }
    }

    @Test
    void writesTimmsConfig() throws IOException {
        training(settings(1), "out").run(TRAIN, TEST, false, silent());
        assertThat(Files.readString(folder.resolve("out/config.json"))).isEqualTo("""
                        {"architecture":"vit_tiny_patch16_224","img_size":8,"patch_size":4,"in_chans":1,"embed_dim":16,\
                        "depth":2,"num_heads":2,"mlp_ratio":2,"qkv_bias":true,"class_token":true,"global_pool":"token",\
                        "num_classes":3,"label_names":["above","left","middle"],"pretrained_cfg":{"input_size":[1,8,8],\
                        "interpolation":"bicubic","crop_pct":1.0,"mean":[0.4],"std":[0.2],"num_classes":3}}
                        """);
    }

    @Test
    void writesTimmsConfigOfASwin() throws IOException {
        training(ModelProbe.SMALL_SWIN, settings(1), "out").run(TRAIN, TEST, false, silent());
        assertThat(Files.readString(folder.resolve("out/config.json"))).isEqualTo("""
                        {"architecture":"swin_tiny_patch4_window7_224","img_size":8,"patch_size":2,"in_chans":1,\
                        "embed_dim":8,"depths":[2,1],"num_heads":[2,2],"window_size":2,"mlp_ratio":2,"qkv_bias":true,\
                        "ape":false,"num_classes":3,"label_names":["above","left","middle"],"pretrained_cfg":{\
                        "input_size":[1,8,8],"interpolation":"bicubic","crop_pct":1.0,"mean":[0.4],"std":[0.2],\
                        "num_classes":3}}
                        """);
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(folder.resolve("out"), Optional.empty())) {
            assertThat(checkpoint.config().geometry()).isEqualTo(ModelProbe.SMALL_SWIN);
        }
    }

    @Test
    void refusesWhatTimmsConfigCannotSay() {
        SwinConfig paddedFirst = ModelProbe.swin(8, 2, List.of(2), 2, WindowPadding.BEFORE_SHIFT, 1e-5f);
        SwinConfig otherEpsilon = ModelProbe.swin(8, 2, List.of(2), 2, WindowPadding.AFTER_SHIFT, 1e-6f);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> training(paddedFirst, settings(1), "out"))
                .withMessageContaining("padded before the shift");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> training(otherEpsilon, settings(1), "out"))
                .withMessageContaining("epsilon");
        Preprocessing squashed =
                new Preprocessing(8, 8, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f), Preprocessing.Fit.SQUASH);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> training(CONFIG, squashed, settings(1), "out"))
                .withMessageContaining("squashed");
    }

    @Test
    void refusesPartsThatTrainingDoesNotCompute() {
        VitConfig registers = new VitConfig(8, 4, 1, 16, 2, 2, 32, 3, Pooling.TOKEN, true, false, true, 1e-6f, 2, 0);
        VitConfig preLogits = new VitConfig(8, 4, 1, 16, 2, 2, 32, 3, Pooling.TOKEN, true, false, true, 1e-6f, 0, 8);
        for (VitConfig config : List.of(registers, preLogits)) {
            assertThatThrownBy(() -> ParameterLayout.of(config))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining("register tokens, pre-logits");
        }
    }

    /** Shapes for which width times ratio, or size over crop fraction, is not exact in floating point. */
    @Test
    void writesConfigsThatReadBackTheSame() {
        for (int mlpWidth = 30; mlpWidth < 90; mlpWidth += 7) {
            for (boolean distilled : new boolean[] {false, true}) {
                Pooling pooling = mlpWidth % 2 == 0 && !distilled ? Pooling.AVERAGE : Pooling.TOKEN;
                VitConfig config =
                        new VitConfig(8, 4, 3, 12, 1, 2, mlpWidth, 3, pooling, true, distilled, !distilled, 1e-6f);
                Preprocessing preprocessing = new Preprocessing(
                        8,
                        8 + mlpWidth % 6,
                        Interpolation.BILINEAR,
                        Preprocessing.IMAGENET_MEAN,
                        Preprocessing.IMAGENET_STD);
                Path output = folder.resolve(mlpWidth + "-" + distilled);
                training(config, preprocessing, settings(1), mlpWidth + "-" + distilled)
                        .run(new SyntheticImages(20, 1), new SyntheticImages(4, 2), false, silent());
                try (FloatCheckpoint checkpoint = FloatCheckpoint.open(output, Optional.empty())) {
                    assertThat(checkpoint.config().geometry()).isEqualTo(config);
                    assertThat(checkpoint.config().preprocessing()).isEqualTo(preprocessing);
                    assertThat(checkpoint.config().labels()).containsExactly("above", "left", "middle");
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("trainings")
    void resumesBitForBit(Geometry geometry, UpdateRule rule) throws IOException {
        TrainingSettings settings = random(4, rule);
        training(geometry, settings, "unbroken").run(TRAIN, TEST, false, silent());
        assertThatThrownBy(() -> training(geometry, settings, "broken").run(TRAIN, TEST, false, stopAfter(2)))
                .isInstanceOf(Stopped.class);
        List<String> notes = new ArrayList<>();
        double accuracy = training(geometry, settings, "broken").run(TRAIN, TEST, true, new TrainingListener() {
            @Override
            public void note(String line) {
                notes.add(line);
            }
        });
        assertThat(notes).singleElement().asString().contains("checkpoint.safetensors after epoch 2");
        for (String file : List.of("model.safetensors", "checkpoint.safetensors", "config.json")) {
            assertThat(folder.resolve("broken").resolve(file))
                    .hasSameBinaryContentAs(folder.resolve("unbroken").resolve(file));
        }
        List<String> log = Files.readAllLines(folder.resolve("broken/log.csv"));
        assertThat(withoutSeconds(log))
                .isEqualTo(withoutSeconds(Files.readAllLines(folder.resolve("unbroken/log.csv"))));
        // A finished training has nothing left to do but to say how good the model is, and to write it if it was lost.
        Files.delete(folder.resolve("broken/model.safetensors"));
        assertThat(training(geometry, settings, "broken").run(TRAIN, TEST, true, silent()))
                .isEqualTo(accuracy);
        assertThat(folder.resolve("broken/model.safetensors"))
                .hasSameBinaryContentAs(folder.resolve("unbroken/model.safetensors"));
    }

    /** Images whose classes have other names. */
    private record Renamed(LabelledImages images, List<String> classNames) implements LabelledImages {
        @Override
        public int size() {
            return images.size();
        }

        @Override
        public int label(int index) {
            return images.label(index);
        }

        @Override
        public String name(int index) {
            return images.name(index);
        }

        @Override
        public RgbImage read(int index) {
            return images.read(index);
        }
    }

    @Test
    void refusesTestImagesOfOtherClasses() {
        for (List<String> names : List.of(List.of("above", "middle", "right"), List.of("above"))) {
            assertThatThrownBy(() -> training(settings(1), "out").run(TRAIN, new Renamed(TEST, names), false, silent()))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining("class 1 is left of the 3 classes of the training images but "
                            + (names.size() == 1 ? "none of the 1" : "middle of the 3"))
                    .hasMessageContaining("same class folders");
        }
        assertThat(folder.resolve("out")).doesNotExist();
        // Label files without names, of which one does not use the last number.
        training(settings(1), "out")
                .run(
                        new Renamed(TRAIN, List.of("0", "1", "2")),
                        new Renamed(TEST, List.of("0", "1", "2", "3")),
                        false,
                        silent());
    }

    private static List<String> withoutSeconds(List<String> log) {
        return log.stream().map(row -> row.substring(0, row.lastIndexOf(','))).toList();
    }

    @Test
    void twoReplicasTrainWhatOneWould() {
        training(settings(1, UpdateRule.ADAMW, 1), "one").run(TRAIN, TEST, false, silent());
        training(settings(1, UpdateRule.ADAMW, 2), "two").run(TRAIN, TEST, false, silent());
        training(settings(1, UpdateRule.ADAMW, 2), "again").run(TRAIN, TEST, false, silent());
        try (SafetensorsFile one = SafetensorsFile.open(folder.resolve("one/model.safetensors"));
                SafetensorsFile two = SafetensorsFile.open(folder.resolve("two/model.safetensors"))) {
            for (String name : one.names()) {
                float[] expected = one.find(name).orElseThrow().toFloats();
                float[] found = two.find(name).orElseThrow().toFloats();
                for (int i = 0; i < expected.length; i++) {
                    // Sums in another order, magnified by 12 steps of Adam.
                    assertThat(Math.abs(found[i] - expected[i])).as(name).isLessThan(2e-3f);
                }
            }
        }
        assertThat(folder.resolve("again/model.safetensors"))
                .hasSameBinaryContentAs(folder.resolve("two/model.safetensors"));
    }

    @Test
    void refusesToResumeAnotherTraining() {
        assertThatThrownBy(() -> training(settings(3), "out").run(TRAIN, TEST, false, stopAfter(1)))
                .isInstanceOf(Stopped.class);
        VitConfig deeper = new VitConfig(8, 4, 1, 16, 3, 2, 32, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        assertThatThrownBy(() -> training(deeper, settings(3), "out").run(TRAIN, TEST, true, silent()))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("checkpoint.safetensors: comes from another model")
                .hasMessageContaining("depth=3");
        assertThatThrownBy(() -> training(settings(3), "out").run(new SyntheticImages(200, 5), TEST, true, silent()))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("comes from another data");
        assertThatThrownBy(() -> training(settings(3, UpdateRule.MUON, false, 0, 8, Precision.FP32, 1), "out")
                        .run(TRAIN, TEST, true, silent()))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("comes from another settings")
                .hasMessageContaining("seed=8");
        // Another number of threads is no other training.
        training(settings(3, UpdateRule.MUON, 2), "out").run(TRAIN, TEST, true, silent());
    }

    @Test
    void refusesAFolderInUseAndAFolderWithoutCheckpoint() {
        training(settings(1), "out").run(TRAIN, TEST, false, silent());
        assertThatThrownBy(() -> training(settings(1), "out").run(TRAIN, TEST, false, silent()))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("is there from an earlier training; resume it");
        assertThatThrownBy(() -> training(settings(1), "none").run(TRAIN, TEST, true, silent()))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("checkpoint.safetensors: does not exist");
    }

    @Test
    void stopsWhenTheLossIsNoNumber() {
        TrainingSettings wild = SmallTraining.settings(
                Recipe.FLOAT,
                3,
                new TrainingSettings.Steps(16, 1, 10, 10, 0, Double.POSITIVE_INFINITY, 0, UpdateRule.ADAMW),
                false,
                0,
                7,
                Precision.FP32,
                1);
        // A weight decay of 100 per step throws the weights to infinity.
        assertThatThrownBy(() -> training(wild, "out").run(TRAIN, TEST, false, silent()))
                .isInstanceOf(BadInputException.class)
                .hasMessageMatching(
                        "training diverged at epoch \\d, step \\d+, first in .* \\(.*\\); lower the learning rate; .*"
                                + "(checkpoint.*after epoch \\d|no checkpoint yet)");
    }

    /** The layer whose weights were thrown there by hand, and not one behind it. */
    @Test
    void namesTheLayerThatGaveNoNumber() {
        ImageSet images = ImageSet.of(TRAIN, CONFIG, PREPROCESSING);
        try (TrainableModel model = TrainableModel.of(CONFIG, Arithmetic.FLOAT, 1);
                Replicas replicas = new Replicas(model, Optional.empty(), PREPROCESSING, 16, settings(1))) {
            Draw draw = new Draw(Augmentation.order(images.size(), 1, 0), 0, 16, 0, 1);
            Replicas.Outcome good = replicas.gradient(images, draw, Precision.FP32);
            assertThat(good.loss()).isFinite();
            assertThat(replicas.nonFinite()).isEmpty();
            Torch.floats(model.parameters().get("blocks.1.mlp.fc1.weight")).put(3, Float.POSITIVE_INFINITY);
            assertThat(replicas.gradient(images, draw, Precision.FP32).loss()).isNaN();
            assertThat(replicas.nonFinite()).contains("the weights of blocks.1.mlp.fc1");
        }
    }

    /** Parts of a batch give the gradient of the batch. */
    @Test
    void accumulatesAGradient() {
        ImageSet images = ImageSet.of(TRAIN, CONFIG, PREPROCESSING);
        Draw draw = new Draw(Augmentation.order(images.size(), 1, 0), 0, 16, 0, 1);
        float[][] gradients = new float[2][];
        for (int parts = 1; parts <= 2; parts++) {
            TrainingSettings settings = SmallTraining.settings(
                    Recipe.FLOAT,
                    1,
                    new TrainingSettings.Steps(16, 5 * parts - 4, 3e-3, 0.05, 1, 1, 0.9, UpdateRule.ADAMW),
                    true,
                    0.3,
                    7,
                    Precision.FP32,
                    1);
            try (TrainableModel model = TrainableModel.of(CONFIG, Arithmetic.FLOAT, 1);
                    Replicas replicas = new Replicas(model, Optional.empty(), PREPROCESSING, 16, settings)) {
                ModelProbe.disturb(model, new java.util.Random(3));
                assertThat(replicas.gradient(images, draw, Precision.FP32).loss())
                        .isPositive();
                gradients[parts - 1] = new float[model.parameters().layout().total()];
                Torch.floats(model.parameters().gradients()).get(gradients[parts - 1]);
            }
        }
        for (int i = 0; i < gradients[0].length; i++) {
            assertThat(gradients[1][i]).isCloseTo(gradients[0][i], org.assertj.core.api.Assertions.within(1e-4f));
        }
    }

    @Test
    void refusesImagesThatDoNotFit() {
        VitConfig two = new VitConfig(8, 4, 1, 16, 2, 2, 32, 2, Pooling.TOKEN, true, false, true, 1e-6f);
        assertThatThrownBy(() -> training(two, settings(1), "out").run(TRAIN, TEST, false, silent()))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("synthetic#2: has label 2 where the model has 2 classes");
        VitConfig large = new VitConfig(16, 4, 1, 16, 2, 2, 32, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        assertThatIllegalArgumentException().isThrownBy(() -> training(large, settings(1), "out"));
    }

    @Test
    void choosesAPrecisionAndSaysSo() {
        List<String> notes = new ArrayList<>();
        List<TrainingListener.StepReport> steps = new ArrayList<>();
        training(settings(2, Precision.AUTO), "out").run(TRAIN, TEST, false, new TrainingListener() {
            @Override
            public void note(String line) {
                notes.add(line);
            }

            @Override
            public void step(StepReport report) {
                steps.add(report);
            }
        });
        assertThat(notes)
                .singleElement()
                .asString()
                .matches("precision: (fp32|bf16) \\(a step took \\d+ ms in fp32, \\d+ ms in bf16\\)");
        assertThat(steps).hasSize(24);
        assertThat(steps.getFirst().steps()).isEqualTo(12);
        assertThat(steps.getLast().left()).isEqualTo(Duration.ZERO);
        assertThat(steps).allMatch(step -> step.imagesPerSecond() > 0 && step.accuracy() <= 1);
    }

    @Test
    void learnsInBfloat16() {
        double accuracy = training(settings(12, Precision.BF16), "out").run(TRAIN, TEST, false, silent());
        assertThat(accuracy).isGreaterThan(0.9);
    }

    /** A step's intermediates are some hundred kilobytes, so hundreds of leaking steps would show as tens of megabytes. */
    @ParameterizedTest
    @MethodSource("geometries")
    void doesNotLeakNativeMemory(Geometry geometry) {
        List<Long> used = new ArrayList<>();
        training(geometry, settings(30), "out").run(TRAIN, TEST, false, new TrainingListener() {
            @Override
            public void epoch(EpochReport report) {
                used.add(Pointer.totalBytes());
            }
        });
        assertThat(used.getLast()).isLessThanOrEqualTo(used.get(1));
    }

    @Test
    void checkpointsAreReadableByAnySafetensorsReader() {
        training(settings(1), "out").run(TRAIN, TEST, false, silent());
        try (SafetensorsFile file = SafetensorsFile.open(folder.resolve("out/checkpoint.safetensors"))) {
            assertThat(file.names())
                    .containsExactlyInAnyOrder(
                            "parameters", "average", "adamw.mean", "adamw.variance", "muon.momentum");
            Tensor parameters = file.find("parameters").orElseThrow();
            assertThat(parameters.elements())
                    .isEqualTo(ParameterLayout.of(CONFIG).total());
            assertThat(file.metadata()).containsEntry("epochs", "1").containsEntry("precision", "FP32");
        }
    }
}
