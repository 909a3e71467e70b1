package dev.trivet.ptq;

import dev.trivet.runtime.DatasetRun;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

/**
 * Runs work over all calibration images on several threads with results that do not depend on how many: images are computed
 * in any order, but merged one at a time in the order of their indices, so floating-point sums always see the same sequence.
 */
final class ImagePass implements AutoCloseable {
    private final int images;
    private final int threads;
    private final ExecutorService pool;
    private final Runnable afterEach;

    /** @param afterEach told after each image, from the thread that did it, one call at a time */
    ImagePass(int images, int threads, Runnable afterEach) {
        this.images = images;
        this.threads = threads;
        this.afterEach = afterEach;
        pool = Executors.newFixedThreadPool(threads);
    }

    int images() {
        return images;
    }

    /** What is done with one image. */
    interface Task<W> {
        /** Computes; runs beside other images. */
        void compute(W worker, int image);

        /** Takes the result over, called in order of images, never two at a time. */
        default void merge(W worker, int image) {}
    }

    /**
     * Does the task for every image.
     *
     * @param open makes what a thread works with
     */
    @SuppressWarnings("try") // a worker's close may throw whatever it likes
    <W extends AutoCloseable> void run(Supplier<W> open, Task<W> task) {
        AtomicInteger next = new AtomicInteger();
        Turn turn = new Turn();
        Callable<Void> job = () -> {
            try (W worker = open.get()) {
                for (int i = next.getAndIncrement(); i < images; i = next.getAndIncrement()) {
                    task.compute(worker, i);
                    if (!turn.await(i)) {
                        return null;
                    }
                    task.merge(worker, i);
                    afterEach.run();
                    turn.pass();
                }
            } catch (Throwable e) {
                turn.cancel();
                throw e;
            }
            return null;
        };
        List<Future<Void>> futures = new ArrayList<>();
        for (int t = 0; t < Math.min(threads, images); t++) {
            futures.add(pool.submit(job));
        }
        DatasetRun.await(futures);
    }

    /** Does independent jobs on the same threads; results in the order of the jobs. */
    <T> List<T> all(List<Callable<T>> jobs) {
        List<Future<T>> futures = new ArrayList<>();
        for (Callable<T> job : jobs) {
            futures.add(pool.submit(job));
        }
        DatasetRun.await(futures);
        return futures.stream().map(Future::resultNow).toList();
    }

    /** Whose turn it is to merge. */
    private static final class Turn {
        private int image;
        private boolean cancelled;

        /** Waits; false if another thread failed. */
        synchronized boolean await(int wanted) throws InterruptedException {
            while (image != wanted && !cancelled) {
                wait();
            }
            return !cancelled;
        }

        synchronized void pass() {
            image++;
            notifyAll();
        }

        synchronized void cancel() {
            cancelled = true;
            notifyAll();
        }
    }

    @Override
    public void close() {
        pool.close();
    }
}
