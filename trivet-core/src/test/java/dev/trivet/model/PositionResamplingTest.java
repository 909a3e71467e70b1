package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.FloatRange;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class PositionResamplingTest {
    /** By hand: reducing two to one averages with the weights of the two positions, which lie alike. */
    @Test
    void fourPositionsToOneIsTheirMean() {
        assertThat(PositionResampling.resample(new float[] {1, 2, 3, 10}, 2, 1, 1))
                .containsExactly(4f);
    }

    /**
     * PyTorch 2.13: {@code interpolate(torch.arange(9.).pow(2).view(1, 1, 3, 3), size=(2, 2), mode="bicubic", antialias=True)}, and
     * {@code size=(4, 4)}, first row.
     */
    @Test
    void givesPyTorchsValues() {
        float[] squares = {0, 1, 4, 9, 16, 25, 36, 49, 64};
        assertThat(PositionResampling.resample(squares, 3, 2, 1)).containsExactly(REDUCED, within(1e-4f));
        float[] enlarged = PositionResampling.resample(squares, 3, 4, 1);
        assertThat(java.util.Arrays.copyOf(enlarged, 4)).containsExactly(ENLARGED_ROW, within(1e-4f));
    }

    private static final float[] REDUCED = {2.871166f, 8.197848f, 30.284525f, 47.044525f};
    private static final float[] ENLARGED_ROW = {-0.506015f, -0.228327f, 1.267337f, 3.043328f};

    @Property(tries = 50)
    void aConstantStaysConstant(
            @ForAll @IntRange(min = 1, max = 9) int from,
            @ForAll @IntRange(min = 1, max = 9) int to,
            @ForAll @FloatRange(min = -4, max = 4) float value) {
        float[] positions = new float[from * from * 2];
        java.util.Arrays.fill(positions, value);
        float[] resampled = PositionResampling.resample(positions, from, to, 2);
        assertThat(resampled).hasSize(to * to * 2);
        for (float v : resampled) {
            assertThat(v).isCloseTo(value, within(1e-5f));
        }
    }

    @Property(tries = 20)
    void channelsDoNotMix(@ForAll @IntRange(min = 1, max = 6) int from, @ForAll @IntRange(min = 1, max = 6) int to) {
        float[] one = new float[from * from];
        float[] two = new float[from * from * 2];
        for (int i = 0; i < one.length; i++) {
            one[i] = (i * 7) % 5;
            two[2 * i + 1] = one[i];
        }
        float[] a = PositionResampling.resample(one, from, to, 1);
        float[] b = PositionResampling.resample(two, from, to, 2);
        for (int i = 0; i < a.length; i++) {
            assertThat(b[2 * i]).isZero();
            assertThat(b[2 * i + 1]).isEqualTo(a[i]);
        }
    }
}
