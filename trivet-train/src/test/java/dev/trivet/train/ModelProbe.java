package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.cross_entropy;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.model.Geometry;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.WindowPadding;
import dev.trivet.tensor.SafetensorsFile;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** What is asked of every model that can be trained. */
final class ModelProbe {
    /** 4 x 4 patches in windows of 2, shifted in the second block, merged to one window. */
    static final SwinConfig SMALL_SWIN = swin(8, 2, List.of(2, 1), 2);

    private ModelProbe() {}

    /** Of grey images, patches of 2 pixels, width 8 and 3 classes. */
    static SwinConfig swin(int imageSize, int heads, List<Integer> depths, int window) {
        return swin(imageSize, heads, depths, window, WindowPadding.AFTER_SHIFT, 1e-5f);
    }

    static SwinConfig swin(
            int imageSize, int heads, List<Integer> depths, int window, WindowPadding padding, float epsilon) {
        return new SwinConfig(
                imageSize,
                2,
                1,
                8,
                depths,
                depths.stream().map(_ -> heads).toList(),
                window,
                2,
                3,
                true,
                false,
                padding,
                epsilon);
    }

    /** Logits as timm's model of the same weights gives them, and the same tensor names. */
    static void compareWithGolden(String name, Geometry geometry) {
        try (PointerScope _ = new PointerScope();
                SafetensorsFile golden = SafetensorsFile.open(golden(name, "golden"));
                SafetensorsFile weights = SafetensorsFile.open(golden(name, "model"));
                TrainableModel model = TrainableModel.of(geometry, Arithmetic.FLOAT, 0)) {
            model.parameters().load(weights);
            float[] input = golden.find("input").orElseThrow().toFloats();
            FloatBuffer logits = Torch.floats(model.forward(patches(input, PatchGrid.of(geometry)), Optional.empty()));
            float[] expected = golden.find("output").orElseThrow().toFloats();
            assertThat(logits.capacity()).isEqualTo(expected.length);
            for (int i = 0; i < expected.length; i++) {
                assertThat(logits.get(i)).isCloseTo(expected[i], within(1e-5f + 1e-4f * Math.abs(expected[i])));
            }
            assertThat(model.parameters().weights().stream()
                            .map(dev.trivet.tensor.Tensor::name)
                            .toList())
                    .containsExactlyInAnyOrderElementsOf(weights.names());
        }
    }

    private static Path golden(String folder, String name) {
        return Path.of(System.getProperty("trivet.goldens"), folder, name + ".safetensors");
    }

    /** {@code [batch, channels, side, side]} to {@code [batch, patches, patchLength]}. */
    static Tensor patches(float[] images, PatchGrid grid) {
        int side = grid.imageSize();
        int patch = grid.patchSize();
        int channels = grid.channels();
        int batch = images.length / grid.imageLength();
        float[] out = new float[images.length];
        for (int b = 0; b < batch; b++) {
            for (int c = 0; c < channels; c++) {
                for (int y = 0; y < side; y++) {
                    for (int x = 0; x < side; x++) {
                        int token = b * grid.patches() + y / patch * grid.side() + x / patch;
                        int within = (c * patch + y % patch) * patch + x % patch;
                        out[token * grid.patchLength() + within] = images[((b * channels + c) * side + y) * side + x];
                    }
                }
            }
        }
        Tensor tensor = zeros(batch, grid.patches(), grid.patchLength());
        Torch.floats(tensor).put(out);
        return tensor;
    }

    /** Moves the parameters away from where they start, so that none is zero. */
    static void disturb(TrainableModel model, Random random) {
        FloatBuffer values = Torch.floats(model.parameters().values());
        for (int i = 0; i < values.capacity(); i++) {
            values.put(i, values.get(i) + 0.3f * (float) random.nextGaussian());
        }
    }

    static float[] noise(int length, Random random) {
        float[] values = new float[length];
        for (int i = 0; i < length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    /** The gradient of one value of each parameter against a finite difference, with and without branches left out. */
    static void compareGradients(Geometry geometry) {
        Random random = new Random(1);
        PatchGrid grid = PatchGrid.of(geometry);
        try (PointerScope _ = new PointerScope();
                TrainableModel model = TrainableModel.of(geometry, Arithmetic.FLOAT, 5)) {
            disturb(model, random);
            Tensor input = patches(noise(6 * grid.imageLength(), random), grid);
            Tensor labels = Torch.longs(new int[] {0, 1, 2, 2, 1, 0});
            FloatBuffer values = Torch.floats(model.parameters().values());
            FloatBuffer gradients = Torch.floats(model.parameters().gradients());
            for (Optional<Tensor> kept : List.of(Optional.<Tensor>empty(), Optional.of(halfOfTheBranches(geometry)))) {
                model.parameters().gradients().zero_();
                cross_entropy(model.forward(input, kept), labels).backward();
                for (ParameterLayout.Slot slot : model.parameters().layout().slots()) {
                    int i = slot.offset() + random.nextInt(slot.size());
                    float before = values.get(i);
                    values.put(i, before + 0.01f);
                    double above =
                            cross_entropy(model.forward(input, kept), labels).item_double();
                    values.put(i, before - 0.01f);
                    double below =
                            cross_entropy(model.forward(input, kept), labels).item_double();
                    values.put(i, before);
                    assertThat((double) gradients.get(i))
                            .as(slot.name())
                            .isCloseTo((above - below) / 0.02, within(3e-4));
                }
            }
        }
    }

    private static Tensor halfOfTheBranches(Geometry geometry) {
        int blocks = Math.toIntExact(geometry.units().stream()
                .filter(dev.trivet.model.ModelUnit.Block.class::isInstance)
                .count());
        Tensor kept = zeros(blocks, 2, 6, 1, 1);
        FloatBuffer factors = Torch.floats(kept);
        for (int i = 0; i < factors.capacity(); i++) {
            factors.put(i, i % 5 % 2 == 0 ? 2 : 0);
        }
        return kept;
    }
}
