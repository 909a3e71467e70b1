package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ProgressTest {
    private static final long MILLIS = 1_000_000;

    private final StringWriter text = new StringWriter();
    private final AtomicLong now = new AtomicLong(5);

    private Progress progress(boolean terminal) {
        return new Progress(new PrintWriter(text), terminal, now::get);
    }

    @ParameterizedTest
    @CsvSource({
        "0, 0 s",
        "0.4, 0 s",
        "59.4, 59 s",
        "59.6, 1 min 00 s",
        "61, 1 min 01 s",
        "3599.4, 59 min 59 s",
        "3599.6, 1 h 00 min",
        "7265, 2 h 01 min",
        "100000, 27 h 46 min"
    })
    void saysDurationsInTwoUnits(double seconds, String expected) {
        assertThat(Progress.duration(seconds)).isEqualTo(expected);
    }

    @Test
    void staysSilentForTwoSeconds() {
        try (Progress progress = progress(true)) {
            for (int i = 1; i < 20; i++) {
                now.addAndGet(100 * MILLIS);
                progress.update("evaluating", 10L * i, 1000);
            }
        }
        assertThat(text.toString()).isEmpty();
    }

    @Test
    void rewritesALineOnATerminalAndClearsIt() {
        try (Progress progress = progress(true)) {
            now.addAndGet(5_000 * MILLIS);
            progress.update("evaluating", 500, 1000);
            now.addAndGet(100 * MILLIS); // too soon
            progress.update("evaluating", 600, 1000);
            now.addAndGet(4_900 * MILLIS);
            progress.update("evaluating", 999, 1000);
            assertThat(text.toString())
                    .isEqualTo("\revaluating: 500 of 1000 (50 %), 5 s left\revaluating: 999 of 1000 (99 %), 0 s left");
        }
        assertThat(text.toString())
                .endsWith("\r" + " ".repeat("evaluating: 500 of 1000 (50 %), 5 s left".length()) + "\r");
    }

    @Test
    void coversALongerLineWithBlanks() {
        try (Progress progress = progress(true)) {
            now.addAndGet(5_000 * MILLIS);
            progress.update("searching the long way", 500, 1000);
            now.addAndGet(1_000 * MILLIS);
            progress.update("done", 600, 1000);
            String[] lines = text.toString().split("\r", -1);
            assertThat(lines[2]).hasSameSizeAs(lines[1]).startsWith("done: 600 of 1000 (60 %), 4 s left ");
        }
        assertThat(text.toString())
                .endsWith("\r" + " ".repeat("searching the long way: 500 of 1000 (50 %), 5 s left".length()) + "\r");
    }

    @Test
    void estimatesNothingFromTheFirstTenth() {
        try (Progress progress = progress(false)) {
            now.addAndGet(10_000 * MILLIS);
            progress.update("searching", 9, 100, 800);
            now.addAndGet(10_000 * MILLIS);
            progress.update("searching", 10, 100, 80);
        }
        assertThat(text.toString().lines())
                .containsExactly("searching: 9 of 100 (9 %)", "searching: 10 of 100 (10 %), 1 min 20 s left");
    }

    @Test
    void writesALineEveryTenSecondsElsewhere() {
        try (Progress progress = progress(false)) {
            for (int i = 1; i <= 50; i++) {
                now.addAndGet(500 * MILLIS);
                progress.update("evaluating", 10L * i, 1000);
            }
        }
        assertThat(text.toString().lines())
                .containsExactly(
                        "evaluating: 200 of 1000 (20 %), 40 s left", "evaluating: 400 of 1000 (40 %), 30 s left");
    }

    @Test
    void estimatesAsSoonAsThereIsSomethingToEstimateFrom() {
        try (Progress progress = progress(false)) {
            now.addAndGet(10_000 * MILLIS);
            progress.update("evaluating", 7, 16);
            assertThat(text.toString()).isEmpty();
            now.addAndGet(1_000 * MILLIS);
            progress.update("evaluating", 8, 16);
        }
        assertThat(text.toString().lines()).containsExactly("evaluating: 8 of 16 (50 %), 11 s left");
    }
}
