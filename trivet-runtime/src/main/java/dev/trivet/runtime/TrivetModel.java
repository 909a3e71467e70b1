package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.format.MappedModel;
import dev.trivet.image.ImageDecoder;
import dev.trivet.image.ImagePreprocessor;
import dev.trivet.image.RgbImage;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.ImageNetClasses;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * A model ready to classify images:
 *
 * <pre>{@code
 * try (TrivetModel model = TrivetModel.load(Path.of("deit_t8.safetensors"))) {
 *     System.out.println(model.classify(Path.of("cat.jpg")).label());
 * }
 * }</pre>
 *
 * <p>Safe to share: any number of threads may classify at the same time; each call borrows a set of buffers, and as many sets as
 * there are processors are kept for the next calls. A call that is alone is spread over as many threads as the model was given, by default one per processor; calls at
 * the same time, and calls of virtual threads, take one thread each, which is what gives the most images a second. Logits are the same bits either way. The model's own
 * threads are daemons, start with the first calls and sleep between calls; one of them has the JVM compile what the model runs for a second or
 * two after the first call ({@link #warmUp}), and ends. Owns off-heap memory until closed; of the parameters it holds
 * the compiled form alone.
 */
public final class TrivetModel implements AutoCloseable {
    private final ModelConfig config;
    private final ImagePreprocessor preprocessor;
    private final ModelExecutor executor;
    private final List<String> labels;
    /** Buffers of calls on one thread. */
    private final ArrayBlockingQueue<Slot> idle = new ArrayBlockingQueue<>(Math.max(2, defaultThreads()));
    /** Buffers of a call on all threads, of which there is one at a time; whoever sets {@link #spreading} may touch them. */
    private @Nullable Slot spread;

    private static final AtomicBoolean SLOW = new AtomicBoolean();

    private final AtomicBoolean spreading = new AtomicBoolean();
    /** Whether threads or memory for {@link #spread} could not be had. */
    private volatile boolean unspreadable;
    /** Until it is ready calls are not spread: the JVM's compiler needs the other processors. */
    private final WarmUp warmUp;

    private final AtomicInteger calls = new AtomicInteger();
    private final int threads;
    private volatile boolean closed;

    /**
     * A class and how probable the model holds it.
     *
     * @param index class number
     * @param label readable name, or the number where the model names none
     * @param probability softmax of the logits, in [0, 1]
     */
    public record Prediction(int index, String label, double probability) {}

    private record Slot(ModelSession session, boolean cold, MemorySegment input, MemorySegment logits) {
        static Slot of(ModelSession session, boolean cold) {
            try {
                return new Slot(session, cold, session.allocateInput(), session.allocateLogits());
            } catch (RuntimeException | Error e) {
                session.close();
                throw e;
            }
        }
    }

    /**
     * Compiles a model for the given kernels, with one thread per processor for a call that is alone. The model itself is not kept.
     *
     * @param batch most images that one run takes
     */
    public TrivetModel(VitModel model, Kernels kernels, int batch) {
        this(model, kernels, batch, defaultThreads());
    }

    /**
     * Compiles a model for the given kernels. The model itself is not kept.
     *
     * @param batch most images that one run takes
     * @param threads over which a call that is alone is spread, the caller's included; sessions of the {@link #executor} have their own
     */
    public TrivetModel(VitModel model, Kernels kernels, int batch, int threads) {
        if (threads < 1) {
            throw new IllegalArgumentException(threads + " threads");
        }
        this.threads = threads;
        config = model.config();
        preprocessor = new ImagePreprocessor(config.preprocessing());
        executor = ModelExecutor.compile(model, kernels, batch);
        warmUp = new WarmUp(executor, kernels.needsWarmUp());
        labels = labels(config);
    }

    private static List<String> labels(ModelConfig config) {
        if (!config.labels().isEmpty()) {
            return config.labels();
        }
        int classes = config.geometry().classes();
        return classes == ImageNetClasses.COUNT
                ? ImageNetClasses.names()
                : IntStream.range(0, classes).mapToObj(Integer::toString).toList();
    }

    /** One per processor. */
    public static int defaultThreads() {
        return Runtime.getRuntime().availableProcessors();
    }

    /**
     * Loads a float checkpoint or a quantized file for one image at a time on the best kernels of this machine, with one thread per
     * processor for a call that is alone.
     *
     * @throws dev.trivet.BadInputException if it cannot be read
     */
    public static TrivetModel load(Path path) {
        return load(path, defaultThreads());
    }

    /**
     * The same with another number of threads.
     *
     * @param threads over which a call that is alone is spread, the caller's included; 1 for no threads but the callers' once the model is
     *     warm
     * @throws dev.trivet.BadInputException if it cannot be read
     */
    public static TrivetModel load(Path path, int threads) {
        KernelSelection.prepare();
        try (MappedModel mapped = MappedModel.open(path, Optional.empty(), OptionalInt.empty())) {
            return new TrivetModel(mapped.model(), kernels(), 1, threads);
        }
    }

    /** The best kernels. Where better ones were passed over the program is slower than it has to be, which its log should say once. */
    private static Kernels kernels() {
        KernelSelection selection = KernelSelection.get();
        if (!selection.refused().isEmpty() && SLOW.compareAndSet(false, true)) {
            System.getLogger(TrivetModel.class.getName())
                    .log(System.Logger.Level.WARNING, "slower kernels than there are: " + selection.sentence());
        }
        return selection.kernels();
    }

    /** Geometry, preprocessing and class names. */
    public ModelConfig config() {
        return config;
    }

    /** One readable name per class. */
    public List<String> labels() {
        return labels;
    }

    /** What prepares images for this model; safe to share. */
    public ImagePreprocessor preprocessor() {
        return preprocessor;
    }

    /** The compiled model; closed with this one. */
    public ModelExecutor executor() {
        return executor;
    }

    /**
     * The most probable class of an image file.
     *
     * @throws dev.trivet.BadInputException if the image cannot be read
     * @throws IllegalStateException if the model is closed
     */
    public Prediction classify(Path image) {
        return classify(image, 1).getFirst();
    }

    /**
     * The most probable class of a decoded image.
     *
     * @throws IllegalStateException if the model is closed
     */
    public Prediction classify(RgbImage image) {
        return classify(image, 1).getFirst();
    }

    /**
     * The most probable classes of an image file, most probable first.
     *
     * @param top how many, at least 1; all if there are fewer
     * @throws dev.trivet.BadInputException if the image cannot be read
     * @throws IllegalArgumentException if {@code top} is below 1
     * @throws IllegalStateException if the model is closed
     */
    public List<Prediction> classify(Path image, int top) {
        return classify(ImageDecoder.decode(image), top);
    }

    /**
     * The most probable classes of a decoded image, most probable first.
     *
     * @param top how many, at least 1; all if there are fewer
     * @throws IllegalArgumentException if {@code top} is below 1
     * @throws IllegalStateException if the model is closed
     */
    public List<Prediction> classify(RgbImage image, int top) {
        if (top < 1) {
            throw new IllegalArgumentException("the " + top + " most probable classes; ask for at least 1");
        }
        float[] logits = logits(image);
        double[] probabilities = softmax(logits);
        List<Prediction> predictions = new ArrayList<>();
        IntStream.range(0, logits.length)
                .boxed()
                .sorted(Comparator.comparingDouble((Integer i) -> -probabilities[i])
                        .thenComparing(i -> i))
                .limit(top)
                .forEach(i -> predictions.add(new Prediction(i, labels.get(i), probabilities[i])));
        return predictions;
    }

    /**
     * Waits until the JVM has compiled what the model runs, about a second and a half after it was loaded, without any image: for a
     * server that wants to be as fast as it gets before it takes requests. Not needed otherwise, because calls bring it about; if enough of
     * them have been made already this does nothing.
     *
     * @throws InterruptedException if the thread is interrupted while it waits; warming up goes on
     * @throws IllegalStateException if the model is closed
     */
    public void warmUp() throws InterruptedException {
        if (closed) {
            throw new IllegalStateException("the model is closed");
        }
        warmUp.await();
    }

    /**
     * The logits {@code [classes]} of an image, in a new array.
     *
     * @throws IllegalStateException if the model is closed
     */
    public float[] logits(RgbImage image) {
        boolean alone = calls.incrementAndGet() == 1;
        try {
            if (closed) {
                throw new IllegalStateException("the model is closed");
            }
            // A virtual thread that waits for the others may go on in another carrier, which has a workspace to enter
            // of its own.
            boolean platform = !Thread.currentThread().isVirtual();
            boolean spreads = alone && platform && warmUp.isReady() && threads > 1 && !unspreadable;
            return spreads && spreading.compareAndSet(false, true) ? spread(image) : single(image);
        } finally {
            calls.decrementAndGet();
        }
    }

    /** Logits by all threads; {@link #spreading} is set. */
    private float[] spread(RgbImage image) {
        try {
            if (spread == null) {
                spread = Slot.of(executor.openSession(threads), false);
            }
            return logits(image, spread);
        } catch (OutOfMemoryError e) {
            if (spread != null) {
                throw e;
            }
            unspreadable = true; // calls of one thread each need less
            System.getLogger(TrivetModel.class.getName())
                    .log(
                            System.Logger.Level.WARNING,
                            "calls run on one thread each: no team of " + threads + " threads",
                            e);
        } finally {
            spreading.set(false);
        }
        return single(image);
    }

    private float[] single(RgbImage image) {
        Slot slot = borrow();
        try {
            return logits(image, slot);
        } finally {
            if (!idle.offer(slot)) {
                slot.session.close();
            }
        }
    }

    private Slot borrow() {
        boolean warm = warmUp.isReady();
        for (Slot slot = idle.poll(); slot != null; slot = idle.poll()) {
            if (!warm || !slot.cold) {
                return slot;
            }
            slot.session.close();
        }
        return warm ? Slot.of(executor.openSession(), false) : Slot.of(executor.openColdSession(), true);
    }

    private float[] logits(RgbImage image, Slot slot) {
        preprocessor.apply(image, slot.input, 0);
        if (slot.cold) {
            long begin = System.nanoTime();
            slot.session.run(slot.input, 1, slot.logits);
            warmUp.ranCold(System.nanoTime() - begin);
        } else {
            warmUp.taken();
            slot.session.run(slot.input, 1, slot.logits);
        }
        float[] logits = new float[executor.geometry().classes()];
        MemorySegment.copy(slot.logits, JAVA_FLOAT, 0, logits, 0, logits.length);
        return logits;
    }

    private static double[] softmax(float[] logits) {
        double highest = Double.NEGATIVE_INFINITY;
        for (float v : logits) {
            highest = Math.max(highest, v);
        }
        double[] p = new double[logits.length];
        double sum = 0;
        for (int i = 0; i < p.length; i++) {
            p[i] = Math.exp(logits[i] - highest);
            sum += p[i];
        }
        for (int i = 0; i < p.length; i++) {
            p[i] /= sum;
        }
        return p;
    }

    private void drain() {
        for (Slot slot = idle.poll(); slot != null; slot = idle.poll()) {
            slot.session.close();
        }
        if (spread != null) {
            spread.session.close();
            spread = null;
        }
    }

    /**
     * Waits for the calls that run on other threads, refuses new ones and frees all memory; a second call does nothing. Sessions of the
     * {@link #executor} must have been closed.
     */
    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        boolean interrupted = false;
        while (calls.get() > 0) {
            LockSupport.parkNanos(100_000);
            interrupted |= Thread.interrupted(); // or it would not wait any more
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        drain();
        warmUp.close();
        executor.close();
    }
}
