package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.model.VitModel;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DatasetRunTest {
    /** Images per second are over the mean of the workers' times, so that no worker may be without a batch. */
    @ParameterizedTest
    @CsvSource({
        // images, batch, threads, workers
        "8, 4, 16, 2",
        "9, 4, 16, 3",
        "100, 4, 2, 2",
        "1, 8, 1, 1",
        "0, 8, 4, 1"
    })
    void hasNoMoreWorkersThanBatches(int images, int batch, int threads, int workers) {
        assertThat(DatasetRun.workers(images, batch, threads)).isEqualTo(workers);
    }

    @Test
    void whoIsInterruptedDoesNotWaitForAllImages() {
        PixelModel.Sample[] samples = new PixelModel.Sample[2000];
        Arrays.fill(samples, new PixelModel.Sample(0, 1, 2, 3));
        Thread caller = Thread.currentThread();
        AtomicInteger seen = new AtomicInteger();
        DatasetRun.Sink sink = new DatasetRun.Sink() {
            @Override
            public void result(int index, float[][] logits) {
                seen.incrementAndGet();
                caller.interrupt();
                LockSupport.parkNanos(1_000_000);
            }

            @Override
            public void unreadable(int index, BadInputException reason) {
                throw reason;
            }
        };
        VitModel parameters = Fixtures.load(Fixtures.golden("vit_micro"));
        try (TrivetModel model = new TrivetModel(parameters, new ReferenceKernels(), 1, 1)) {
            assertThatThrownBy(() -> DatasetRun.run(List.of(model), PixelModel.images(samples), 2, sink))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("interrupted");
        } finally {
            assertThat(Thread.interrupted()).isTrue();
        }
        assertThat(seen).hasValueLessThan(samples.length / 2);
    }
}
