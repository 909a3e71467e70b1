package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.withinPercentage;

import dev.trivet.model.TimmConfig;
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
}
