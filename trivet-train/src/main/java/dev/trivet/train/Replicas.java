package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.cross_entropy;

import dev.trivet.model.ModelUnit;
import dev.trivet.model.Preprocessing;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.IntUnaryOperator;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.CrossEntropyLossOptions;
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
    record Outcome(double loss, long correct) {}

    private record Worker(TrainableModel model, ImageBatch batch, int first, int size) {}

    private final List<Worker> workers = new ArrayList<>();
    private final Tensor gradients;
    private final int batchSize;
    private final DropPath dropPath;
    private final ExecutorService threads;
    private final CrossEntropyLossOptions lossOptions = new CrossEntropyLossOptions();

    /**
     * @param model the model, whose gradients receive the sum; it serves as the first replica and stays the caller's
     */
    Replicas(
            TrainableModel model,
            Preprocessing preprocessing,
            int batchSize,
            int threadCount,
            double labelSmoothing,
            DropPath dropPath) {
        PatchGrid grid = PatchGrid.of(model.geometry());
        int blocks = Math.toIntExact(model.geometry().units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .count());
        int count = Math.min(threadCount, batchSize);
        for (int i = 0; i < count; i++) {
            int first = batchSize * i / count;
            int size = batchSize * (i + 1) / count - first;
            TrainableModel replica = i == 0 ? model : model.replica();
            workers.add(new Worker(replica, new ImageBatch(grid, blocks, preprocessing, size), first, size));
        }
        gradients = model.parameters().gradients();
        this.dropPath = dropPath;
        this.batchSize = batchSize;
        threads = Executors.newFixedThreadPool(
                count, Thread.ofPlatform().name("trivet-train-", 0).daemon().factory());
        lossOptions.label_smoothing().put(labelSmoothing);
    }

    int batchSize() {
        return batchSize;
    }

    /**
     * Puts the gradient of a batch of augmented images into the model's gradients.
     *
     * @param indices number of the image at each place of the batch
     */
    Outcome gradient(
            ImageSet images, IntUnaryOperator indices, Augmentation augmentation, int epoch, Precision precision) {
        List<Outcome> shares = run(worker -> {
            for (int i = 0; i < worker.size(); i++) {
                worker.batch().put(i, images, indices.applyAsInt(worker.first() + i), augmentation, dropPath, epoch);
            }
            try (PointerScope _ = new PointerScope()) {
                return share(worker, precision);
            }
        });
        double loss = 0;
        long correct = 0;
        for (int i = 0; i < shares.size(); i++) {
            loss += shares.get(i).loss();
            correct += shares.get(i).correct();
            if (i > 0) {
                gradients.add_(workers.get(i).model().parameters().gradients());
            }
        }
        return new Outcome(loss, correct);
    }

    private Outcome share(Worker worker, Precision precision) {
        worker.model().parameters().gradients().zero_();
        Optional<Tensor> kept = dropPath.rate() > 0 ? Optional.of(worker.batch().kept()) : Optional.empty();
        Tensor logits;
        torch.set_autocast_dtype(DeviceType.CPU, ScalarType.BFloat16);
        torch.set_autocast_enabled(DeviceType.CPU, precision == Precision.BF16);
        try {
            logits = worker.model().forward(worker.batch().patches(), kept).to(ScalarType.Float);
        } finally {
            torch.set_autocast_enabled(DeviceType.CPU, false);
            // It holds bfloat16 copies of the parameters, which are about to change.
            torch.clear_cache();
        }
        Tensor labels = worker.batch().labels();
        Tensor loss = cross_entropy(logits, labels, lossOptions).mul(new Scalar((double) worker.size() / batchSize));
        loss.backward();
        return new Outcome(loss.item_double(), correct(logits, labels));
    }

    /** Number of images of {@code test} that the model classifies correctly, in float32. */
    long correct(ImageSet test) {
        return run(worker -> {
                    int part = workers.indexOf(worker);
                    int from = (int) ((long) test.size() * part / workers.size());
                    int to = (int) ((long) test.size() * (part + 1) / workers.size());
                    long correct = 0;
                    for (int at = from; at < to; at += worker.size()) {
                        correct += correct(worker, test, at, Math.min(worker.size(), to - at));
                    }
                    return correct;
                })
                .stream()
                .mapToLong(Long::longValue)
                .sum();
    }

    private static long correct(Worker worker, ImageSet test, int from, int count) {
        for (int i = 0; i < count; i++) {
            worker.batch().put(i, test, from + i);
        }
        try (PointerScope _ = new PointerScope();
                NoGradGuard _ = new NoGradGuard()) {
            Tensor logits = worker.model().forward(worker.batch().patches().narrow(0, 0, count), Optional.empty());
            return correct(logits, worker.batch().labels().narrow(0, 0, count));
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
            if (i > 0) {
                workers.get(i).model().close();
            }
        }
        lossOptions.close();
    }
}
