package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.model.Geometry;
import dev.trivet.model.Preprocessing;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;

/**
 * Trains a float model from scratch. The output folder holds, after each epoch, {@code model.safetensors} and
 * {@code config.json} in timm's form, {@code log.csv}, and {@code checkpoint.safetensors} to resume from; each file is
 * replaced as a whole. The kept model is that of the last epoch, never the best on the test images: choosing by them would
 * make their accuracy an overestimate.
 */
public final class FloatTraining {
    private final Geometry geometry;
    private final Preprocessing preprocessing;
    private final TrainingSettings settings;
    private final Path output;

    /**
     * @param output folder to write, created if missing
     * @throws IllegalArgumentException if preprocessing and model do not fit each other, or one of them is what timm's config cannot
     *     say: images that are padded or squashed, a LayerNorm with another epsilon, windows padded before the shift
     */
    public FloatTraining(Geometry geometry, Preprocessing preprocessing, TrainingSettings settings, Path output) {
        if (preprocessing.channels() != geometry.channels() || preprocessing.imageSize() != geometry.imageSize()) {
            throw new IllegalArgumentException("preprocessing gives " + preprocessing.channels() + " x "
                    + preprocessing.imageSize() + " images, the model takes " + geometry.channels() + " x "
                    + geometry.imageSize());
        }
        if (preprocessing.resize() < preprocessing.imageSize()) {
            throw new IllegalArgumentException("timm's config cannot say that images are padded");
        }
        TrainingOutput.requireDescribable(geometry, preprocessing);
        this.geometry = geometry;
        this.preprocessing = preprocessing;
        this.settings = settings;
        this.output = output;
    }

    /**
     * Trains to the last epoch, and loads PyTorch's native library to do so.
     *
     * @param resume whether to go on from the output folder's checkpoint; without it the folder must not hold one
     * @return share of the test images classified correctly at the end
     * @throws BadInputException if the data do not fit the model, the output cannot be written, there is no checkpoint to
     *     resume or it belongs to another training, or the training diverges
     */
    public double run(LabelledImages train, LabelledImages test, boolean resume, TrainingListener listener) {
        Path checkpoint = output.resolve(Checkpoint.FILE_NAME);
        if (resume && !Files.isRegularFile(checkpoint)) {
            throw new BadInputException(checkpoint, "does not exist", "start the training without resuming");
        }
        if (!resume && Files.exists(checkpoint)) {
            throw new BadInputException(
                    checkpoint, "is there from an earlier training", "resume it or name an empty output folder");
        }
        ImageSet trainImages = ImageSet.of(train, geometry, preprocessing);
        ImageSet testImages = ImageSet.of(test, geometry, preprocessing);
        TrainingOutput files = new TrainingOutput(output, geometry, preprocessing, train.classNames());
        Torch.load();
        try (TrainableModel model = TrainableModel.of(geometry, Projection.PLAIN, settings.seed());
                Trainer trainer = new Trainer(
                        model, preprocessing, trainImages, settings, identity(trainImages), checkpoint, listener)) {
            if (resume) {
                trainer.resume();
                files.keepRows(trainer.epochsDone());
            }
            double accuracy = Double.NaN;
            while (trainer.epochsDone() < settings.epochs()) {
                long start = System.nanoTime();
                Trainer.EpochResult result = trainer.epoch();
                accuracy = trainer.accuracy(testImages);
                TrainingListener.EpochReport report = new TrainingListener.EpochReport(
                        trainer.epochsDone(),
                        settings.epochs(),
                        result.loss(),
                        result.learningRate(),
                        result.trainAccuracy(),
                        accuracy,
                        (System.nanoTime() - start) / 1e9);
                files.write(trainer.weights(), report);
                trainer.save();
                listener.epoch(report);
            }
            return Double.isNaN(accuracy) ? trainer.accuracy(testImages) : accuracy;
        }
    }

    /** Threads are no part of it: another number changes the last bits, not what is trained. */
    private Map<String, String> identity(ImageSet train) {
        Map<String, String> identity = new TreeMap<>();
        identity.put("model", geometry + " " + preprocessing);
        identity.put("data", train.size() + " images, SHA-256 " + train.digest());
        identity.put("settings", settings.withThreads(1).toString());
        return identity;
    }
}
