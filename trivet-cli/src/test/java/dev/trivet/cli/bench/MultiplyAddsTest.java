package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.withinPercentage;

import dev.trivet.model.Pooling;
import dev.trivet.model.TimmConfig;
import dev.trivet.model.VitConfig;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MultiplyAddsTest {
    /** As published, in G: DeiT in timm's and its own tables, Swin in its paper (table 1). */
    @ParameterizedTest
    @CsvSource({
        "deit_tiny_patch16_224, 1.26",
        "deit_small_patch16_224, 4.61",
        "deit_base_patch16_224, 17.58",
        "swin_tiny_patch4_window7_224, 4.5",
        "swin_base_patch4_window7_224, 15.4"
    })
    void areThePublishedOnes(String architecture, double billions) {
        assertThat(MultiplyAdds.of(TimmConfig.preset(architecture).geometry()) / 1e9)
                .isCloseTo(billions, withinPercentage(1));
    }

    /** Four patches and a class token of width 4: for each of five tokens 48 of q, k, v, 16 of the projection and 64 of the MLP, and 4 for each pair twice. */
    @Test
    void whatTheHeadDoesNotReadIsNotNeeded() {
        VitConfig config = new VitConfig(4, 2, 1, 4, 2, 2, 8, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        assertThat(config.tokens()).isEqualTo(5);
        long block = 5 * (48 + 16 + 64) + 2 * 5 * 5 * 4;
        assertThat(MultiplyAdds.of(config)).isEqualTo(4 * 4 * 4 + 2 * block + 3 * 4);
        assertThat(MultiplyAdds.needed(config)).isEqualTo(MultiplyAdds.of(config) - 4 * (16 + 64) - 2 * 4 * 5 * 4);
        VitConfig average = new VitConfig(4, 2, 1, 4, 2, 2, 8, 3, Pooling.AVERAGE, true, false, true, 1e-6f);
        assertThat(MultiplyAdds.needed(average)).isEqualTo(MultiplyAdds.of(average));
    }
}
