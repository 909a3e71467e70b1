package dev.trivet.train;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ChannelAffine;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * Latent weights that ternary training may begin with in place of the float model's: those of a ternary file, so that the first step computes what
 * the file computes. A code t with the scale s of its row becomes the latent weight
 *
 * <pre>w = s t</pre>
 *
 * Of such a row TWN's threshold is {@code 0.7 mean|w| = 0.7 s d} with d the share of codes that are not zero, which lies between 0 and s, and its scale,
 * the mean of the survivors, is s again: ternarizing gives the file's codes and scales back, bit for bit. The absolute mean would give {@code s d}.
 *
 * <p>What post-training quantization changed besides codes (rotated stream, head bases, folded LayerNorms, corrected biases) is in the file's LayerNorms, tokens and
 * biases, which are float and taken as they are. So the model that is trained is the rewritten one, and only its logits can be compared with the float model's. Layers of more bits
 * are rounded to 8 bits again. Ranges of activations are watched anew, since training has grids of its own ({@link ActivationRanges}) and attention weights in place of softmax's numerators.
 *
 * <p>[B] starts ternary training from an 8-bit model; this is ours.
 */
final class QuantizedStart {
    private QuantizedStart() {}

    /**
     * The file's model with float weights.
     *
     * @param quantized a model of ternary weights
     * @param settings of the training that is to begin with it
     * @throws IllegalArgumentException if that training would not give back its codes and scales, or lacks a place for a bias; the message says why
     */
    static VitModel of(VitModel quantized, TrainingSettings settings) {
        TrainingSettings.Quantization asked = settings.quantization();
        if (settings.recipe() != Recipe.TERNARY) {
            throw new IllegalArgumentException("only recipe ternary starts from a ternary file");
        }
        if (asked.scale() != dev.trivet.quant.TernaryWeights.Scale.SURVIVORS) {
            throw new IllegalArgumentException("the scales of a ternary file are not those of absmean");
        }
        if (settings.distillation().features() > 0) {
            throw new IllegalArgumentException(
                    "a ternary file's blocks may give rotated vectors, which --distill-features cannot compare");
        }
        Set<String> edges = new HashSet<>();
        for (ModelUnit unit : quantized.geometry().units()) {
            if (!asked.edges() && (unit instanceof ModelUnit.Embedding || unit instanceof ModelUnit.Head)) {
                edges.addAll(unit.linears());
            }
        }
        Map<String, LinearLayer> linears = new HashMap<>();
        for (VitTensors.Linear spec : VitTensors.of(quantized.geometry()).linears()) {
            LinearLayer layer = quantized.linear(spec.name());
            if (!edges.contains(spec.name())) {
                requireTernary(layer, asked.byChannel());
            }
            LinearLayer.Float32 made = floats(layer);
            if (!spec.bias() && !isZero(made.bias())) {
                throw new IllegalArgumentException(spec.name() + " has a bias, which training has no place for");
            }
            linears.put(spec.name(), made);
        }
        return new VitModel(quantized.config(), linears, Map.of(), quantized.floats());
    }

    private static void requireTernary(LinearLayer layer, boolean byChannel) {
        if (!(layer instanceof LinearLayer.Quantized q) || !q.isTernary()) {
            throw new IllegalArgumentException(layer.name() + " is not ternary");
        }
        if (q.perChannel() != byChannel) {
            throw new IllegalArgumentException(
                    layer.name() + " has " + (byChannel ? "one scale, not one per channel" : "a scale per channel"));
        }
    }

    private static LinearLayer.Float32 floats(LinearLayer layer) {
        return switch (layer) {
            case LinearLayer.Float32 already -> already;
            case LinearLayer.Quantized q -> {
                float[] weight = new float[q.outputs() * q.inputs()];
                for (int i = 0; i < weight.length; i++) {
                    weight[i] = q.code(i) * q.scale(i / q.inputs());
                }
                float[] bias = q.bias().clone();
                q.equalization().ifPresent(change -> undo(change, weight, bias));
                yield new LinearLayer.Float32(q.name(), q.outputs(), q.inputs(), weight, bias);
            }
        };
    }

    /** From weights for {@code x * factor + offset} to weights for x. */
    private static void undo(ChannelAffine change, float[] weight, float[] bias) {
        int inputs = weight.length / bias.length;
        for (int n = 0; n < bias.length; n++) {
            double added = 0;
            for (int k = 0; k < inputs; k++) {
                int at = n * inputs + k;
                added += (double) weight[at] * change.offset()[k];
                weight[at] *= change.factor()[k];
            }
            bias[n] = (float) (bias[n] + added);
        }
    }

    private static boolean isZero(float[] values) {
        for (float value : values) {
            if (value != 0) {
                return false;
            }
        }
        return true;
    }
}
