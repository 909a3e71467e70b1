package dev.trivet.runtime;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/**
 * Threads that work on one call together: whoever calls {@link #run} is member 0, the others are daemon threads that wait for the next
 * job. Within a job all members meet as often as the job says, each time after some hundred microseconds of work, so a member that waits
 * watches a variable for a while and goes to sleep only then; a team that is larger than the machine goes to sleep at once. Neither a job
 * nor a meeting makes an object.
 *
 * <p>Used by one caller at a time. Closing ends the threads; it must not overlap a job.
 */
final class ThreadTeam implements AutoCloseable {
    /** One member alone: every meeting is over at once. */
    static final ThreadTeam ALONE = new ThreadTeam(1, _ -> {});

    /** How long a member watches before it sleeps; waking a sleeper takes about as long. */
    private static final long WATCHED_NANOS = 200_000;

    /** Looks between two looks at the clock. */
    private static final int LOOKS = 64;

    /** What every member does, each with its number. */
    @FunctionalInterface
    interface Job {
        void run(int member);
    }

    /** Thrown out of a meeting that another member's failure has made pointless; nobody outside sees it. */
    private static final class AbandonedException extends RuntimeException {
        private static final long serialVersionUID = 1;

        AbandonedException() {
            super("another member of the team failed", null, false, false);
        }
    }

    /** A place where all members wait for the last. */
    private final class Gate {
        private final AtomicInteger arrived = new AtomicInteger();
        private volatile int opened;
        private final AtomicReferenceArray<@Nullable Thread> asleep = new AtomicReferenceArray<>(size);

        /** @param abandonable whether a failure of another member ends the wait */
        void pass(int member, boolean abandonable) {
            int before = opened;
            if (arrived.incrementAndGet() == size) {
                arrived.set(0);
                opened = before + 1;
                wake();
                return;
            }
            long start = 0;
            boolean watching = watches;
            for (int looks = 0; opened == before && !closed; looks++) {
                if (abandonable && failure.get() != null) {
                    throw ABANDONED;
                }
                if (!watching) {
                    sleep(member, before, abandonable);
                } else if (looks % LOOKS == 0) {
                    long now = System.nanoTime();
                    start = looks == 0 ? now : start;
                    watching = now - start < WATCHED_NANOS;
                } else {
                    Thread.onSpinWait();
                }
            }
        }

        private void sleep(int member, int before, boolean abandonable) {
            asleep.set(member, Thread.currentThread());
            if (opened == before && !closed && !(abandonable && failure.get() != null)) {
                LockSupport.park(this);
            }
            asleep.set(member, null);
        }

        void wake() {
            for (int member = 0; member < size; member++) {
                Thread sleeper = asleep.get(member);
                if (sleeper != null) {
                    LockSupport.unpark(sleeper);
                }
            }
        }

        /** Forgets who has come; nobody may be waiting. */
        void empty() {
            arrived.set(0);
        }
    }

    @SuppressWarnings("StaticAssignmentOfThrowable") // nobody sees it, and it has no stack trace
    private static final AbandonedException ABANDONED = new AbandonedException();

    private final int size;
    private final boolean watches;
    private final Job job;
    private final List<Thread> threads = new ArrayList<>();
    private final Gate start;
    private final Gate middle;
    private final Gate end;
    private final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
    private volatile boolean closed;

    /**
     * Starts the threads; if not all of them can be started, none is left.
     *
     * @param size members, the caller included
     * @param job what all of them do each time
     */
    ThreadTeam(int size, Job job) {
        this(size, job, ThreadTeam::start);
    }

    private static Thread start(int member, Runnable work) {
        return Thread.ofPlatform().daemon().name("trivet-", member).start(work);
    }

    /** @param starter starts the thread of a member */
    ThreadTeam(int size, Job job, BiFunction<Integer, Runnable, Thread> starter) {
        this.size = size;
        this.job = job;
        watches = size <= Runtime.getRuntime().availableProcessors();
        start = new Gate();
        middle = new Gate();
        end = new Gate();
        try {
            for (int member = 1; member < size; member++) {
                int number = member;
                threads.add(starter.apply(number, () -> work(number)));
            }
        } catch (RuntimeException | Error e) { // such as the system's limit on threads
            close();
            throw e;
        }
    }

    int size() {
        return size;
    }

    private void work(int member) {
        start.pass(member, false);
        while (!closed) {
            perform(member);
            end.pass(member, false);
            start.pass(member, false);
        }
    }

    private void perform(int member) {
        try {
            job.run(member);
        } catch (RuntimeException | Error e) {
            if (e != ABANDONED && failure.compareAndSet(null, e)) {
                middle.wake();
            }
        }
    }

    /**
     * Does the job once, on all members.
     *
     * @throws RuntimeException what the first member to fail threw, or an Error; the team can go on
     * @throws IllegalStateException if the team is closed
     */
    void run() {
        if (closed) {
            throw new IllegalStateException("the session is closed");
        }
        start.pass(0, false);
        perform(0);
        end.pass(0, false);
        Throwable failed = failure.get();
        if (failed != null) {
            middle.empty();
            failure.set(null);
            if (failed instanceof Error error) {
                throw error;
            }
            throw (RuntimeException) failed;
        }
    }

    /** Within a job: waits until every member has come here as often as this one. What they did before is seen afterwards. */
    void meet(int member) {
        if (size > 1) {
            middle.pass(member, true);
        }
    }

    @Override
    public void close() {
        if (closed || size == 1) {
            return;
        }
        closed = true;
        start.wake();
        end.wake();
        boolean interrupted = false;
        for (Thread thread : threads) {
            while (thread.isAlive()) {
                try {
                    thread.join();
                } catch (InterruptedException _) {
                    interrupted = true;
                }
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
