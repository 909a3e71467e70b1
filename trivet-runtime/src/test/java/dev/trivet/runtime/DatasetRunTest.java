package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;

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
}
