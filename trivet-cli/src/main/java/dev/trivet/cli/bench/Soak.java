package dev.trivet.cli.bench;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryMXBean;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;

/**
 * A model run for a long time on the same few batches by several threads: every result has to be the first one bit for bit, and what
 * memory the process takes is noted along the way. Ends early at the first result that differs.
 */
public final class Soak {
    private static final double LONGEST_INTERVAL = 60;

    /** One thread's model with its buffers. */
    public interface Caller extends AutoCloseable {
        /** Runs batch {@code number}, and gives its logits until the next run. */
        MemorySegment run(int number);

        @Override
        void close();
    }

    /**
     * What was seen at some time.
     *
     * @param seconds since the threads were started
     * @param images done by then
     * @param residentBytes {@link ProcessFigures#residentBytes}
     * @param heapBytes of Java objects, dead ones that have not been collected included
     * @param nonHeapBytes what the JVM has taken for classes and compiled code
     */
    public record Sample(double seconds, long images, OptionalLong residentBytes, long heapBytes, long nonHeapBytes) {
        static Sample now(double seconds, long images) {
            MemoryMXBean memory = ManagementFactory.getMemoryMXBean();
            return new Sample(
                    seconds,
                    images,
                    ProcessFigures.residentBytes(),
                    memory.getHeapMemoryUsage().getUsed(),
                    memory.getNonHeapMemoryUsage().getUsed());
        }
    }

    /**
     * A result that was not the first one.
     *
     * @param thread counted from 0
     * @param batch number of the batch
     * @param run how many runs the thread had made before
     * @param logit the first one that differs, of {@code [images, classes]}
     */
    public record Difference(int thread, int batch, long run, long logit) {}

    /**
     * How it went.
     *
     * @param samples at the start, at equal intervals of a minute at most, and at the end: three or more, unless a result differed
     */
    public record Result(List<Sample> samples, Optional<Difference> difference) {
        public Result {
            samples = List.copyOf(samples);
        }

        /** Images per second between the first two samples. */
        public double firstRate() {
            return rate(Math.min(1, samples.size() - 1));
        }

        /** Images per second between the last two samples. */
        public double lastRate() {
            return rate(samples.size() - 1);
        }

        /** Images per second between a sample and the one before it; 0 for the first. */
        public double rate(int sample) {
            if (sample == 0) {
                return 0;
            }
            Sample from = samples.get(sample - 1);
            Sample to = samples.get(sample);
            return (to.images - from.images) / (to.seconds - from.seconds);
        }

        /**
         * Resident bytes at the end less those after the first interval, in which code is compiled and buffers are touched for the first
         * time.
         */
        public OptionalLong drift() {
            OptionalLong from = samples.get(Math.min(1, samples.size() - 1)).residentBytes;
            OptionalLong to = samples.getLast().residentBytes;
            return from.isPresent() && to.isPresent()
                    ? OptionalLong.of(to.getAsLong() - from.getAsLong())
                    : OptionalLong.empty();
        }
    }

    private final List<? extends Caller> callers;
    private final int batches;
    private final int images;
    private final LongAdder done = new LongAdder();
    private final ConcurrentLinkedQueue<Difference> differences = new ConcurrentLinkedQueue<>();
    private final ConcurrentLinkedQueue<Throwable> failures = new ConcurrentLinkedQueue<>();
    /** Open until the threads have to end, whether time is over or a result differs. */
    private final CountDownLatch end = new CountDownLatch(1);

    /**
     * @param callers one for each thread; closed by their owner
     * @param batches how many there are, numbered from 0
     * @param images of one batch
     */
    public Soak(List<? extends Caller> callers, int batches, int images) {
        this.callers = List.copyOf(callers);
        this.batches = batches;
        this.images = images;
    }

    /**
     * Runs for so many seconds; to be called once.
     *
     * @param listener is given each sample when it is taken
     * @throws IllegalStateException if a run failed
     */
    public Result run(double seconds, Consumer<Sample> listener) throws InterruptedException {
        byte[][] expected = new byte[batches][];
        for (int b = 0; b < batches; b++) {
            expected[b] = callers.getFirst().run(b).toArray(JAVA_BYTE);
        }
        int intervals = Math.max(2, (int) Math.ceil(seconds / LONGEST_INTERVAL));
        List<Sample> samples = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        long start = System.nanoTime();
        take(0, samples, listener);
        try {
            for (int t = 0; t < callers.size(); t++) {
                int thread = t;
                threads.add(Thread.ofPlatform().daemon().start(() -> repeat(thread, expected)));
            }
            boolean ended = false;
            for (int i = 1; i <= intervals && !ended; i++) {
                long due = start + (long) (1e9 * seconds * i / intervals);
                ended = end.await(due - System.nanoTime(), TimeUnit.NANOSECONDS);
                take((System.nanoTime() - start) / 1e9, samples, listener);
            }
        } finally {
            end.countDown();
            for (Thread thread : threads) {
                thread.join();
            }
        }
        for (Throwable cause : failures) {
            throw new IllegalStateException("a run failed", cause);
        }
        return new Result(samples, differences.stream().findFirst());
    }

    private void take(double seconds, List<Sample> samples, Consumer<Sample> listener) {
        Sample sample = Sample.now(seconds, done.sum());
        samples.add(sample);
        listener.accept(sample);
    }

    private void repeat(int thread, byte[][] expected) {
        try {
            Caller caller = callers.get(thread);
            MemorySegment[] wanted = new MemorySegment[batches];
            for (int b = 0; b < batches; b++) {
                wanted[b] = MemorySegment.ofArray(expected[b]);
            }
            // Threads begin at different batches, so that they are not always at the same one.
            for (long run = 0; end.getCount() > 0; run++) {
                int batch = (int) ((thread + run) % batches);
                long at = caller.run(batch).mismatch(wanted[batch]);
                if (at >= 0) {
                    differences.add(new Difference(thread, batch, run, at / Float.BYTES));
                    end.countDown();
                    return;
                }
                done.add(images);
            }
        } catch (RuntimeException | Error e) {
            failures.add(e);
            end.countDown();
        }
    }
}
