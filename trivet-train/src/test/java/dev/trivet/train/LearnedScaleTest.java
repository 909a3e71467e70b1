package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.cross_entropy;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.model.Interpolation;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.train.TrainingSettings.Quantization.LearnedScales;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class LearnedScaleTest {
    /** Width 4, one block. */
    private static final VitConfig MODEL =
            new VitConfig(2, 1, 1, 4, 1, 1, 4, 2, Pooling.TOKEN, true, false, true, 1e-6f);

    private static final ActivationQuantizer HALVES = new ActivationQuantizer(0.5f, 0, -128, 127);

    private static Tensor tensor(float... values) {
        Tensor tensor = zeros(values.length);
        Torch.floats(tensor).put(values);
        return tensor;
    }

    /** LSQ's rule, times s = 0.5: codes less x / s inside, (0 - 0.2) 2 + (1 - 0.8) 3; the bounds outside, 127 * 5 - 128 * 7. */
    @Test
    void slopeIsThatOfLsq() {
        try (PointerScope _ = new PointerScope()) {
            Tensor x = tensor(0.1f, 0.4f, 100, -70);
            Tensor y = FakeQuantization.round(x, HALVES);
            double slope = LearnedScale.slope(x, y, tensor(2, 3, 5, 7), HALVES);
            assertThat(slope).isCloseTo(0.5 * (-0.4 + 0.6 + 635 - 896), within(1e-4));
            // g = 1 / sqrt(N Qp)
            assertThat(LearnedScale.balanced(slope, 4, 127)).isCloseTo(slope / Math.sqrt(4 * 127), within(1e-9));
        }
    }

    /**
     * Clipped values are differentiable in the scale: the finite difference. Values inside are steps of it: the finite difference while codes stand, less what
     * passes straight through, {@code dL/dy x}.
     */
    @Test
    void slopeIsTheFiniteDifferenceWhereThereIsOne() {
        try (PointerScope _ = new PointerScope()) {
            Tensor clipped = tensor(64, 100, -65, -90);
            assertSlope(clipped, 0);
            Tensor inside = tensor(0.11f, 3.6f, -7.1f, 60.05f);
            assertSlope(inside, 1);
        }
    }

    private static void assertSlope(Tensor x, double straight) {
        Tensor gradient = tensor(2, -3, 5, 7);
        double step = 1e-4;
        double above = FakeQuantization.round(x, LearnedScale.apply(HALVES, (float) step))
                .mul(gradient)
                .sum()
                .item_double();
        double below = FakeQuantization.round(x, LearnedScale.apply(HALVES, (float) -step))
                .mul(gradient)
                .sum()
                .item_double();
        double passed = straight * x.mul(gradient).sum().item_double();
        double slope = LearnedScale.slope(x, FakeQuantization.round(x, HALVES), gradient, HALVES);
        assertThat(slope).isCloseTo((above - below) / (2 * step) - passed, within(0.5));
    }

    /** Row 1 of 1, -0.5, 0.375, -0.125 has the scale 0.625, which a factor of 2 makes 1.25; the slope is 1.25 (1 - 2 + 3), g is 1 / sqrt(4). */
    @Test
    void ternaryRowsHaveAFactorEach() {
        try (ActivationRanges ranges = new ActivationRanges(MODEL)) {
            ParameterLayout layout = LearnedScale.with(ParameterLayout.of(MODEL), MODEL, ranges, LearnedScales.WEIGHTS);
            Preprocessing preprocessing = new Preprocessing(2, 2, Interpolation.BICUBIC, List.of(0.5f), List.of(0.2f));
            QuantizedWeights weights = new QuantizedWeights(
                    layout,
                    MODEL,
                    preprocessing,
                    new WeightQuantizer.Ternary(true, TernaryWeights.Scale.SURVIVORS, 2.5f),
                    new WeightQuantizer.EightBit());
            String name = "blocks.0.attn.proj.weight";
            int matrix = layout.find(name).orElseThrow().offset();
            int factors = layout.find(name + ".log_scale").orElseThrow().offset();
            FloatBuffer latent = FloatBuffer.allocate(layout.total());
            FloatBuffer used = FloatBuffer.allocate(layout.total());
            FloatBuffer gradients = FloatBuffer.allocate(layout.total());
            latent.put(matrix, new float[] {1, -0.5f, 0.375f, -0.125f, 1, -0.5f, 0.375f, -0.125f});
            latent.put(factors, (float) Math.log(2));
            weights.forward(latent, used);
            float[] rows = new float[8];
            used.get(matrix, rows);
            assertThat(rows).containsExactly(1.25f, -1.25f, 1.25f, 0, 0.625f, -0.625f, 0.625f, 0);
            gradients.put(matrix, new float[] {1, 2, 3, 4, 0, 0, 8, 0});
            weights.backward(latent, used, gradients);
            assertThat(gradients.get(factors)).isCloseTo(1.25f, within(1e-6f));
            assertThat(gradients.get(factors + 1)).isCloseTo(2.5f, within(1e-6f));
            // The latent weights' own gradient is straight through, as without.
            assertThat(gradients.get(matrix + 3)).isEqualTo(4);
        }
    }

    /** However a batch is shared out, the gradient is that of the whole, and there is one for every operand. */
    @Test
    void replicasAddUpToTheBatch() {
        float[] whole = gradient(List.of(6));
        float[] shared = gradient(List.of(2, 4));
        assertThat(whole).doesNotContain(0f);
        for (int i = 0; i < whole.length; i++) {
            assertThat(shared[i]).isCloseTo(whole[i], within(1e-4f * Math.max(1, Math.abs(whole[i]))));
        }
    }

    private static float[] gradient(List<Integer> shares) {
        VitConfig config = new VitConfig(8, 4, 1, 8, 1, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        Preprocessing preprocessing = new Preprocessing(8, 8, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f));
        Random random = new Random(2);
        try (PointerScope _ = new PointerScope();
                ActivationRanges ranges = new ActivationRanges(config, true);
                TrainableModel model = TrainableModel.quantized(
                        config,
                        preprocessing,
                        new WeightQuantizer.Ternary(true, TernaryWeights.Scale.SURVIVORS, 2.5f),
                        new WeightQuantizer.EightBit(),
                        ranges,
                        LearnedScales.ACTIVATIONS,
                        false,
                        5)) {
            ModelProbe.disturb(model, random);
            model.refresh();
            Tensor images = ModelProbe.patches(
                    ModelProbe.noise(6 * PatchGrid.of(config).imageLength(), random), PatchGrid.of(config));
            Tensor labels = Torch.longs(new int[] {0, 1, 2, 2, 1, 0});
            Tensor ignored = model.forward(images, Optional.empty());
            ranges.update(0);
            model.refresh();
            int from = 0;
            for (int share : shares) {
                TrainableModel replica = from == 0 ? model : model.replica();
                Tensor logits = replica.forward(images.narrow(0, from, share), Optional.empty());
                cross_entropy(logits, labels.narrow(0, from, share))
                        .mul(new Scalar(share / 6.0))
                        .backward();
                replica.arithmetic().passBack();
                from += share;
            }
            model.passBack();
            ParameterLayout.Slot slot =
                    LearnedScale.ofActivations(model.parameters().layout()).orElseThrow();
            float[] gradient = new float[slot.size()];
            Torch.floats(model.parameters().gradients()).get(slot.offset(), gradient);
            return gradient;
        }
    }
}
