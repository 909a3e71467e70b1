package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.model.Preprocessing;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Supplier;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Minibatch training of a classifier, one {@link Stage}: shuffled epochs of augmented images, the {@link Objective}, clipped
 * gradients, {@link Optimizer}, and optionally a running average of the parameters
 * {@code average += (1 - d) * (values - average)} with {@code d = min(averageDecay, (1 + t) / (10 + t))} after {@code t}
 * steps, so that the first random weights are soon forgotten; the average is then what is evaluated and kept.
 *
 * <p>An epoch leaves out the images that do not fill a last batch; the shuffle leaves out others each time. Everything
 * random follows from the seed, the epoch (counted through all stages) and the image's number, so a training resumed at an epoch's end
 * goes on bit for bit as the unbroken one would (with the same number of threads).
 *
 * <p>For one thread.
 */
final class Trainer implements AutoCloseable {
    private static final int PROBE_ROUNDS = 6;
    /** Images that first ranges of activations come from. */
    private static final int FIRST_RANGES = 128;

    /** What the epoch just finished came to. */
    record EpochResult(double loss, double learningRate, double trainAccuracy) {}

    private final TrainableModel model;
    private final Parameters parameters;
    private final ImageSet images;
    private final TrainingSettings settings;
    private final Stage stage;
    private final TrainingListener listener;
    private final Map<String, String> identity;
    private final Path checkpointFile;

    private final Replicas replicas;
    private final int batchSize;
    private final int stepsPerEpoch;
    private final LearningRateSchedule schedule;
    private final Optimizer optimizer;
    private final Optional<Tensor> average;
    private Precision precision;
    private int epochsDone;
    private long epochStart;

    /**
     * @param teacher a float model to learn from, empty for none; stays the caller's, as the model does
     * @param identity what a checkpoint must agree on, see {@link Checkpoint}
     * @param checkpointFile where the state is kept
     */
    Trainer(
            TrainableModel model,
            Optional<TrainableModel> teacher,
            Preprocessing preprocessing,
            ImageSet images,
            TrainingSettings settings,
            Stage stage,
            Map<String, String> identity,
            Path checkpointFile,
            TrainingListener listener) {
        this.model = model;
        parameters = model.parameters();
        this.images = images;
        this.settings = settings;
        this.stage = stage;
        this.identity = identity;
        this.checkpointFile = checkpointFile;
        this.listener = listener;
        TrainingSettings.Steps steps = settings.steps();
        batchSize = Math.min(steps.batchSize(), images.size());
        stepsPerEpoch = images.size() / batchSize;
        schedule = new LearningRateSchedule(
                steps.learningRate(),
                0,
                Math.round(Math.min(steps.warmupEpochs(), stage.epochs()) * stepsPerEpoch),
                (long) stage.epochs() * stepsPerEpoch);
        optimizer = new Optimizer(model, steps);
        average = steps.averageDecay() > 0 ? Optional.of(parameters.values().clone()) : Optional.empty();
        replicas = new Replicas(model, teacher, preprocessing, batchSize, settings);
        precision = settings.precision();
    }

    /** The precision in use; {@link Precision#AUTO} before the first epoch has chosen. */
    Precision precision() {
        return precision;
    }

    /** Goes on in the precision of the stage before. */
    void precision(Precision chosen) {
        precision = chosen;
    }

    /** Epochs of this stage. */
    int epochsDone() {
        return epochsDone;
    }

    /**
     * Runs one epoch.
     *
     * @throws BadInputException if the loss is no longer a number
     */
    EpochResult epoch() {
        int epoch = stage.before() + epochsDone;
        int[] order = Augmentation.order(images.size(), settings.seed(), epoch);
        model.ranges().filter(ranges -> !ranges.known()).ifPresent(ranges -> {
            replicas.observe(images, java.util.Arrays.copyOf(order, Math.min(FIRST_RANGES, order.length)));
            ranges.update(0);
        });
        choosePrecision(draw(order, 0, epoch));
        epochStart = System.nanoTime();
        double lossSum = 0;
        long correct = 0;
        double rate = 0;
        for (int step = 0; step < stepsPerEpoch; step++) {
            rate = schedule.at(optimizer.steps());
            Replicas.Outcome outcome = replicas.gradient(images, draw(order, step * batchSize, epoch), precision);
            double norm = optimizer.step(rate);
            if (!Double.isFinite(outcome.loss()) || !Double.isFinite(norm)) {
                throw diverged(step, outcome.loss(), norm);
            }
            model.ranges().ifPresent(ranges -> ranges.update(optimizer.steps()));
            updateAverage();
            lossSum += outcome.loss();
            correct += outcome.correct();
            report(step + 1, outcome.loss(), (double) correct / ((step + 1L) * batchSize));
        }
        epochsDone++;
        return new EpochResult(lossSum / stepsPerEpoch, rate, (double) correct / ((long) stepsPerEpoch * batchSize));
    }

