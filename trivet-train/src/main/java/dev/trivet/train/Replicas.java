package dev.trivet.train;

import dev.trivet.model.Preprocessing;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Loss and gradient of a batch, computed by several threads: each has a replica of the model and takes a fixed share of the
 * batch, and the gradients are added in the replicas' order, so the sum does not depend on which thread was first. The
 * threads meet once a step. See {@link Torch} for why not within each operation.
 *
 * <p>To be used by one thread at a time.
 */
final class Replicas implements AutoCloseable {
    /** Loss, the mean over the batch, and the number of images classified correctly. */
    record Outcome(double loss, long correct) {
        Outcome plus(Outcome other) {
            return new Outcome(loss + other.loss, correct + other.correct);
        }
    }

    /**
     * @param first place of its first image in the batch
     * @param size its images
     */
    private record Worker(
            TrainableModel model, Optional<TrainableModel> teacher, ImageBatch batch, int first, int size) {}

    private final List<Worker> workers = new ArrayList<>();
    private final Parameters parameters;
    private final Optional<Device> remote;
    private final int batchSize;
    private final Varying varying;
    private final int side;
    private final Objective objective;
    private final ExecutorService threads;

    /** As the settings have it. */
    Replicas(
            TrainableModel model,
            Optional<TrainableModel> teacher,
            Preprocessing preprocessing,
            int batchSize,
            TrainingSettings settings) {
        this(
                model,
                teacher,
                preprocessing,
                batchSize,
                settings,
                Optional.of(settings.device().inUse()).filter(device -> device != Device.CPU));
    }

    /**
     * @param model the model, whose gradients receive the sum; it serves as the first replica and stays the caller's
     * @param teacher a float model to learn from, which stays the caller's
     * @param batchSize images of a step
     * @param remote the device of the one replica, which then has parameters of its own; empty for replicas that share the model's
     */
    Replicas(
            TrainableModel model,
            Optional<TrainableModel> teacher,
            Preprocessing preprocessing,
            int batchSize,
            TrainingSettings settings,
            Optional<Device> remote) {
        this.remote = remote;
        int count = remote.isPresent() ? 1 : Math.min(settings.threads(), batchSize);
        int accumulation = settings.steps().accumulation();
        for (int i = 0; i < count; i++) {
            int first = batchSize * i / count;
            int size = batchSize * (i + 1) / count - first;
            TrainableModel replica = remote.map(model::on).orElseGet(() -> share(model));
            ImageBatch batch = new ImageBatch(model.geometry(), preprocessing, Math.ceilDiv(size, accumulation));
            workers.add(new Worker(
                    replica,
                    teacher.map(float32 -> remote.map(float32::on).orElseGet(float32::replica)),
                    batch,
                    first,
                    size));
        }
        parameters = model.parameters();
        varying = Varying.of(settings);
        side = model.geometry().imageSize();
        this.batchSize = batchSize;
        objective = new Objective(settings.labelSmoothing(), settings.distillation());
        threads = Executors.newFixedThreadPool(
                count, Thread.ofPlatform().name("trivet-train-", 0).daemon().factory());
    }

    /** The model itself for the first worker, replicas of it for the others. */
    private TrainableModel share(TrainableModel model) {
        return workers.isEmpty() ? model : model.replica();
    }

    /** Brings all replicas up to date. */
    private void refresh() {
        parameters.refresh();
        if (remote.isPresent()) {
            workers.forEach(worker -> worker.model().parameters().fetch(parameters));
        }
    }

    private Tensor place(Tensor tensor) {
        return remote.map(device -> device.place(tensor)).orElse(tensor);
    }

    /**
     * Puts the gradient of a batch of varied images into the model's gradients.
     *
     * @param draw the batch, of the size that this was made for
     */
    Outcome gradient(ImageSet images, Draw draw, Precision precision) {
        refresh();
        Mixing.Blend blend = varying.mixing().blend(draw, side);
        List<Outcome> shares = run(worker -> {
            worker.model().parameters().gradients().zero_();
            Outcome sum = new Outcome(0, 0);
            for (int from = 0; from < worker.size(); from += worker.batch().size()) {
                int count = Math.min(worker.batch().size(), worker.size() - from);
                for (int i = 0; i < count; i++) {
                    worker.batch().put(i, images, draw, worker.first() + from + i, varying, blend);
                }
                try (PointerScope _ = new PointerScope()) {
                    sum = sum.plus(part(worker, count, precision));
                }
            }
            return sum;
        });
        Outcome total = shares.getFirst();
        for (int i = 1; i < shares.size(); i++) {
            total = total.plus(shares.get(i));
            parameters.gradients().add_(workers.get(i).model().parameters().gradients());
        }
        if (remote.isPresent()) {
            parameters.gradients().copy_(workers.getFirst().model().parameters().gradients());
        }
        parameters.passBack();
        return total;
    }

