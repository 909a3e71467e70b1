package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.hub.HubListener;
import java.io.PrintWriter;
import java.util.Locale;
import java.util.function.LongSupplier;

/** What a pull says on standard error: lines, and a status line of bytes, speed and time left per file. */
final class PullProgress implements HubListener, AutoCloseable {
    private final PrintWriter err;
    private final Progress progress;
    private final LongSupplier nanos;
    private String file = "";
    private long start;
    private long before;

    PullProgress(PrintWriter err) {
        this(err, new Progress(err), System::nanoTime);
    }

    /** @param nanos the clock */
    PullProgress(PrintWriter err, Progress progress, LongSupplier nanos) {
        this.err = err;
        this.progress = progress;
        this.nanos = nanos;
    }

    /** A note may hold what a server said. */
    @Override
    public void note(String line) {
        progress.close();
        err.println(new BadInputException(line).getMessage());
    }

    @Override
    public void progress(String name, long done, long total) {
        if (!name.equals(file) || done < before) { // what an earlier call has fetched says nothing of the speed
            file = name;
            start = nanos.getAsLong();
            before = done;
        }
        double seconds = (nanos.getAsLong() - start) / 1e9;
        if (done > before && seconds > 0) {
            double speed = (done - before) / seconds;
            String what = String.format(Locale.ROOT, "%s at %.1f MB/s, bytes", name, speed / 1e6);
            progress.update(what, done, total, (total - done) / speed);
        }
    }

    @Override
    public void close() {
        progress.close();
    }
}
