package dev.trivet.runtime;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.image.RgbImage;
import dev.trivet.model.Interpolation;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A model whose answer can be worked out by hand. Its images have 2 x 2 pixels and one patch; the embedding copies the first
 * six pixel values (red of all four pixels, green of the first two), the block adds nothing, and the head copies the
 * normalised six values to six classes. So classes rank as their pixel values do.
 */
final class PixelModel {
    static final int CLASSES = 6;

    private PixelModel() {}

    /**
     * @param classOf which of the six values each class takes
     * @param headBias added to the logits
     */
    static VitModel of(int[] classOf, float[] headBias) {
        VitConfig geometry =
                new VitConfig(2, 2, 3, CLASSES, 1, 1, 4, CLASSES, Pooling.AVERAGE, false, false, true, 1e-6f);
        ModelConfig config = new ModelConfig(
                "vit_tiny_patch16_224",
                geometry,
                new Preprocessing(2, 2, Interpolation.BICUBIC, List.of(0f, 0f, 0f), List.of(1f, 1f, 1f)),
                List.of());
        VitTensors tensors = VitTensors.of(geometry);
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : tensors.linears()) {
            float[] weight = new float[spec.outputs() * spec.inputs()];
            float[] bias = new float[spec.outputs()];
            for (int n = 0; n < CLASSES; n++) {
                switch (spec.name()) {
                    case VitNames.PATCH_EMBEDDING -> weight[n * spec.inputs() + n] = 1;
                    case VitNames.HEAD -> {
                        weight[n * spec.inputs() + classOf[n]] = 1;
                        bias[n] = headBias[n];
                    }
                    default -> {}
                }
            }
            linears.put(spec.name(), new LinearLayer.Float32(spec.name(), spec.outputs(), spec.inputs(), weight, bias));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        tensors.floats().forEach((name, shape) -> {
            float[] values = new float[Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact))];
            Arrays.fill(values, name.endsWith("norm.weight") ? 1 : 0);
            floats.put(name, values);
        });
        return new VitModel(config, linears, Map.of(), floats);
    }

    static RgbImage image(int... values) {
        byte[] pixels = new byte[12];
        for (int i = 0; i < values.length; i++) {
            pixels[i % 4 * 3 + i / 4] = (byte) values[i];
        }
        return new RgbImage(2, 2, pixels);
    }

    /** One labelled image; an image of no values cannot be read. */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    record Sample(int label, int... values) {}

    static LabelledImages images(Sample... samples) {
        return new LabelledImages() {
            @Override
            public int size() {
                return samples.length;
            }

            @Override
            public List<String> classNames() {
                return List.of("a", "b", "c", "d", "e", "f");
            }

            @Override
            public int label(int index) {
                return samples[index].label();
            }

            @Override
            public String name(int index) {
                return "image" + index;
            }

            @Override
            public RgbImage read(int index) {
                if (samples[index].values().length == 0) {
                    throw new BadInputException(name(index) + ": is torn; scan it again");
                }
                return image(samples[index].values());
            }
        };
    }
}
