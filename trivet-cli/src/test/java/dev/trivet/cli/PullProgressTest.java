package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class PullProgressTest {
    private final StringWriter text = new StringWriter();
    private final AtomicLong now = new AtomicLong(5);

    private PullProgress progress() {
        PrintWriter err = new PrintWriter(text);
        return new PullProgress(err, new Progress(err, false, now::get), now::get);
    }

    /** 60 MB in 15 s are 4 MB/s, so 40 MB take 10 s. What was there before took no time. */
    @Test
    void tellsBytesSpeedAndTimeLeftWithoutWhatWasThereBefore() {
        try (PullProgress progress = progress()) {
            progress.progress("model.safetensors", 100_000_000, 200_000_000);
            now.addAndGet(15_000_000_000L);
            progress.progress("model.safetensors", 160_000_000, 200_000_000);
        }
        assertThat(text.toString().lines())
                .containsExactly("model.safetensors at 4.0 MB/s, bytes: 160000000 of 200000000 (80 %), 10 s left");
    }

    @Test
    void measuresEachFileByItself() {
        try (PullProgress progress = progress()) {
            progress.progress("config.json", 0, 1000);
            progress.progress("config.json", 1000, 1000);
            now.addAndGet(20_000_000_000L); // the next file's headers
            progress.progress("model.safetensors", 0, 30_000_000);
            now.addAndGet(10_000_000_000L);
            progress.progress("model.safetensors", 10_000_000, 30_000_000);
        }
        assertThat(text.toString().lines())
                .containsExactly("model.safetensors at 1.0 MB/s, bytes: 10000000 of 30000000 (33 %), 20 s left");
    }

    @Test
    void saysNotesInOneHarmlessLine() {
        try (PullProgress progress = progress()) {
            progress.note("fetching\n\u001b[2Ja model");
        }
        assertThat(text.toString().lines()).containsExactly("fetching [2Ja model");
    }
}
