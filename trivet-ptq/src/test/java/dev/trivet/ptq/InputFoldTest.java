package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.model.Interpolation;
import dev.trivet.model.Preprocessing;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class InputFoldTest {
    /** Every pixel of every channel comes back as it was, whatever the normalization; below 8 bits the nearest level does. */
    @ParameterizedTest
    @CsvSource({"8, 1", "10, 1", "4, 17", "2, 85"})
    void pixelsAreWholeNumbers(int bits, int step) {
        Preprocessing preprocessing =
                new Preprocessing(2, 2, Interpolation.BICUBIC, Preprocessing.IMAGENET_MEAN, Preprocessing.IMAGENET_STD);
        // Three channels of a patch of 2 x 2 pixels.
        InputFold fold = InputFold.of(new InputFold.Absorber.Pixels(preprocessing), new ChannelStatistics(12), bits)
                .getLast();
        assertThat(fold.name()).isEqualTo("pixels");
        ActivationQuantizer grid = fold.grid().orElseThrow();
        for (int i = 0; i < 12; i++) {
            float mean = preprocessing.mean().get(i / 4);
            float std = preprocessing.std().get(i / 4);
            for (int p = 0; p < 256; p++) {
                float x = (p / 255f - mean) / std;
                float back = fold.fold().equalization().apply(x, i);
                assertThat(grid.quantize(back)).isEqualTo((int) Math.rint((double) p / step));
                assertThat(fold.fold().apply(x, i)).isCloseTo(p, org.assertj.core.api.Assertions.within(1e-3f));
            }
        }
        assertThat(List.of(grid.zeroPoint(), grid.lowest())).containsOnly(0);
    }

    /** Of two channels, one ten times as wide: a fold levels them, but not on the word of a few rows. */
    @Test
    void fewRowsLevelNoChannels() {
        ChannelStatistics statistics = new ChannelStatistics(2);
        InputFold.Absorber norm = new InputFold.Absorber.Norm("norm", true);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment row = arena.allocate(8, 64);
            for (int r = 0; r < InputFold.LEAST_ROWS; r++) {
                assertThat(InputFold.of(norm, statistics, 8)).hasSize(1);
                row.setAtIndex(JAVA_FLOAT, 0, r % 2 == 0 ? 1 : -1);
                row.setAtIndex(JAVA_FLOAT, 1, r % 2 == 0 ? 10 : -10);
                statistics.add(row, 1);
            }
        }
        List<InputFold> folds = InputFold.of(norm, statistics, 8);
        assertThat(folds).hasSize(3);
        float[] scale = folds.getLast().fold().scale();
        assertThat(scale[1] / scale[0]).isCloseTo(10f, within(1e-4f));
    }
}