    private Draw draw(int[] order, int first, int epoch) {
        return new Draw(order, first, batchSize, epoch, settings.variation().repeats());
    }

    private void updateAverage() {
        if (average.isPresent()) {
            double steps = optimizer.steps();
            double decay = Math.min(settings.steps().averageDecay(), (1 + steps) / (10 + steps));
            try (Scalar weight = new Scalar(1 - decay)) {
                average.get().lerp_(parameters.values(), weight);
            }
        }
    }

    private void choosePrecision(Draw firstBatch) {
        if (precision != Precision.AUTO) {
            return;
        }
        long[] best = {Long.MAX_VALUE, Long.MAX_VALUE};
        Precision[] formats = {Precision.FP32, Precision.BF16};
        for (int round = 0; round < PROBE_ROUNDS; round++) {
            for (int i = 0; i < formats.length; i++) {
                long start = System.nanoTime();
                Replicas.Outcome ignored = replicas.gradient(images, firstBatch, formats[i]);
                best[i] = Math.min(best[i], System.nanoTime() - start);
            }
        }
        // Else the first step would learn ranges from both formats, and more from them than a resumed training does.
        model.ranges().ifPresent(ActivationRanges::forget);
        precision = best[1] < best[0] ? Precision.BF16 : Precision.FP32;
        listener.note(String.format(
                Locale.ROOT,
                "precision: %s (a step took %.0f ms in fp32, %.0f ms in bf16)",
                precision.name().toLowerCase(Locale.ROOT),
                best[0] / 1e6,
                best[1] / 1e6));
    }

    private void report(int step, double loss, double accuracy) {
        double seconds = (System.nanoTime() - epochStart) / 1e9;
        int epoch = stage.before() + epochsDone;
        long stepsLeft = (long) (settings.epochs() - epoch) * stepsPerEpoch - step;
        listener.step(new TrainingListener.StepReport(
                epoch + 1,
                settings.epochs(),
                step,
                stepsPerEpoch,
                loss,
                accuracy,
                step * batchSize / seconds,
                Duration.ofMillis(Math.round(1000 * seconds / step * stepsLeft))));
    }

    private BadInputException diverged(int step, double loss, double norm) {
        int epoch = stage.before() + epochsDone;
        String kept = epoch == 0
                ? "there is no checkpoint yet"
                : "the last good checkpoint is " + checkpointFile + ", after epoch " + epoch;
        return new BadInputException(String.format(
                Locale.ROOT,
                "training diverged at epoch %d, step %d, first in %s (loss %s, gradient norm %s); lower the learning rate; %s",
                epoch + 1,
                step + 1,
                replicas.nonFinite().orElse("the loss"),
                loss,
                norm,
                kept));
    }

    /**
     * Share of {@code test} classified correctly by the averaged parameters (or by the parameters, where no average is
     * kept), in float32.
     */
    double accuracy(ImageSet test) {
        return withAverage(() -> (double) replicas.correct(test) / test.size());
    }

    /** Something done while the model has the parameters to keep: the average where there is one. */
    <T> T withAverage(Supplier<T> body) {
        if (average.isEmpty()) {
            return body.get();
        }
        float[] current = vector(parameters.values());
        Torch.floats(parameters.values()).put(vector(average.get()));
        try {
            return body.get();
        } finally {
            Torch.floats(parameters.values()).put(current);
        }
    }

    private static float[] vector(Tensor tensor) {
        float[] copy = new float[Math.toIntExact(tensor.numel())];
        Torch.floats(tensor).get(copy);
        return copy;
    }

    /** @throws BadInputException if the file cannot be written */
    void save() {
        Map<String, float[]> vectors = new TreeMap<>();
        state().forEach((name, tensor) -> vectors.put(name, vector(tensor)));
        new Checkpoint(identity, precision, stage.index(), epochsDone, optimizer.steps(), vectors)
                .write(checkpointFile);
    }

    /**
     * Goes on from a checkpoint of this stage.
     *
     * @throws BadInputException if it is damaged
     */
    void resume(Checkpoint checkpoint) {
        state().forEach((name, tensor) ->
                Torch.floats(tensor).put(checkpoint.vector(checkpointFile, name, Math.toIntExact(tensor.numel()))));
        model.ranges().ifPresent(ActivationRanges::refresh);
        precision = checkpoint.precision();
        epochsDone = checkpoint.epochs();
        optimizer.steps(checkpoint.steps());
        listener.note("resumed " + checkpointFile + " after epoch " + (stage.before() + epochsDone));
    }

    private Map<String, Tensor> state() {
        Map<String, Tensor> state = new TreeMap<>();
        state.put("parameters", parameters.values());
        state.putAll(optimizer.state());
        average.ifPresent(tensor -> state.put("average", tensor));
        model.ranges().ifPresent(ranges -> state.put("ranges", ranges.values()));
        return state;
    }

    @Override
    public void close() {
        replicas.close();
        optimizer.close();
        average.ifPresent(Tensor::close);
    }
}
