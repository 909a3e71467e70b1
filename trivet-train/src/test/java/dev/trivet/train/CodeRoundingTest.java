package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.quant.ActivationQuantizer;
import java.util.List;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class CodeRoundingTest {
    private static final List<ActivationQuantizer> QUANTIZERS = List.of(
            new ActivationQuantizer(0.0371f, 128, 0, 255),
            new ActivationQuantizer(0.0129f, 13, 0, 255),
            new ActivationQuantizer(1 / 300f, 0, 0, 255),
            new ActivationQuantizer(0.021f, 0, -128, 127));

    @BeforeAll
    static void load() {
        Torch.load();
    }

    /** Normal values, some of them far outside. */
    private static Tensor noise(int length, Random random) {
        Tensor tensor = torch.zeros(length);
        for (int i = 0; i < length; i++) {
            Torch.floats(tensor).put(i, (float) (random.nextGaussian() * (i % 7 == 0 ? 10 : 1)));
        }
        return tensor;
    }

    @Test
    void roundsAsPyTorchsOperationsDo() {
        Random random = new Random(11);
        for (ScalarType type : List.of(ScalarType.Float, ScalarType.BFloat16)) {
            for (ActivationQuantizer quantizer : QUANTIZERS) {
                for (int length : new int[] {1, 15, 16, 17, 333}) {
                    try (PointerScope _ = new PointerScope()) {
                        Tensor values = noise(length, random).to(type);
                        Tensor expected = values.clone();
                        CodeRounding.reference(expected, quantizer);
                        CodeRounding.apply(values, quantizer);
                        assertThat(values.equal(expected)).isTrue();
                    }
                }
            }
        }
    }

    @Test
    void keepsWhatLiesBesideAViewWithGaps() {
        try (PointerScope _ = new PointerScope()) {
            Tensor all = torch.ones(4, 6).mul(new org.bytedeco.pytorch.Scalar(0.3));
            CodeRounding.apply(all.narrow(1, 0, 2), new ActivationQuantizer(0.5f, 0, -128, 127));
            assertThat(all.narrow(1, 0, 2).sum().item_double()).isEqualTo(8 * 0.5);
            assertThat(all.narrow(1, 2, 4)
                            .eq(new org.bytedeco.pytorch.Scalar(0.3))
                            .sum()
                            .item_long())
                    .isEqualTo(16);
        }
    }

    @Test
    void aValueThatIsNoNumberStaysNone() {
        try (PointerScope _ = new PointerScope()) {
            for (ScalarType type : List.of(ScalarType.Float, ScalarType.BFloat16)) {
                Tensor values = torch.ones(20);
                Torch.floats(values).put(3, Float.NaN).put(18, Float.NaN);
                Tensor rounded = values.to(type);
                CodeRounding.apply(rounded, QUANTIZERS.getFirst());
                Tensor numbers = rounded.to(ScalarType.Float);
                assertThat(numbers.isnan().sum().item_long()).isEqualTo(2);
                assertThat(Torch.floats(numbers).get(3)).isNaN();
                assertThat(Torch.floats(numbers).get(18)).isNaN();
            }
        }
    }
}
