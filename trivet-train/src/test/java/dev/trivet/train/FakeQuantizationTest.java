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
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class FakeQuantizationTest {
    private static final VitConfig TINY =
            new VitConfig(8, 4, 1, 8, 1, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);

    private static Tensor tensor(float... values) {
        Tensor tensor = zeros(values.length);
        Torch.floats(tensor).put(values);
        return tensor;
    }

    private static float[] values(Tensor tensor) {
        float[] values = new float[Math.toIntExact(tensor.numel())];
        Torch.floats(tensor).get(values);
        return values;
    }

    /** As what steps see that only measure. */
    @Test
    void forgetsWhatObserversSaw() {
        String operand = "blocks.0.attn.qkv";
        try (PointerScope _ = new PointerScope();
                ActivationRanges ranges = new ActivationRanges(TINY)) {
            ActivationRanges.Observer observer = ranges.observer();
            observer.see(operand, tensor(-100, 200));
            ranges.forget();
            observer.see(operand, tensor(-1, 2));
            ranges.update(0);
            List<Float> known = new ArrayList<>();
            for (float value : values(ranges.values())) {
                if (!Float.isNaN(value)) {
                    known.add(value);
                }
            }
            assertThat(known).containsExactly(-1f, 2f);
        }
    }

    /** Steps of 0.5 from -64 to 63.5; 0.25 and 0.75 lie half way, between 0 and 1 and between 1 and 2: to the even one. */
    @Test
    void roundsToTheNearestStepAndTiesToEven() {
        ActivationQuantizer signed = new ActivationQuantizer(0.5f, 0, -128, 127);
        try (PointerScope _ = new PointerScope()) {
            Tensor rounded =
                    FakeQuantization.round(tensor(0.1f, 0.25f, 0.75f, -0.75f, 1.3f, 63.7f, 100, -64.3f), signed);
            assertThat(values(rounded)).containsExactly(0, 0, 1, -1, 1.5f, 63.5f, 63.5f, -64);
        }
    }

    @Test
    void givesWhatTheExecutorsCodesStandFor() {
        Random random = new Random(4);
        try (PointerScope _ = new PointerScope()) {
            for (ActivationQuantizer quantizer : List.of(
                    new ActivationQuantizer(0.0371f, 128, 0, 255),
                    new ActivationQuantizer(0.0129f, 13, 0, 255),
                    new ActivationQuantizer(1 / 300f, 0, 0, 255),
                    new ActivationQuantizer(0.021f, 0, -128, 127))) {
                float[] x = ModelProbe.noise(3000, random);
                float[] rounded = values(FakeQuantization.round(tensor(x), quantizer));
                for (int i = 0; i < x.length; i++) {
                    assertThat(rounded[i]).isEqualTo(quantizer.dequantize(quantizer.quantize(x[i])));
                }
            }
        }
    }

    /** The rule: 1 inside the range, 0 where values are clipped. */
    @Test
    void passesTheGradientStraightThroughWhereNothingIsClipped() {
        ActivationQuantizer quantizer = new ActivationQuantizer(0.5f, 10, 0, 255);
        try (PointerScope _ = new PointerScope()) {
            Tensor x = tensor(-5.5f, -4.9f, 0.2f, 122, 123).requires_grad_(true);
            FakeQuantization.round(x, quantizer)
                    .mul(tensor(2, 3, 5, 7, 11))
                    .sum()
                    .backward();
            assertThat(values(x.grad())).containsExactly(0, 3, 5, 7, 0);
        }
    }

    /** Ranges of one step after another, by hand. */
    @Test
    void rangesFollowTheBatchesSlowly() {
        try (PointerScope _ = new PointerScope();
                ActivationRanges ranges = new ActivationRanges(TINY)) {
            ActivationRanges.Observer one = ranges.observer();
            ActivationRanges.Observer two = ranges.observer();
            see(one, -2, 0.5f);
            see(two, -1, 1);
            ranges.update(0);
            // Least -2, largest 1 of both observers.
            assertThat(ranges.quantizer("blocks.0.attn.qkv")).contains(new ActivationQuantizer(2 / 127f, 128, 0, 255));
            assertThat(ranges.quantizer("blocks.0.attn.qk.left"))
                    .contains(new ActivationQuantizer(2 / 127f, 0, -128, 127));
            assertThat(ranges.quantizer("blocks.0.attn.av.left"))
                    .contains(new ActivationQuantizer(1 / 255f, 0, 0, 255));
            assertThat(ranges.quantizer("blocks.0.mlp.fc2")).contains(new ActivationQuantizer(3 / 255f, 170, 0, 255));
            assertThat(ranges.quantizer("patch_embed.proj")).isEmpty();
            see(one, -4, 3);
            // d = (1 + 8) / (10 + 8) = 1/2: half way to -4 and 3.
            ranges.update(8);
            assertThat(ranges.quantizer("blocks.0.attn.qkv")).contains(new ActivationQuantizer(3 / 127f, 128, 0, 255));
            assertThat(ranges.quantizer("blocks.0.attn.av.left"))
                    .contains(new ActivationQuantizer(2 / 255f, 0, 0, 255));
            assertThat(ranges.quantizer("blocks.0.mlp.fc2")).contains(new ActivationQuantizer(5 / 255f, 153, 0, 255));
        }
    }

    private static void see(ActivationRanges.Observer observer, float low, float high) {
        for (String name : List.of(
                "blocks.0.attn.qkv",
                "blocks.0.attn.qk.left",
                "blocks.0.attn.qk.right",
                "blocks.0.attn.av.left",
                "blocks.0.attn.av.right",
                "blocks.0.attn.proj",
                "blocks.0.mlp.fc1",
                "blocks.0.mlp.fc2",
                "head")) {
            observer.see(name, tensor(low, 0, high));
        }
    }

    /**
     * With weights quantized and activations not yet, the loss is differentiable in what is not quantized, and its gradient is the
     * finite difference; a latent weight gets the finite difference of the weight that is used.
     */
    @Test
    void gradientsAreThoseOfTheQuantizedModel() {
        Random random = new Random(1);
        Preprocessing preprocessing = new Preprocessing(8, 8, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f));
        ParameterLayout layout = ParameterLayout.of(TINY);
        WeightQuantizer ternary = new WeightQuantizer.Ternary(true, TernaryWeights.Scale.SURVIVORS, 2.5f);
        QuantizedWeights weights =
                new QuantizedWeights(layout, TINY, preprocessing, ternary, new WeightQuantizer.EightBit());
        try (PointerScope _ = new PointerScope();
                ActivationRanges ranges = new ActivationRanges(TINY);
                Parameters parameters = new Parameters(layout, Optional.of(weights));
                TrainableModel model = TrainableModel.of(TINY, new FakeQuantization(ranges), parameters, 5)) {
            ModelProbe.disturb(model, random);
            parameters.refresh();
            Tensor input = ModelProbe.patches(
                    ModelProbe.noise(6 * PatchGrid.of(TINY).imageLength(), random), PatchGrid.of(TINY));
            Tensor labels = Torch.longs(new int[] {0, 1, 2, 2, 1, 0});
            cross_entropy(model.forward(input, Optional.empty()), labels).backward();
            parameters.passBack();
            FloatBuffer gradients = Torch.floats(parameters.gradients());
            for (ParameterLayout.Slot slot : layout.slots()) {
                int i = random.nextInt(slot.size());
                FloatBuffer used = Torch.floats(parameters.get(slot.name()));
                float before = used.get(i);
                used.put(i, before + 0.01f);
                double above = cross_entropy(model.forward(input, Optional.empty()), labels)
                        .item_double();
                used.put(i, before - 0.01f);
                double below = cross_entropy(model.forward(input, Optional.empty()), labels)
                        .item_double();
                used.put(i, before);
                assertThat((double) gradients.get(slot.offset() + i))
                        .as(slot.name())
                        .isCloseTo((above - below) / 0.02, within(3e-4));
            }
        }
    }
}
