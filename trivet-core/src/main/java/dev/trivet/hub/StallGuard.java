package dev.trivet.hub;

import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;

/**
 * Closes a stream that has brought nothing for a while, so that a read that waits for it ends with an exception: the HTTP
 * client has a limit for the answer's beginning but none for its body.
 */
final class StallGuard implements AutoCloseable {
    private final InputStream stream;
    private final long limitNanos;
    private final Thread watch;
    private volatile long last = System.nanoTime();
    private volatile boolean stalled;

    StallGuard(InputStream stream, Duration limit) {
        this.stream = stream;
        limitNanos = limit.toNanos();
        watch = Thread.ofVirtual().name("trivet-hub-stall").start(this::watch);
    }

    /** To be called whenever bytes have come. */
    void progress() {
        last = System.nanoTime();
    }

    /** Whether the stream was closed because it brought nothing. */
    boolean stalled() {
        return stalled;
    }

    private void watch() {
        try {
            for (long left = limitNanos; left > 0; left = limitNanos - (System.nanoTime() - last)) {
                Thread.sleep(Duration.ofNanos(left));
            }
            stalled = true;
            stream.close();
        } catch (InterruptedException | IOException _) {
            // The reading has ended.
        }
    }

    @Override
    public void close() {
        watch.interrupt();
    }
}
