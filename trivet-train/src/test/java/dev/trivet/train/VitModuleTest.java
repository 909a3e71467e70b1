package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.cross_entropy;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.BadInputException;
import dev.trivet.model.Pooling;
import dev.trivet.model.VitConfig;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;

/** Against recorded outputs of timm's models, and against finite differences. */
@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class VitModuleTest {
    private static final VitConfig TINY =
            new VitConfig(8, 4, 1, 8, 2, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);

    @BeforeAll
    static void load() {
        Torch.load();
    }

    @Test
    void answersAsTimmsVit() {
        ModelProbe.compareWithGolden(
                "vit_micro", new VitConfig(64, 16, 3, 64, 3, 4, 256, 10, Pooling.TOKEN, true, false, true, 1e-6f));
    }

    @Test
    void answersAsTimmsVitWithAveragePooling() {
        ModelProbe.compareWithGolden(
                "vit_gap_micro", new VitConfig(48, 8, 3, 32, 2, 2, 128, 7, Pooling.AVERAGE, false, false, true, 1e-6f));
    }

    @Test
    void answersAsTimmsDistilledDeit() {
        ModelProbe.compareWithGolden(
                "deit_distilled_micro",
                new VitConfig(64, 16, 3, 48, 2, 3, 192, 10, Pooling.TOKEN, true, true, true, 1e-6f));
    }

    @Test
    void gradientsAgreeWithFiniteDifferences() {
        for (VitConfig config : List.of(
                TINY,
                new VitConfig(8, 4, 1, 8, 2, 2, 16, 3, Pooling.AVERAGE, true, false, false, 1e-6f),
                new VitConfig(8, 4, 3, 8, 1, 1, 12, 3, Pooling.TOKEN, true, true, true, 1e-6f))) {
            ModelProbe.compareGradients(config);
        }
    }

    @Test
    void gradientsStartAnewOnceZeroed() {
        try (PointerScope _ = new PointerScope();
                TrainableModel module = TrainableModel.of(TINY, Arithmetic.FLOAT, 5)) {
            Torch.floats(module.parameters().values())
                    .put(module.parameters().layout().total() - 1, 0.5f);
            Tensor input = zeros(1, TINY.patches(), TINY.patchLength());
            Tensor label = Torch.longs(new int[] {1});
            cross_entropy(module.forward(input, Optional.empty()), label).backward();
            double once = module.parameters().gradients().norm().item_double();
            cross_entropy(module.forward(input, Optional.empty()), label).backward();
            assertThat(module.parameters().gradients().norm().item_double()).isCloseTo(2 * once, within(1e-5));
            module.parameters().gradients().zero_();
            cross_entropy(module.forward(input, Optional.empty()), label).backward();
            assertThat(module.parameters().gradients().norm().item_double()).isEqualTo(once);
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
                TrainableModel module = TrainableModel.of(TINY, recording, 5)) {
            module.forward(zeros(1, TINY.patches(), TINY.patchLength()), Optional.empty());
        }
        assertThat(names)
                .containsExactly(
                        "patch_embed.proj",
                        "blocks.0.attn.qkv",
                        "blocks.0.attn.proj",
                        "blocks.0.mlp.fc1",
                        "blocks.0.mlp.fc2",
                        "blocks.1.attn.qkv",
                        "blocks.1.attn.proj",
                        "blocks.1.mlp.fc1",
                        "blocks.1.mlp.fc2",
                        "head");
    }

    @Test
    void takesBackTheWeightsItGave(@TempDir Path folder) {
        Path file = folder.resolve("model.safetensors");
        try (TrainableModel first = TrainableModel.of(TINY, Arithmetic.FLOAT, 1);
                TrainableModel second = TrainableModel.of(TINY, Arithmetic.FLOAT, 2)) {
            SafetensorsWriter.write(file, first.parameters().weights(), Map.of());
            assertThat(Torch.floats(second.parameters().values()))
                    .isNotEqualTo(Torch.floats(first.parameters().values()));
            try (SafetensorsFile source = SafetensorsFile.open(file)) {
                second.parameters().load(source);
            }
            assertThat(Torch.floats(second.parameters().values()))
                    .isEqualTo(Torch.floats(first.parameters().values()));
        }
    }

    @Test
    void refusesWeightsOfAnotherModel(@TempDir Path folder) {
        Path file = folder.resolve("model.safetensors");
        VitConfig wider = new VitConfig(8, 4, 1, 16, 2, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        VitConfig deeper = new VitConfig(8, 4, 1, 8, 3, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        try (TrainableModel module = TrainableModel.of(TINY, Arithmetic.FLOAT, 1);
                TrainableModel wide = TrainableModel.of(wider, Arithmetic.FLOAT, 1);
                TrainableModel deep = TrainableModel.of(deeper, Arithmetic.FLOAT, 1)) {
            SafetensorsWriter.write(file, module.parameters().weights(), Map.of());
            try (SafetensorsFile source = SafetensorsFile.open(file)) {
                assertThatThrownBy(() -> wide.parameters().load(source))
                        .isInstanceOf(BadInputException.class)
                        .hasMessageContaining(file.toString())
                        .hasMessageContaining("cls_token")
                        .hasMessageContaining("[1, 1, 8]");
                assertThatThrownBy(() -> deep.parameters().load(source))
                        .isInstanceOf(BadInputException.class)
                        .hasMessageContaining("no tensor blocks.2.norm1.weight");
            }
        }
    }

    /** The class token and biases start near zero or at it; matrices at Xavier's deviation sqrt(2 / (inputs + outputs)). */
    @Test
    void startsWithTheOriginalVitsWeights() {
        VitConfig config = new VitConfig(28, 4, 1, 64, 2, 2, 256, 10, Pooling.TOKEN, true, false, true, 1e-6f);
        try (TrainableModel module = TrainableModel.of(config, Arithmetic.FLOAT, 9)) {
            assertThat(deviation(weights(module, "blocks.1.mlp.fc1.weight")))
                    .isCloseTo(Math.sqrt(2.0 / 320), within(0.002));
            assertThat(deviation(weights(module, "blocks.0.attn.proj.weight")))
                    .isCloseTo(Math.sqrt(2.0 / 128), within(0.003));
            assertThat(deviation(weights(module, "patch_embed.proj.weight"))).isCloseTo(0.25, within(0.02));
            assertThat(weights(module, "norm.weight")).containsOnly(1);
            assertThat(weights(module, "head.weight")).containsOnly(0);
            float[] positions = weights(module, "pos_embed");
            // The class token has no place; patch (row 3, column 5) is token 1 + 3 * 7 + 5; width 64 has 16
            // frequencies.
            assertThat(java.util.Arrays.copyOf(positions, 64)).containsOnly(0);
            int token = 27 * 64;
            assertThat((double) positions[token]).isCloseTo(Math.sin(3), within(1e-6));
            assertThat((double) positions[token + 16]).isCloseTo(Math.cos(3), within(1e-6));
            assertThat((double) positions[token + 32 + 8]).isCloseTo(Math.sin(5 * 0.01), within(1e-6));
            assertThat((double) positions[token + 48 + 8]).isCloseTo(Math.cos(5 * 0.01), within(1e-6));
        }
    }

    private static float[] weights(TrainableModel module, String name) {
        Optional<dev.trivet.tensor.Tensor> found = module.parameters().weights().stream()
                .filter(w -> w.name().equals(name))
                .findFirst();
        return found.orElseThrow().toFloats();
    }

    private static double deviation(float[] values) {
        double square = 0;
        for (float value : values) {
            square += value * value;
        }
        return Math.sqrt(square / values.length);
    }
}
