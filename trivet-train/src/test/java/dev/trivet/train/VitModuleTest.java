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
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
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
        compare("vit_micro", new VitConfig(64, 16, 3, 64, 3, 4, 256, 10, Pooling.TOKEN, true, false, true, 1e-6f));
    }

    @Test
    void answersAsTimmsVitWithAveragePooling() {
        compare("vit_gap_micro", new VitConfig(48, 8, 3, 32, 2, 2, 128, 7, Pooling.AVERAGE, false, false, true, 1e-6f));
    }

    @Test
    void answersAsTimmsDistilledDeit() {
        compare(
                "deit_distilled_micro",
                new VitConfig(64, 16, 3, 48, 2, 3, 192, 10, Pooling.TOKEN, true, true, true, 1e-6f));
    }

    private static void compare(String name, VitConfig config) {
        try (PointerScope _ = new PointerScope();
                SafetensorsFile golden = SafetensorsFile.open(golden(name, "golden"));
                SafetensorsFile model = SafetensorsFile.open(golden(name, "model"));
                VitModule module = new VitModule(config, VitModule.Projection.PLAIN, 0)) {
            module.load(model);
            FloatBuffer logits = VitModule.floats(
                    module.forward(patches(golden.find("input").orElseThrow().toFloats(), config)));
            float[] expected = golden.find("output").orElseThrow().toFloats();
            assertThat(logits.capacity()).isEqualTo(expected.length);
            for (int i = 0; i < expected.length; i++) {
                assertThat(logits.get(i)).isCloseTo(expected[i], within(1e-5f + 1e-4f * Math.abs(expected[i])));
            }
            assertThat(module.weights().stream()
                            .map(dev.trivet.tensor.Tensor::name)
                            .toList())
                    .containsExactlyInAnyOrderElementsOf(model.names());
        }
    }

    private static Path golden(String folder, String name) {
        return Path.of(System.getProperty("trivet.goldens"), folder, name + ".safetensors");
    }

    /** {@code [batch, channels, side, side]} to {@code [batch, patches, patchLength]}. */
    private static Tensor patches(float[] images, VitConfig config) {
        int side = config.imageSize();
        int patch = config.patchSize();
        int channels = config.channels();
        int batch = images.length / (channels * side * side);
        float[] out = new float[images.length];
        for (int b = 0; b < batch; b++) {
            for (int c = 0; c < channels; c++) {
                for (int y = 0; y < side; y++) {
                    for (int x = 0; x < side; x++) {
                        int token = b * config.patches() + y / patch * config.grid() + x / patch;
                        int within = (c * patch + y % patch) * patch + x % patch;
                        out[token * config.patchLength() + within] = images[((b * channels + c) * side + y) * side + x];
                    }
                }
            }
        }
        Tensor tensor = zeros(batch, config.patches(), config.patchLength());
        VitModule.floats(tensor).put(out);
        return tensor;
    }

    @Test
    void gradientsAgreeWithFiniteDifferences() {
        for (VitConfig config : List.of(
                TINY,
                new VitConfig(8, 4, 1, 8, 2, 2, 16, 3, Pooling.AVERAGE, true, false, false, 1e-6f),
                new VitConfig(8, 4, 3, 8, 1, 1, 12, 3, Pooling.TOKEN, true, true, true, 1e-6f))) {
            try (PointerScope _ = new PointerScope();
                    VitModule module = new VitModule(config, VitModule.Projection.PLAIN, 5)) {
                Random random = new Random(1);
                FloatBuffer values = VitModule.floats(module.values());
                for (int i = 0; i < values.capacity(); i++) {
                    values.put(i, values.get(i) + 0.3f * (float) random.nextGaussian());
                }
                Tensor input = zeros(6, config.patches(), config.patchLength());
                FloatBuffer pixels = VitModule.floats(input);
                for (int i = 0; i < pixels.capacity(); i++) {
                    pixels.put(i, (float) random.nextGaussian());
                }
                Tensor labels = labels(0, 1, 2, 2, 1, 0);
                cross_entropy(module.forward(input), labels).backward();
                FloatBuffer gradients = VitModule.floats(module.gradients());
                for (ParameterLayout.Slot slot : module.layout().slots()) {
                    int i = slot.offset() + random.nextInt(slot.size());
                    float before = values.get(i);
                    values.put(i, before + 0.01f);
                    double above = cross_entropy(module.forward(input), labels).item_double();
                    values.put(i, before - 0.01f);
                    double below = cross_entropy(module.forward(input), labels).item_double();
                    values.put(i, before);
                    assertThat((double) gradients.get(i))
                            .as(slot.name())
                            .isCloseTo((above - below) / 0.02, within(3e-4));
                }
            }
        }
    }

    @Test
    void gradientsStartAnewOnceZeroed() {
        try (PointerScope _ = new PointerScope();
                VitModule module = new VitModule(TINY, VitModule.Projection.PLAIN, 5)) {
            VitModule.floats(module.values()).put(module.layout().total() - 1, 0.5f);
            Tensor input = zeros(1, TINY.patches(), TINY.patchLength());
            Tensor label = labels(1);
            cross_entropy(module.forward(input), label).backward();
            double once = module.gradients().norm().item_double();
            cross_entropy(module.forward(input), label).backward();
            assertThat(module.gradients().norm().item_double()).isCloseTo(2 * once, within(1e-5));
            module.gradients().zero_();
            cross_entropy(module.forward(input), label).backward();
            assertThat(module.gradients().norm().item_double()).isEqualTo(once);
        }
    }

    private static Tensor labels(int... values) {
        Tensor labels = zeros(values.length).to(ScalarType.Long);
        for (int i = 0; i < values.length; i++) {
            labels.data_ptr_long().put(i, values[i]);
        }
        return labels;
    }

    @Test
    void sendsEveryLinearLayerThroughTheProjection() {
        List<String> names = new ArrayList<>();
        VitModule.Projection recording = (name, input, weight, bias) -> {
            names.add(name);
            return VitModule.Projection.PLAIN.apply(name, input, weight, bias);
        };
        try (PointerScope _ = new PointerScope();
                VitModule module = new VitModule(TINY, recording, 5)) {
            module.forward(zeros(1, TINY.patches(), TINY.patchLength()));
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
        try (VitModule first = new VitModule(TINY, VitModule.Projection.PLAIN, 1);
                VitModule second = new VitModule(TINY, VitModule.Projection.PLAIN, 2)) {
            SafetensorsWriter.write(file, first.weights(), Map.of());
            assertThat(VitModule.floats(second.values())).isNotEqualTo(VitModule.floats(first.values()));
            try (SafetensorsFile source = SafetensorsFile.open(file)) {
                second.load(source);
            }
            assertThat(VitModule.floats(second.values())).isEqualTo(VitModule.floats(first.values()));
        }
    }

    @Test
    void refusesWeightsOfAnotherModel(@TempDir Path folder) {
        Path file = folder.resolve("model.safetensors");
        VitConfig wider = new VitConfig(8, 4, 1, 16, 2, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        VitConfig deeper = new VitConfig(8, 4, 1, 8, 3, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        try (VitModule module = new VitModule(TINY, VitModule.Projection.PLAIN, 1);
                VitModule wide = new VitModule(wider, VitModule.Projection.PLAIN, 1);
                VitModule deep = new VitModule(deeper, VitModule.Projection.PLAIN, 1)) {
            SafetensorsWriter.write(file, module.weights(), Map.of());
            try (SafetensorsFile source = SafetensorsFile.open(file)) {
                assertThatThrownBy(() -> wide.load(source))
                        .isInstanceOf(BadInputException.class)
                        .hasMessageContaining(file.toString())
                        .hasMessageContaining("cls_token")
                        .hasMessageContaining("[1, 1, 8]");
                assertThatThrownBy(() -> deep.load(source))
                        .isInstanceOf(BadInputException.class)
                        .hasMessageContaining("no tensor blocks.2.norm1.weight");
            }
        }
    }

    /** The class token and biases start near zero or at it; matrices at Xavier's deviation sqrt(2 / (inputs + outputs)). */
    @Test
    void startsWithTheOriginalVitsWeights() {
        VitConfig config = new VitConfig(28, 4, 1, 64, 2, 2, 256, 10, Pooling.TOKEN, true, false, true, 1e-6f);
        try (VitModule module = new VitModule(config, VitModule.Projection.PLAIN, 9)) {
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

    private static float[] weights(VitModule module, String name) {
        Optional<dev.trivet.tensor.Tensor> found =
                module.weights().stream().filter(w -> w.name().equals(name)).findFirst();
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
