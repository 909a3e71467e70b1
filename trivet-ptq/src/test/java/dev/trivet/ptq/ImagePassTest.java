package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The limit only ends a hang; nothing is timed. */
@Timeout(120)
class ImagePassTest {
    private static final int IMAGES = 40;

    /** Counts what is open. */
    private static final class Worker implements AutoCloseable {
        private final AtomicInteger open;
        double value;

        Worker(AtomicInteger open) {
            this.open = open;
            open.incrementAndGet();
        }

        @Override
        public void close() {
            open.decrementAndGet();
        }
    }

    /** A different amount of work for each image, so that threads overtake each other. */
    private static double work(int image) {
        double value = image;
        for (int i = 0; i < (image * 7919) % 20_000; i++) {
            value = Math.sin(value) + image;
        }
        return value;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 5, 64})
    void imagesAreMergedInOrder(int threads) {
        List<Integer> merged = new ArrayList<>();
        AtomicInteger open = new AtomicInteger();
        AtomicInteger told = new AtomicInteger();
        double[] sum = new double[1];
        double expected = 0;
        for (int i = 0; i < IMAGES; i++) {
            expected += work(i);
        }
        try (ImagePass pass = new ImagePass(IMAGES, threads, told::incrementAndGet)) {
            pass.run(() -> new Worker(open), new ImagePass.Task<Worker>() {
                @Override
                public void compute(Worker worker, int image) {
                    worker.value = work(image);
                }

                @Override
                public void merge(Worker worker, int image) {
                    merged.add(image);
                    sum[0] += worker.value;
                }
            });
        }
        assertThat(merged)
                .containsExactlyElementsOf(IntStream.range(0, IMAGES).boxed().toList());
        assertThat(sum[0]).as("the same order of additions").isEqualTo(expected);
        assertThat(told).hasValue(IMAGES);
        assertThat(open).hasValue(0);
    }

    @Test
    void nothingToDo() {
        AtomicInteger open = new AtomicInteger();
        try (ImagePass pass = new ImagePass(0, 3, () -> {})) {
            pass.run(() -> new Worker(open), (worker, image) -> {
                throw new AssertionError("there is no image");
            });
        }
        assertThat(open).hasValue(0);
    }

    /** Whichever image fails, in computing or merging, the pass ends with just that, and can be used again. */
    @ParameterizedTest
    @CsvSource({"1, 0, false", "3, 0, false", "3, 17, false", "3, 39, false", "1, 5, true", "4, 0, true", "4, 22, true"
    })
    void aFailureEndsThePass(int threads, int failing, boolean inMerge) {
        AtomicInteger open = new AtomicInteger();
        AtomicInteger merges = new AtomicInteger();
        BadInputException torn = new BadInputException("image " + failing + ": is torn");
        try (ImagePass pass = new ImagePass(IMAGES, threads, () -> {})) {
            assertThatThrownBy(() -> pass.run(() -> new Worker(open), new ImagePass.Task<Worker>() {
                        @Override
                        public void compute(Worker worker, int image) {
                            if (image == failing && !inMerge) {
                                throw torn;
                            }
                            worker.value = work(image);
                        }

                        @Override
                        public void merge(Worker worker, int image) {
                            if (image == failing) {
                                throw torn;
                            }
                            merges.incrementAndGet();
                        }
                    }))
                    .isSameAs(torn);
            assertThat(open).hasValue(0);
            assertThat(merges.get()).as("nothing behind it is merged").isLessThanOrEqualTo(failing);
            AtomicInteger again = new AtomicInteger();
            pass.run(() -> new Worker(open), (worker, image) -> again.incrementAndGet());
            assertThat(again).hasValue(IMAGES);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 4})
    void aWorkerThatCannotBeMadeEndsThePass(int threads) {
        AtomicInteger open = new AtomicInteger();
        AtomicInteger asked = new AtomicInteger();
        OutOfMemoryError full = new OutOfMemoryError("no room for buffers");
        try (ImagePass pass = new ImagePass(IMAGES, threads, () -> {})) {
            assertThatThrownBy(() -> pass.run(
                            () -> {
                                if (asked.incrementAndGet() == threads) {
                                    throw full;
                                }
                                return new Worker(open);
                            },
                            (worker, image) -> work(image)))
                    .isSameAs(full);
        }
        assertThat(open).hasValue(0);
    }

    @Test
    void aListenerThatFailsEndsThePass() {
        IllegalStateException bad = new IllegalStateException("the terminal is gone");
        AtomicInteger open = new AtomicInteger();
        try (ImagePass pass = new ImagePass(IMAGES, 3, () -> {
            throw bad;
        })) {
            assertThatThrownBy(() -> pass.run(() -> new Worker(open), (worker, image) -> work(image)))
                    .isSameAs(bad);
        }
        assertThat(open).hasValue(0);
    }
}