    private Outcome part(Worker worker, int count, Precision precision) {
        ImageBatch batch = worker.batch();
        Tensor patches = place(batch.patches().narrow(0, 0, count));
        Optional<Tensor> kept =
                varying.dropPath().rate() > 0 ? Optional.of(place(batch.kept().narrow(2, 0, count))) : Optional.empty();
        Tensor logits;
        Optional<Tensor> wanted;
        Optional<Features.Recording> recording = worker.model().arithmetic().recording();
        Optional<Features.Recording> reference =
                worker.teacher().flatMap(teacher -> teacher.arithmetic().recording());
        recording.ifPresent(Features.Recording::start);
        reference.ifPresent(Features.Recording::start);
        DeviceType device = remote.orElse(Device.CPU).type();
        torch.set_autocast_dtype(device, ScalarType.BFloat16);
        torch.set_autocast_enabled(device, precision == Precision.BF16);
        try {
            wanted = worker.teacher().map(teacher -> {
                try (NoGradGuard _ = new NoGradGuard()) {
                    return teacher.forward(patches, Optional.empty()).to(ScalarType.Float);
                }
            });
            logits = worker.model().forward(patches, kept).to(ScalarType.Float);
        } finally {
            torch.set_autocast_enabled(device, false);
            // It holds bfloat16 copies of the parameters, which are about to change.
            torch.clear_cache();
        }
        Tensor labels = place(batch.labels().narrow(0, 0, count));
        Tensor targets = varying.mixing().active() ? place(batch.targets().narrow(0, 0, count)) : labels;
        Tensor loss = objective.loss(logits, targets, wanted);
        if (recording.isPresent() && reference.isPresent()) {
            loss = loss.add(
                    objective.ofFeatures(recording.get().take(), reference.get().take()));
        }
        loss = loss.mul(new Scalar((double) count / batchSize));
        loss.backward();
        return new Outcome(loss.item_double(), correct(logits, labels));
    }

    /**
     * Runs images forward without changing anything but the ranges that the model's activations have.
     *
     * @param indices numbers of the images, at least one
     */
    void observe(ImageSet images, int[] indices) {
        refresh();
        run(worker -> {
            for (int at = workers.indexOf(worker); at < indices.length; at += workers.size()) {
                worker.batch().put(0, images, indices[at]);
                try (PointerScope _ = new PointerScope();
                        NoGradGuard _ = new NoGradGuard()) {
                    Tensor ignored = worker.model()
                            .forward(place(worker.batch().patches().narrow(0, 0, 1)), Optional.empty());
                }
            }
            return worker;
        });
    }

    /**
     * Where the last batch first gave what is no finite number: a layer, or a parameter whose gradient did, or nowhere that can be found again.
     */
    Optional<String> nonFinite() {
        refresh();
        for (Worker worker : workers) {
            NonFinite.Search search = new NonFinite.Search();
            try (PointerScope _ = new PointerScope();
                    NoGradGuard _ = new NoGradGuard();
                    TrainableModel searched = worker.model().replica(inner -> new NonFinite(inner, search))) {
                Tensor ignored = searched.forward(place(worker.batch().patches()), Optional.empty());
            }
            if (search.found().isPresent()) {
                return search.found();
            }
        }
        return parameters.nonFiniteGradient().map(name -> "the gradient of " + name);
    }

    /** Number of images of {@code test} that the model classifies correctly, in float32. */
    long correct(ImageSet test) {
        refresh();
        return run(worker -> {
                    int part = workers.indexOf(worker);
                    int from = (int) ((long) test.size() * part / workers.size());
                    int to = (int) ((long) test.size() * (part + 1) / workers.size());
                    long correct = 0;
                    int size = worker.batch().size();
                    for (int at = from; at < to; at += size) {
                        correct += correct(worker, test, at, Math.min(size, to - at));
                    }
                    return correct;
                })
                .stream()
                .mapToLong(Long::longValue)
                .sum();
    }

    private long correct(Worker worker, ImageSet test, int from, int count) {
        for (int i = 0; i < count; i++) {
            worker.batch().put(i, test, from + i);
        }
        try (PointerScope _ = new PointerScope();
                NoGradGuard _ = new NoGradGuard()) {
            Tensor logits =
                    worker.model().forward(place(worker.batch().patches().narrow(0, 0, count)), Optional.empty());
            return correct(logits, place(worker.batch().labels().narrow(0, 0, count)));
        }
    }

    private static long correct(Tensor logits, Tensor labels) {
        return logits.argmax(new LongOptional(1), false).eq(labels).sum().item_long();
    }

    /** Something done by every worker on a thread of its own. */
    private interface Task<T> {
        T run(Worker worker);
    }

    private <T> List<T> run(Task<T> task) {
        List<Callable<T>> calls = new ArrayList<>();
        for (Worker worker : workers) {
            calls.add(() -> task.run(worker));
        }
        List<T> results = new ArrayList<>();
        try {
            for (Future<T> future : threads.invokeAll(calls)) {
                results.add(future.get());
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("training was interrupted", e);
        } catch (ExecutionException e) {
            throw new IllegalStateException("a training thread failed: " + e.getCause(), e);
        }
        return results;
    }

    @Override
    public void close() {
        threads.close();
        for (int i = 0; i < workers.size(); i++) {
            workers.get(i).batch().close();
            workers.get(i).teacher().ifPresent(TrainableModel::close);
            if (i > 0 || remote.isPresent()) {
                workers.get(i).model().close();
            }
        }
        objective.close();
    }
}
