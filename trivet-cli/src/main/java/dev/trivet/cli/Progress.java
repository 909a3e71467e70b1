package dev.trivet.cli;

import java.io.PrintWriter;
import java.util.Locale;
import java.util.function.LongSupplier;

/**
 * A status line with the time left, on standard error, for work that takes more than two seconds: rewritten in place on a
 * terminal, a new line every ten seconds elsewhere. Thread-safe.
 */
final class Progress implements AutoCloseable {
    private static final long SILENCE = 2_000_000_000L;
    private static final long ON_TERMINAL = 200_000_000L;
    private static final long ELSEWHERE = 10_000_000_000L;

    private final PrintWriter err;
    private final boolean terminal;
    private final LongSupplier nanos;
    private final long start;
    private long last;
    private int width;

    Progress(PrintWriter err) {
        this(err, onTerminal(), System::nanoTime);
    }

    /** @param nanos the clock */
    Progress(PrintWriter err, boolean terminal, LongSupplier nanos) {
        this.err = err;
        this.terminal = terminal;
        this.nanos = nanos;
        start = nanos.getAsLong();
        last = start;
    }

    @SuppressWarnings("SystemConsoleNull") // null again since JDK 25, where no terminal is at hand
    private static boolean onTerminal() {
        return System.console() != null && System.console().isTerminal();
    }

    /** Estimates the time left from the time gone. */
    synchronized void update(String what, long done, long total) {
        // The first images pay for compilation; an estimate from them would only alarm.
        if (done >= Math.max(8, total / 50)) {
            update(what, done, total, (double) (nanos.getAsLong() - start) / done * (total - done) / 1e9);
        }
    }

    /** The caller knows the time left. */
    synchronized void update(String what, long done, long total, double secondsLeft) {
        long now = nanos.getAsLong();
        if (now - start < SILENCE || now - last < (terminal ? ON_TERMINAL : ELSEWHERE)) {
            return;
        }
        last = now;
        String line = String.format(Locale.ROOT, "%s: %d of %d (%d %%)", what, done, total, 100 * done / total);
        // Until the JVM has compiled what runs, an estimate may be ten times too high.
        if (done >= total / 10.0) {
            line += ", " + duration(secondsLeft) + " left";
        }
        if (terminal) {
            err.print("\r" + line + " ".repeat(Math.max(0, width - line.length())));
            err.flush();
            width = Math.max(width, line.length());
        } else {
            err.println(line);
        }
    }

    static String duration(double seconds) {
        long s = Math.round(seconds);
        if (s < 60) {
            return s + " s";
        }
        return s < 3600
                ? String.format(Locale.ROOT, "%d min %02d s", s / 60, s % 60)
                : String.format(Locale.ROOT, "%d h %02d min", s / 3600, s / 60 % 60);
    }

    /** Clears the line. */
    @Override
    public synchronized void close() {
        if (terminal && width > 0) {
            err.print("\r" + " ".repeat(width) + "\r");
            err.flush();
        }
    }
}
