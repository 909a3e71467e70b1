package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.BadInputException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MeanErrorTest {
    @Test
    void meanOfThreeImages() {
        MeanError error = new MeanError(2);
        error.add(new double[] {1, -0.5});
        error.add(new double[] {2, -0.25});
        error.add(new double[] {6, 0});
        assertThat(error.mean()).containsExactly(3, -0.25);
        assertThat(new MeanError(2).mean()).containsExactly(0, 0);
    }

    /** Rows of differences (1, -2) and (0, 4). */
    @Test
    void imageOfTwoRows() {
        MeanError error = new MeanError(2);
        error.add(MemorySegment.ofArray(new float[] {5, 7, 1, 1}), MemorySegment.ofArray(new float[] {6, 5, 1, 5}), 2);
        assertThat(error.mean()).containsExactly(0.5, 1);
    }

    private static List<double[]> images(int count, int channels, double size) {
        Random random = new Random(4);
        List<double[]> images = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            double[] errors = new double[channels];
            for (int c = 0; c < channels; c++) {
                errors[c] = size * random.nextGaussian();
            }
            images.add(errors);
        }
        return images;
    }

    /** Sums of doubles would differ in their last bits. */
    @ParameterizedTest
    @ValueSource(doubles = {1e-6, 1, 1e9})
    void anyOrderAndAnyThreadsGiveTheSameBits(double size) throws Exception {
        List<double[]> images = images(200, 3, size);
        MeanError inOrder = new MeanError(3);
        images.forEach(inOrder::add);
        MeanError threaded = new MeanError(3);
        Collections.shuffle(images, new Random(9));
        try (ExecutorService workers = Executors.newFixedThreadPool(4)) {
            for (var done : workers.invokeAll(images.stream()
                    .map(image -> Executors.callable(() -> threaded.add(image)))
                    .toList())) {
                done.get();
            }
        }
        assertThat(threaded.mean()).containsExactly(inOrder.mean());
        for (int c = 0; c < 3; c++) {
            int channel = c;
            double mean = images.stream().mapToDouble(e -> e[channel]).sum() / 200;
            assertThat(inOrder.mean()[c]).isCloseTo(mean, within(0x1p-41 + size * 1e-12));
        }
    }

    @Test
    void overflowIsNamedAndLeavesTheSumsAlone() {
        MeanError error = new MeanError(2);
        error.add(new double[] {1, 2});
        for (double bad : new double[] {Double.NaN, Double.NEGATIVE_INFINITY, 1e13}) {
            assertThatThrownBy(() -> error.add(new double[] {7, bad}))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining("overflow");
        }
        assertThatThrownBy(() -> error.add(new double[3])).isInstanceOf(IllegalArgumentException.class);
        assertThat(error.mean()).containsExactly(1, 2);
    }
}
