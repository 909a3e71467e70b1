package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.zeros;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class AdamWTest {
    @BeforeAll
    static void load() {
        Torch.load();
    }

    /**
     * By hand, rate 0.1, decay 0.1. Parameter 0 decays, 1 does not; both start at 1.
     *
     * <pre>
     * Step 1, g = 0.5: m = 0.05, v = 0.00025; m / (1 - 0.9) = 0.5, sqrt(v / (1 - 0.999)) = 0.5, so the update is 0.1.
     *   p0 = 1 * (1 - 0.01) - 0.1 = 0.89;  p1 = 0.9
     * Step 2, g = -1: m = 0.9 * 0.05 - 0.1 = -0.055, over 1 - 0.81 = 0.19: -0.2894737
     *   v = 0.999 * 0.00025 + 0.001 = 0.00124975, over 1 - 0.998001 = 0.001999: 0.62518759, root 0.79068805
     *   update 0.1 * -0.2894737 / 0.79068805 = -0.03661036
     *   p0 = 0.89 * 0.99 + 0.03661036 = 0.91771036;  p1 = 0.93661036
     * </pre>
     */
    @Test
    void followsTwoStepsWorkedByHand() {
        try (PointerScope _ = new PointerScope();
                Tensor values = vector(1, 1);
                Tensor gradients = vector(0.5f, 0.5f);
                AdamW optimizer = new AdamW(values, gradients, new float[] {1, 0}, 0.1)) {
            optimizer.step(0.1);
            assertThat(Torch.floats(values).get(0)).isCloseTo(0.89f, within(1e-6f));
            assertThat(Torch.floats(values).get(1)).isCloseTo(0.9f, within(1e-6f));
            Torch.floats(gradients).put(new float[] {-1, -1});
            optimizer.step(0.1);
            assertThat(Torch.floats(values).get(0)).isCloseTo(0.9177104f, within(1e-6f));
            assertThat(Torch.floats(values).get(1)).isCloseTo(0.9366104f, within(1e-6f));
            assertThat(optimizer.steps()).isEqualTo(2);
        }
    }

    /** Adam's step does not depend on the gradient's scale, only on its sign, when the gradient stays the same. */
    @Test
    void movesByTheRateHoweverLargeTheGradient() {
        try (PointerScope _ = new PointerScope();
                Tensor values = vector(0, 0, 0);
                Tensor gradients = vector(1e-3f, 1, -1000);
                AdamW optimizer = new AdamW(values, gradients, new float[] {1, 1, 1}, 0)) {
            for (int step = 0; step < 10; step++) {
                optimizer.step(0.01);
            }
            assertThat(Torch.floats(values).get(0)).isCloseTo(-0.1f, within(1e-5f));
            assertThat(Torch.floats(values).get(1)).isCloseTo(-0.1f, within(1e-5f));
            assertThat(Torch.floats(values).get(2)).isCloseTo(0.1f, within(1e-5f));
        }
    }

    private static Tensor vector(float... values) {
        Tensor tensor = zeros(values.length);
        Torch.floats(tensor).put(values);
        return tensor;
    }
}
