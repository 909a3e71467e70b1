package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.image.RgbImage;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongArray;
import org.jspecify.annotations.Nullable;

/**
 * Runs one or more models over a set of images: each image is decoded once, batches go to worker threads, every model keeps its
 * own preprocessing and its own clock.
 */
public final class DatasetRun {
    private DatasetRun() {}

    /** Receives results; called from worker threads, for each image once. */
    public interface Sink {
        /**
         * @param index which image
         * @param logits one {@code [classes]} array per model, reused after the call
         */
        void result(int index, float[][] logits);

        /** An image that cannot be read; throwing from here stops the run. */
        void unreadable(int index, BadInputException reason);
    }

    /**
     * How long it took.
     *
     * @param seconds wall-clock time of the whole run, decoding included
     * @param inferenceSeconds per model, time its inference took, as if it had run alone: the threads' mean
     */
    public record Timing(double seconds, List<Double> inferenceSeconds) {}

    /**
     * @param models share the images; their class counts may differ
     * @param threads worker threads at most; each takes whole batches
     */
    public static Timing run(List<TrivetModel> models, LabelledImages images, int threads, Sink sink) {
        int batch = models.stream().mapToInt(m -> m.executor().batch()).min().orElseThrow();
        int workerCount = workers(images.size(), batch, threads);
        AtomicInteger next = new AtomicInteger();
        AtomicLongArray nanos = new AtomicLongArray(models.size());
        long start = System.nanoTime();
        try (ExecutorService pool = Executors.newFixedThreadPool(workerCount)) {
            List<Future<Void>> workers = new ArrayList<>();
            Callable<Void> task = () -> {
                try (Worker worker = new Worker(models, images, sink, batch, nanos)) {
                    for (int from = next.getAndAdd(batch); from < images.size(); from = next.getAndAdd(batch)) {
                        worker.run(from, Math.min(images.size(), from + batch));
                    }
                } catch (RuntimeException | Error e) {
                    next.set(images.size());
                    throw e;
                }
                return null;
            };
            for (int t = 0; t < workerCount; t++) {
                workers.add(pool.submit(task));
            }
            try {
                await(workers);
            } finally {
                next.set(images.size()); // who is interrupted does not wait for the rest
            }
        }
        double seconds = (System.nanoTime() - start) / 1e9;
        List<Double> inference = new ArrayList<>();
        for (int m = 0; m < models.size(); m++) {
            inference.add(nanos.get(m) / 1e9 / workerCount);
        }
        return new Timing(seconds, inference);
    }

    /** As many as there are batches, for the mean over threads that had nothing to do would say less time than anything took. */
    static int workers(int images, int batch, int threads) {
        return Math.clamp(Math.ceilDiv(images, batch), 1, threads);
    }

    /** Waits for all; throws the first failure. */
    public static void await(List<? extends Future<?>> futures) {
        @Nullable Throwable failure = null;
        for (Future<?> future : futures) {
            try {
                future.get();
            } catch (ExecutionException e) {
                if (failure == null) {
                    failure = e.getCause();
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException("interrupted", e);
            }
        }
        if (failure instanceof RuntimeException known) {
            throw known;
        }
        if (failure instanceof Error error) {
            throw error;
        }
        if (failure != null) {
            throw new IllegalStateException(failure);
        }
    }

    /** One thread's buffers for every model. */
    private static final class Worker implements AutoCloseable {
        private final List<TrivetModel> models;
        private final LabelledImages images;
        private final Sink sink;
        private final AtomicLongArray nanos;
        private final List<ModelSession> sessions = new ArrayList<>();
        private final List<MemorySegment> inputs = new ArrayList<>();
        private final List<MemorySegment> outputs = new ArrayList<>();
        private final float[][] logits;
        private final int[] indices;

        Worker(List<TrivetModel> models, LabelledImages images, Sink sink, int batch, AtomicLongArray nanos) {
            this.models = models;
            this.images = images;
            this.sink = sink;
            this.nanos = nanos;
            logits = new float[models.size()][];
            indices = new int[batch];
            try {
                for (int m = 0; m < models.size(); m++) {
                    ModelSession session = models.get(m).executor().openSession();
                    sessions.add(session);
                    inputs.add(session.allocateInput());
                    outputs.add(session.allocateLogits());
                    logits[m] = new float[models.get(m).config().geometry().classes()];
                }
            } catch (RuntimeException | Error e) {
                sessions.forEach(ModelSession::close);
                throw e;
            }
        }

        void run(int from, int to) {
            int loaded = 0;
            for (int i = from; i < to; i++) {
                try {
                    RgbImage image = images.read(i);
                    for (int m = 0; m < models.size(); m++) {
                        long bytes = 4L * models.get(m).preprocessor().outputLength();
                        models.get(m).preprocessor().apply(image, inputs.get(m), loaded * bytes);
                    }
                    indices[loaded++] = i;
                } catch (BadInputException e) {
                    sink.unreadable(i, e);
                }
            }
            if (loaded == 0) {
                return;
            }
            for (int m = 0; m < models.size(); m++) {
                long start = System.nanoTime();
                sessions.get(m).run(inputs.get(m), loaded, outputs.get(m));
                nanos.addAndGet(m, System.nanoTime() - start);
            }
            for (int i = 0; i < loaded; i++) {
                for (int m = 0; m < models.size(); m++) {
                    int classes = logits[m].length;
                    MemorySegment.copy(outputs.get(m), JAVA_FLOAT, 4L * i * classes, logits[m], 0, classes);
                }
                sink.result(indices[i], logits);
            }
        }

        @Override
        public void close() {
            sessions.forEach(ModelSession::close);
        }
    }
}
