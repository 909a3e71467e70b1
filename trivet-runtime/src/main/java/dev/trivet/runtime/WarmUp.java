package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Has HotSpot compile the passes of a model while the model answers already. Passes that use the Vector API are slow by a factor of a
 * hundred until HotSpot's last compiler has seen them, which takes it more than a second in all, and was most of the first image's time. So
 * the first images run the scalar passes, which give the same bits and are quick as soon as their loops are compiled at all
 * ({@link ModelExecutor#openColdSession}). After the first one a thread here runs a made-up image over and over in an ordinary session; once
 * that takes it no longer than images take in cold ones, calls are to use ordinary sessions, too. If none comes it goes on until runs have
 * not become faster for half a second. What it costs is in docs/decisions.md, "The first image".
 *
 * <p>Safe for use by many threads.
 */
final class WarmUp {
    /** How long runs may bring nothing before they end: the compiler may be at work on a large pass for a good part of this. */
    private static final long PATIENCE_NANOS = 500_000_000;

    private static final long MOST_NANOS = 10_000_000_000L;
    /** What counts as faster. */
    private static final double GAIN = 0.95;

    private enum State {
        NEW,
        RUNNING,
        ENDED
    }

    private final ModelExecutor executor;
    private volatile State state;
    private volatile boolean ready;
    /** Whether calls warm up what is left themselves. */
    private volatile boolean taken;

    private volatile boolean closed;
    /** How long the latest run in a cold session took. */
    private volatile long coldNanos;

    private @Nullable Runnable closing;

    /** @param needed false for kernels that have nothing to compile in this way */
    WarmUp(ModelExecutor executor, boolean needed) {
        this.executor = executor;
        ready = !needed;
        state = needed ? State.NEW : State.ENDED;
    }

    /** Whether sessions are to be ordinary ones. */
    boolean isReady() {
        return ready;
    }

    /** A call uses an ordinary session. */
    void taken() {
        taken = true;
    }

    /** A run in a cold session took so long. The first starts the thread. */
    void ranCold(long nanos) {
        coldNanos = nanos;
        start();
    }

    private void start() {
        if (state == State.NEW) {
            startOnce();
        }
    }

    private synchronized void startOnce() {
        if (state == State.NEW && !closed) {
            state = State.RUNNING;
            Thread.ofPlatform().daemon().name("trivet-warm-up").start(this::run);
        }
    }

    /** Starts it if nobody has, and waits for its end. */
    void await() throws InterruptedException {
        start();
        synchronized (this) {
            while (state == State.RUNNING) {
                wait();
            }
        }
    }

    private void run() {
        try (ModelSession session = executor.openSession()) {
            MemorySegment input = session.allocateInput();
            MemorySegment tokens = session.allocateTokens();
            MemorySegment logits = session.allocateLogits();
            int units = executor.geometry().units().size();
            // A stored time is of this image or of the one before, so their sum follows the compiler without waiting
            // for an image's end.
            long[] nanos = new long[units];
            Arrays.fill(nanos, MOST_NANOS);
            long first = System.nanoTime();
            long gained = first;
            double best = Double.POSITIVE_INFINITY;
            long now = first;
            for (int unit = 0; now - gained < PATIENCE_NANOS && now - first < MOST_NANOS; unit = (unit + 1) % units) {
                if (closed || taken) {
                    return;
                }
                long begin = System.nanoTime();
                MemorySegment in = unit == 0 ? input : tokens;
                session.runUnit(unit, in, 1, unit == units - 1 ? logits : tokens, Optional.empty());
                now = System.nanoTime();
                nanos[unit] = now - begin;
                long image = Arrays.stream(nanos).sum();
                if (image <= coldNanos) {
                    ready = true;
                }
                if (image < GAIN * best) {
                    best = image;
                    gained = now;
                }
            }
        } finally {
            end();
        }
    }

    private synchronized void end() {
        ready = true;
        state = State.ENDED;
        notifyAll();
        if (closing != null) {
            closing.run();
        }
    }

    /**
     * Ends it, if need be in the middle.
     *
     * @param free run once the thread has left the executor: before this returns if there is none
     */
    synchronized void close(Runnable free) {
        closed = true;
        if (state == State.RUNNING) {
            closing = free;
        } else {
            free.run();
        }
    }
}
