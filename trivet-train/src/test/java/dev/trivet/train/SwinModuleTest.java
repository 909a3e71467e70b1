package dev.trivet.train;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.format.ModelFile;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.model.Interpolation;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.WindowPadding;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Against recorded outputs of timm's models, against Trivet's own executor, and against finite differences. */
@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class SwinModuleTest {
    @TempDir
    private Path folder;

    @BeforeAll
    static void load() {
        Torch.load();
    }

    @Test
    void answersAsTimmsSwin() {
        ModelProbe.compareWithGolden("swin_micro", micro(112, 32, List.of(2, 2), List.of(2, 4), 7, 10));
    }

    /** 16, 8 and 4 patches across: the last stage is one window, which is not shifted. */
    @Test
    void answersAsTimmsSwinOfThreeStages() {
        ModelProbe.compareWithGolden("swin_micro_window4", micro(64, 24, List.of(2, 2, 2), List.of(1, 2, 4), 4, 5));
    }

    private static SwinConfig micro(
            int imageSize, int width, List<Integer> depths, List<Integer> heads, int window, int classes) {
        return new SwinConfig(
                imageSize,
                4,
                3,
                width,
                depths,
                heads,
                window,
                4,
                classes,
                true,
                false,
                WindowPadding.AFTER_SHIFT,
                1e-5f);
    }

    /** Whole windows; padded windows and an odd map at the merging; positions and no bias of q, k, v; one window. */
    private static List<SwinConfig> shapes() {
        return List.of(
                ModelProbe.SMALL_SWIN,
                ModelProbe.swin(10, 1, List.of(2, 2), 3),
                new SwinConfig(
                        12, 2, 3, 8, List.of(3), List.of(4), 4, 1.5, 3, false, true, WindowPadding.AFTER_SHIFT, 1e-5f),
                ModelProbe.swin(6, 2, List.of(2), 7));
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void gradientsAgreeWithFiniteDifferences(SwinConfig config) {
        ModelProbe.compareGradients(config);
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void answersAsTheExecutorOnceWritten(SwinConfig config) {
        Random random = new Random(3);
        List<Float> perChannel = java.util.Collections.nCopies(config.channels(), 0.5f);
        Preprocessing preprocessing = new Preprocessing(
                config.imageSize(), config.imageSize(), Interpolation.BICUBIC, perChannel, perChannel);
        PatchGrid grid = PatchGrid.of(config);
        float[] images = ModelProbe.noise(2 * grid.imageLength(), random);
        try (PointerScope _ = new PointerScope();
                TrainableModel model = TrainableModel.of(config, Arithmetic.FLOAT, 0)) {
            ModelProbe.disturb(model, random);
            new TrainingOutput(folder, config, preprocessing, List.of())
                    .write(model.parameters().weights());
            FloatBuffer expected = Torch.floats(model.forward(ModelProbe.patches(images, grid), Optional.empty()));
            ModelFile file = ModelFile.read(folder, Optional.empty());
            assertThat(file.model().config().geometry()).isEqualTo(config);
            try (ModelExecutor executor = ModelExecutor.compile(
                            file.model(), KernelSelection.get().kernels(), 2);
                    ModelSession session = executor.openSession()) {
                MemorySegment input = session.allocateInput();
                MemorySegment logits = session.allocateLogits();
                MemorySegment.copy(images, 0, input, JAVA_FLOAT, 0, images.length);
                session.run(input, 2, logits);
                for (int i = 0; i < expected.capacity(); i++) {
                    assertThat(logits.getAtIndex(JAVA_FLOAT, i))
                            .isCloseTo(expected.get(i), within(1e-4f + 1e-3f * Math.abs(expected.get(i))));
                }
            }
        }
    }

    @Test
    void sendsEveryLinearLayerThroughTheArithmetic() {
        List<String> names = new ArrayList<>();
        Arithmetic recording = (name, input, weight, bias) -> {
            names.add(name);
            return Arithmetic.FLOAT.linear(name, input, weight, bias);
        };
        try (PointerScope _ = new PointerScope();
                TrainableModel model = TrainableModel.of(ModelProbe.swin(8, 2, List.of(1, 1), 2), recording, 5)) {
            model.forward(zeros(1, 16, 4), Optional.empty());
        }
        assertThat(names)
                .containsExactly(
                        "patch_embed.proj",
                        "layers.0.blocks.0.attn.qkv",
                        "layers.0.blocks.0.attn.proj",
                        "layers.0.blocks.0.mlp.fc1",
                        "layers.0.blocks.0.mlp.fc2",
                        "layers.1.downsample.reduction",
                        "layers.1.blocks.0.attn.qkv",
                        "layers.1.blocks.0.attn.proj",
                        "layers.1.blocks.0.mlp.fc1",
                        "layers.1.blocks.0.mlp.fc2",
                        "head.fc");
    }
}
