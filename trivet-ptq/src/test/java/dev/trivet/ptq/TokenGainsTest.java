package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.VitModel;
import java.util.List;
import org.junit.jupiter.api.Test;

class TokenGainsTest {
    private static final Kernels KERNELS = new VectorKernels();

    /** Gains before and after each block of a micro model. */
    private static float[][] gains(String name, int threads) {
        VitModel model = Fixtures.micro(name);
        int depth = model.vit().depth();
        float[][] gains = new float[2 * depth][];
        TokenGains tokenGains = new TokenGains(model, threads);
        CalibrationImages images = new Fixtures.Noise(model.vit(), 10, 1);
        List<SearchUnit> units = SearchUnit.of(model.geometry());
        try (SearchState state =
                new SearchState(model, model, KERNELS, images, threads, SearchProgress.silent(model.geometry()))) {
            state.advance(units.getFirst());
            for (int b = 0; b < depth; b++) {
                gains[2 * b] = tokenGains.before(units.get(b + 1), state);
                gains[2 * b + 1] = tokenGains.after(units.get(b + 1), state);
                state.advance(units.get(b + 1));
            }
        }
        return gains;
    }

    /** After the last block a head that reads one token does not see the others. */
    @Test
    void whatIsNeverReadCountsLeast() {
        float[][] gains = gains("vit_micro", 1);
        float[] last = gains[gains.length - 1];
        assertThat(last[0]).isEqualTo(1000);
        for (int t = 1; t < last.length; t++) {
            assertThat(last[t]).isEqualTo(1);
        }
    }

    /** The mean of two heads: both tokens are read, the patches are not. */
    @Test
    void bothTokensOfADistilledModelCount() {
        float[][] gains = gains("deit_distilled_micro", 2);
        float[] last = gains[gains.length - 1];
        assertThat(new float[] {last[0], last[1], last[2]}).containsExactly(1000, 1000, 1);
    }

    @Test
    void tokensThatAreAveragedCountAlike() {
        for (float[] point : gains("vit_gap_micro", 1)) {
            assertThat(point).containsOnly(1);
        }
    }

    /** What one block gives is what the next reads, and threads do not matter. */
    @Test
    void aPointHasOneMeasurement() {
        float[][] gains = gains("vit_micro", 3);
        assertThat(gains[1]).isEqualTo(gains[2]);
        assertThat(gains).isDeepEqualTo(gains("vit_micro", 1));
    }
}
