package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Optional;

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
    /** A program that wanted one image has closed the model by then. */
    private static final long DELAY_MILLIS = 50;

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
    private final long patienceNanos;
    private final long mostNanos;
    private volatile State state;
    private volatile boolean ready;
    /** Whether calls warm up what is left themselves. */
    private volatile boolean taken;
    /** Whether somebody waits for the end, calls or no calls. */
    private volatile boolean awaited;

    private volatile boolean closed;
    /** How long the latest run in a cold session took. */
    private volatile long coldNanos;

    /** @param needed false for kernels that have nothing to compile */
    WarmUp(ModelExecutor executor, boolean needed) {
        this(executor, needed, PATIENCE_NANOS, MOST_NANOS);
    }

    /**
     * The same with another end.
     *
     * @param patienceNanos how long runs may bring nothing
     * @param mostNanos how long all of it may take
     */
    WarmUp(ModelExecutor executor, boolean needed, long patienceNanos, long mostNanos) {
        this.executor = executor;
        this.patienceNanos = patienceNanos;
        this.mostNanos = mostNanos;
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
        if (state != State.NEW || closed) {
            return;
        }
        state = State.RUNNING;
        try {
            Thread.ofPlatform().daemon().name("trivet-warm-up").start(this::run);
        } catch (OutOfMemoryError _) { // as many threads as the system gives: calls will do it
            end();
        }
    }

    /** Starts it if nobody has, and waits for its end. */
    void await() throws InterruptedException {
        awaited = true;
        start();
        synchronized (this) {
            while (state == State.RUNNING) {
                wait();
            }
        }
    }

    private void run() {
        try {
            delay();
            if (isWanted()) {
                repeat();
            }
        } finally {
            end();
        }
    }

    @SuppressWarnings("WaitNotInLoop") // whatever wakes it, it goes on: it only gives others a start
    private synchronized void delay() {
        if (isWanted() && !awaited) {
            try {
                wait(DELAY_MILLIS);
            } catch (InterruptedException _) {
                // Nobody else has this thread.
            }
        }
    }

    private boolean isWanted() {
        return !closed && (awaited || !taken);
    }

    private void repeat() {
        try (ModelSession session = executor.openSession()) {
            MemorySegment input = session.allocateInput();
            MemorySegment tokens = session.allocateTokens();
            MemorySegment logits = session.allocateLogits();
            int units = executor.geometry().units().size();
            // Of this image or of the one before, so that their sum follows the compiler without waiting for an image's
            // end.
            long[] nanos = new long[units];
            long first = System.nanoTime();
            long gained = first;
            double best = Double.POSITIVE_INFINITY;
            for (int run = 0, last = units; isWanted(); run++) {
                int unit = run % units;
                long begin = System.nanoTime();
                MemorySegment in = unit == 0 ? input : tokens;
                session.runUnit(unit, in, 1, unit == units - 1 ? logits : tokens, Optional.empty());
                long now = System.nanoTime();
                nanos[unit] = now - begin;
                if (run < units - 1) {
                    continue; // no whole image yet
                }
                long image = Arrays.stream(nanos).sum();
                if (image <= coldNanos) {
                    ready = true;
                }
                if (image < GAIN * best) {
                    best = image;
                    gained = now;
                    last = run + units;
                }
                if ((now - gained > patienceNanos && run > last) || now - first > mostNanos) {
                    return;
                }
            }
        }
    }

    private synchronized void end() {
        ready = true;
        state = State.ENDED;
        notifyAll();
    }

    /** Ends it and waits until the thread has left the executor, which takes it one unit's time at most. */
    synchronized void close() {
        closed = true;
        notifyAll();
        boolean interrupted = false;
        while (state == State.RUNNING) {
            try {
                wait();
            } catch (InterruptedException _) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
