package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.model.Interpolation;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import java.nio.FloatBuffer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class QuantizedWeightsTest {
    /** Width 4, one block, patches of one pixel of three colours. */
    private static final VitConfig MODEL =
            new VitConfig(2, 1, 3, 4, 1, 1, 4, 2, Pooling.TOKEN, true, false, true, 1e-6f);

    private static final Preprocessing PREPROCESSING =
            new Preprocessing(2, 2, Interpolation.BICUBIC, List.of(0.5f, 0.25f, 0f), List.of(0.2f, 0.1f, 1f));
    private static final ParameterLayout LAYOUT = ParameterLayout.of(MODEL);
    private static final TernaryWeights.Scale TWN = TernaryWeights.Scale.SURVIVORS;
    private static final WeightQuantizer BY_CHANNEL = new WeightQuantizer.Ternary(true, TWN, 2.5f);

    private final FloatBuffer latent = FloatBuffer.allocate(LAYOUT.total());
    private final FloatBuffer used = FloatBuffer.allocate(LAYOUT.total());

    private static int offset(String name) {
        return LAYOUT.slots().stream()
                .filter(slot -> slot.name().equals(name))
                .findFirst()
                .orElseThrow()
                .offset();
    }

    private static QuantizedWeights weights(WeightQuantizer inner) {
        return new QuantizedWeights(LAYOUT, MODEL, PREPROCESSING, inner, new WeightQuantizer.EightBit());
    }

    private float[] forward(WeightQuantizer inner, String name, float... values) {
        latent.put(offset(name), values);
        weights(inner).forward(latent, used);
        float[] result = new float[values.length];
        used.get(offset(name), result);
        return result;
    }

    /**
     * Row 1: mean 0.5, threshold 0.35, survivors 1 and -0.5 and 0.375: scale 0.625. Row 2: mean 2, threshold 1.4, survivors 4 and -3 (mean
     * 3.5). Scales are exact in half precision.
     */
    @Test
    void ternarizesEachChannelByItself() {
        float[] rows = forward(
                BY_CHANNEL, "blocks.0.attn.proj.weight", new float[] {1, -0.5f, 0.375f, -0.125f, 4, -3, 0.5f, 0.5f});
        assertThat(rows).containsExactly(0.625f, -0.625f, 0.625f, 0, 3.5f, -3.5f, 0, 0);
    }

    /** The same and two rows of zeros: mean 10/16, threshold 0.4375, survivors 1, -0.5, 4, -3, 0.5, 0.5: scale 9.5/6. */
    @Test
    void ternarizesALayerAsAWhole() {
        WeightQuantizer byLayer = new WeightQuantizer.Ternary(false, TWN, 2.5f);
        float[] rows = forward(
                byLayer, "blocks.0.attn.proj.weight", new float[] {1, -0.5f, 0.375f, -0.125f, 4, -3, 0.5f, 0.5f});
        float scale = TernaryWeights.storedScale(9.5 / 6);
        assertThat(rows).containsExactly(scale, -scale, 0, 0, scale, -scale, scale, scale);
        assertThat((double) scale).isCloseTo(9.5 / 6, within(1e-3));
    }

    /** Codes could not show them: 8 bits would make NaN a zero. */
    @Test
    void leavesAMatrixAsItIsWhereAValueIsNotFinite() {
        for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
            for (String name : List.of("blocks.0.attn.proj.weight", "head.weight", "patch_embed.proj.weight")) {
                assertThat(forward(BY_CHANNEL, name, 1, bad, 0.3f)).containsExactly(1, bad, 0.3f);
                forward(BY_CHANNEL, name, 0, 0, 0);
            }
        }
    }

    /** Largest 1.27: steps of 0.01. */
    @Test
    void keepsEightBitsOfTheHead() {
        float[] row = forward(BY_CHANNEL, "head.weight", 1.27f, -0.304f, 0.006f, 0.0049f);
        assertThat(row[0]).isCloseTo(1.27f, within(1e-6f));
        assertThat(row[1]).isCloseTo(-0.30f, within(1e-6f));
        assertThat(row[2]).isCloseTo(0.01f, within(1e-6f));
        assertThat(row[3]).isZero();
    }

    /** Weights for pixels are w / (255 std): 0.51 / 51 = 0.01 and 0.051 / 25.5 = 0.002, so 127 steps and 25.4, which becomes 25. */
    @Test
    void quantizesThePatchEmbeddingForPixels() {
        float[] row = forward(BY_CHANNEL, "patch_embed.proj.weight", 0.51f, 0.051f, 0);
        assertThat(row[0]).isCloseTo(0.51f, within(1e-6f));
        assertThat(row[1]).isCloseTo(25f / 127 * 0.01f * 25.5f, within(1e-6f));
    }

    @Test
    void leavesEverythingElseAlone() {
        for (int i = 0; i < latent.capacity(); i++) {
            latent.put(i, i * 0.001f);
        }
        weights(BY_CHANNEL).forward(latent, used);
        for (ParameterLayout.Slot slot : LAYOUT.slots()) {
            boolean matrix = slot.name().endsWith(".weight") && !slot.name().contains("norm");
            for (int i = slot.offset(); i < slot.offset() + slot.size() && !matrix; i++) {
                assertThat(used.get(i)).as(slot.name()).isEqualTo(i * 0.001f);
            }
        }
    }

    /** The straight-through rule: the gradient as it is, and none from the clip on; 8-bit weights are never clipped. */
    @Test
    void passesGradientsOfWeightsBelowTheClip() {
        int inner = offset("blocks.0.mlp.fc1.weight");
        int head = offset("head.weight");
        latent.put(inner, new float[] {2.4f, -2.5f, 0, -3});
        latent.put(head, new float[] {9, -9});
        FloatBuffer gradients = FloatBuffer.allocate(LAYOUT.total());
        gradients.put(inner, new float[] {1, 2, 3, 4});
        gradients.put(head, new float[] {5, 6});
        gradients.put(offset("blocks.0.mlp.fc1.bias"), 7);
        weights(BY_CHANNEL).backward(latent, gradients);
        assertThat(new float[] {
                    gradients.get(inner), gradients.get(inner + 1), gradients.get(inner + 2), gradients.get(inner + 3)
                })
                .containsExactly(1, 0, 3, 0);
        assertThat(gradients.get(head)).isEqualTo(5);
        assertThat(gradients.get(head + 1)).isEqualTo(6);
        assertThat(gradients.get(offset("blocks.0.mlp.fc1.bias"))).isEqualTo(7);
    }

    /** What is exported computes what was trained: for pixel p and colours' x = (p / 255 - mean) / std. */
    @Test
    void exportsTheWeightsThatWereUsed() {
        java.util.Random random = new java.util.Random(2);
        for (int i = 0; i < latent.capacity(); i++) {
            latent.put(i, (float) random.nextGaussian());
        }
        QuantizedWeights weights = weights(BY_CHANNEL);
        weights.forward(latent, used);
        Map<String, ActivationQuantizer> inputs = new HashMap<>();
        for (String name : List.of("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")) {
            inputs.put("blocks.0." + name, new ActivationQuantizer(0.1f, 128, 0, 255));
        }
        inputs.put("head", new ActivationQuantizer(0.1f, 128, 0, 255));
        float[] bias = {1, 2, 3, 4};
        Map<String, LinearLayer> layers = weights.layers(latent, Map.of("patch_embed.proj.bias", bias), inputs);
        LinearLayer.Quantized qkv = quantized(layers, "blocks.0.attn.qkv");
        assertThat(qkv.coding()).isEqualTo(WeightCoding.TERNARY);
        assertThat(qkv.scales()).hasSize(12);
        for (int i = 0; i < 48; i++) {
            assertThat(qkv.code(i) * qkv.scale(i / 4)).isEqualTo(used.get(offset("blocks.0.attn.qkv.weight") + i));
        }
        LinearLayer.Quantized patch = quantized(layers, "patch_embed.proj");
        int embedding = offset("patch_embed.proj.weight");
        for (int n = 0; n < 4; n++) {
            double trained = bias[n]
                    + used.get(embedding + 3 * n) * (200 / 255.0 - 0.5) / 0.2
                    + used.get(embedding + 3 * n + 1) * (30 / 255.0 - 0.25) / 0.1
                    + used.get(embedding + 3 * n + 2) * 255 / 255.0;
            double executed = patch.bias()[n]
                    + patch.scale(n)
                            * (200.0 * patch.code(3L * n)
                                    + 30.0 * patch.code(3L * n + 1)
                                    + 255.0 * patch.code(3L * n + 2));
            assertThat(executed).isCloseTo(trained, within(1e-4));
        }
    }

    private static LinearLayer.Quantized quantized(Map<String, LinearLayer> layers, String name) {
        return (LinearLayer.Quantized) java.util.Objects.requireNonNull(layers.get(name));
    }
}
