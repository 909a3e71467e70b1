package dev.trivet.train;

import dev.trivet.model.Geometry;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import java.lang.foreign.MemorySegment;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;

/**
 * Turns a model's latent weights into those that it computes with, and their gradients into those of the latent ones:
 *
 * <pre>
 *   forward:   used = scale * code(latent)
 *   backward:  dL/dlatent = dL/dused where |latent| &lt; clip, else 0      (straight through)
 * </pre>
 *
 * once a step and on the flat vector of all parameters, not in each replica and not in PyTorch's graph. Codes and scales are those that
 * the exported layer gets, because the same code makes them.
 *
 * <p>The patch embedding reads pixels as they are, {@code p = 255 (x std + mean)}, which 8 bits hold without loss, so what is quantized
 * are its weights for pixels, {@code w / (255 std)} of the channel ({@code docs/methods.md}).
 *
 * <p>For one thread.
 */
final class QuantizedWeights {
    /**
     * A quantized matrix.
     *
     * @param offset of its first value in the flat vector
     * @param input what changes the input before the weights see it; empty for nothing
     * @param values scratch, {@code [outputs, inputs]}
     */
    @SuppressWarnings("ArrayRecordComponent") // scratch, never compared
    private record Matrix(
            VitTensors.Linear layer,
            int offset,
            WeightQuantizer quantizer,
            Optional<ChannelAffine> input,
            float[] values) {
        boolean isFinite(FloatBuffer latent) {
            for (int i = offset; i < offset + values.length; i++) {
                if (!Float.isFinite(latent.get(i))) {
                    return false;
                }
            }
            return true;
        }

        WeightQuantizer.Codes quantize(FloatBuffer latent) {
            latent.get(offset, values);
            input.ifPresent(change -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] /= change.factor()[i % layer.inputs()];
                }
            });
            return quantizer.quantize(values, layer.outputs(), layer.inputs());
        }
    }

    private final List<Matrix> matrices = new ArrayList<>();

    /**
     * @param inner quantizer of every matrix between patch embedding and heads
     * @param outer quantizer of those two
     */
    QuantizedWeights(
            ParameterLayout layout,
            Geometry geometry,
            Preprocessing preprocessing,
            WeightQuantizer inner,
            WeightQuantizer outer) {
        Map<String, Integer> offsets = new HashMap<>();
        layout.slots().forEach(slot -> offsets.put(slot.name(), slot.offset()));
        Set<String> edges = new HashSet<>();
        for (ModelUnit unit : geometry.units()) {
            if (unit instanceof ModelUnit.Embedding || unit instanceof ModelUnit.Head) {
                edges.addAll(unit.linears());
            }
        }
        for (VitTensors.Linear layer : VitTensors.of(geometry).linears()) {
            Optional<ChannelAffine> input = layer.name().equals(VitNames.PATCH_EMBEDDING)
                    ? Optional.of(pixels(preprocessing, layer.inputs()))
                    : Optional.empty();
            WeightQuantizer quantizer = edges.contains(layer.name()) ? outer : inner;
            matrices.add(new Matrix(
                    layer,
                    Objects.requireNonNull(offsets.get(layer.weight()), layer.weight()),
                    quantizer,
                    input,
                    new float[layer.outputs() * layer.inputs()]));
        }
    }

    /** From normalised values back to pixels of 0 to 255. */
    private static ChannelAffine pixels(Preprocessing preprocessing, int inputs) {
        int channels = preprocessing.channels();
        float[] factor = new float[channels];
        float[] offset = new float[channels];
        for (int c = 0; c < channels; c++) {
            factor[c] = 255 * preprocessing.std().get(c);
            offset[c] = 255 * preprocessing.mean().get(c);
        }
        return new ChannelAffine(factor, offset).repeated(inputs / channels);
    }

    /**
     * Writes the weights to compute with.
     *
     * @param latent {@code [parameters]}
     * @param used {@code [parameters]}; parameters that are not quantized are copied, and so is a matrix with a value that is not
     *     finite, which codes could not show, so that the loss does
     */
    void forward(FloatBuffer latent, FloatBuffer used) {
        used.put(0, latent, 0, latent.capacity());
        for (Matrix matrix : matrices) {
            if (!matrix.isFinite(latent)) {
                continue;
            }
            WeightQuantizer.Codes quantized = matrix.quantize(latent);
            float[] values = matrix.values();
            int inputs = matrix.layer().inputs();
            for (int n = 0; n < matrix.layer().outputs(); n++) {
                float scale = quantized.scale(n);
                for (int i = n * inputs; i < (n + 1) * inputs; i++) {
                    values[i] = scale * quantized.codes()[i];
                }
            }
            matrix.input().ifPresent(change -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] *= change.factor()[i % inputs];
                }
            });
            used.put(matrix.offset(), values);
        }
    }

    /** Turns the gradient of the used weights into that of the latent ones, in place. */
    void backward(FloatBuffer latent, FloatBuffer gradients) {
        for (Matrix matrix : matrices) {
            float clip = matrix.quantizer().clip();
            int end = matrix.offset() + matrix.values().length;
            for (int i = matrix.offset(); clip < Float.POSITIVE_INFINITY && i < end; i++) {
                if (!(Math.abs(latent.get(i)) < clip)) {
                    gradients.put(i, 0);
                }
            }
        }
    }

    /**
     * The layers as the integer executor runs them.
     *
     * @param latent {@code [parameters]}
     * @param parameters all parameters by name, for the biases
     * @param inputs quantizer of each layer's input, but for the patch embedding
     */
    Map<String, LinearLayer> layers(
            FloatBuffer latent, Map<String, float[]> parameters, Map<String, ActivationQuantizer> inputs) {
        Map<String, LinearLayer> layers = new HashMap<>();
        for (Matrix matrix : matrices) {
            VitTensors.Linear layer = matrix.layer();
            WeightQuantizer.Codes quantized = matrix.quantize(latent);
            float[] bias = parameters
                    .getOrDefault(layer.biasName(), new float[layer.outputs()])
                    .clone();
            matrix.input().ifPresent(change -> foldOffset(layer.inputs(), change, quantized, bias));
            ActivationQuantizer input = matrix.input().isPresent()
                    ? new ActivationQuantizer(1, 0, 0, 255)
                    : Objects.requireNonNull(inputs.get(layer.name()), layer.name());
            layers.put(
                    layer.name(),
                    new LinearLayer.Quantized(
                            layer.name(),
                            layer.outputs(),
                            layer.inputs(),
                            matrix.quantizer().coding(),
                            MemorySegment.ofArray(quantized.codes()),
                            quantized.scales(),
                            bias,
                            input,
                            matrix.input()));
        }
        return layers;
    }

    /** The weights for {@code x * factor + offset} add {@code weight * offset} that those for {@code x} do not. */
    private static void foldOffset(int inputs, ChannelAffine change, WeightQuantizer.Codes quantized, float[] bias) {
        for (int n = 0; n < bias.length; n++) {
            double added = 0;
            for (int k = 0; k < inputs; k++) {
                added += (double) quantized.codes()[n * inputs + k] * change.offset()[k];
            }
            bias[n] = (float) (bias[n] - added * quantized.scale(n));
        }
    }
}
