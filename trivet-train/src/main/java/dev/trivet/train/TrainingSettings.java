package dev.trivet.train;

/**
 * How to train.
 *
 * @param epochs passes over the training images, at least 1
 * @param batchSize images per step, at least 1
 * @param learningRate peak of the schedule (warm-up, then cosine to 0), positive
 * @param weightDecay decoupled decay of the weight matrices, not negative
 * @param warmupEpochs length of the warm-up in epochs, may be a fraction
 * @param labelSmoothing share of the target spread over all classes, in [0, 1)
 * @param gradientClip largest global gradient norm, positive; infinity for no clipping
 * @param cropPadding border of the random crop, pixels; 0 for no crop
 * @param flip whether images are mirrored at random
 * @param dropPath share of the last block's residual branches that is left out, see {@link DropPath}, in [0, 1)
 * @param averageDecay decay per step of the running average of the parameters that is evaluated and written, in [0, 1); 0
 *     for the parameters themselves
 * @param seed decides initial weights, order and augmentation
 * @param rule how gradients become steps
 * @param precision number format of the matrix products
 * @param threads replicas of the model that share each batch, one CPU thread each, at least 1; results repeat bit for bit only with the same number
 */
public record TrainingSettings(
        int epochs,
        int batchSize,
        double learningRate,
        double weightDecay,
        double warmupEpochs,
        double labelSmoothing,
        double gradientClip,
        int cropPadding,
        boolean flip,
        double dropPath,
        double averageDecay,
        long seed,
        UpdateRule rule,
        Precision precision,
        int threads) {

    /** @throws IllegalArgumentException if a value is outside its range; the message says which */
    public TrainingSettings {
        check(epochs >= 1 && epochs <= 1_000_000, "epochs", epochs);
        check(batchSize >= 1 && batchSize <= 1 << 16, "batch size", batchSize);
        check(learningRate > 0 && learningRate <= 10, "learning rate", learningRate);
        check(weightDecay >= 0 && weightDecay <= 10, "weight decay", weightDecay);
        check(warmupEpochs >= 0 && warmupEpochs <= epochs, "warm-up epochs", warmupEpochs);
        check(labelSmoothing >= 0 && labelSmoothing < 1, "label smoothing", labelSmoothing);
        check(gradientClip > 0, "gradient clip", gradientClip);
        check(cropPadding >= 0 && cropPadding <= 1 << 10, "crop padding", cropPadding);
        check(dropPath >= 0 && dropPath < 1, "drop path", dropPath);
        check(averageDecay >= 0 && averageDecay < 1, "average decay", averageDecay);
        check(threads >= 1 && threads <= 1 << 10, "threads", threads);
    }

    private static void check(boolean good, String what, Number value) {
        if (!good) {
            throw new IllegalArgumentException(what + " " + value + " is out of range");
        }
    }

    /** Settings for small grey images on a few CPU cores, the ones behind the embedded Fashion-MNIST model. */
    public static TrainingSettings defaults() {
        return new TrainingSettings(
                25,
                64,
                2e-3,
                0.05,
                0.5,
                0.1,
                1.0,
                1,
                true,
                0,
                0.999,
                1,
                UpdateRule.MUON,
                Precision.AUTO,
                Runtime.getRuntime().availableProcessors());
    }

    /** The same with another number of epochs; the warm-up is shortened where it would not fit. */
    public TrainingSettings withEpochs(int value) {
        return new TrainingSettings(
                value,
                batchSize,
                learningRate,
                weightDecay,
                Math.min(warmupEpochs, value),
                labelSmoothing,
                gradientClip,
                cropPadding,
                flip,
                dropPath,
                averageDecay,
                seed,
                rule,
                precision,
                threads);
    }

    public TrainingSettings withSeed(long value) {
        return new TrainingSettings(
                epochs,
                batchSize,
                learningRate,
                weightDecay,
                warmupEpochs,
                labelSmoothing,
                gradientClip,
                cropPadding,
                flip,
                dropPath,
                averageDecay,
                value,
                rule,
                precision,
                threads);
    }

    public TrainingSettings withThreads(int value) {
        return new TrainingSettings(
                epochs,
                batchSize,
                learningRate,
                weightDecay,
                warmupEpochs,
                labelSmoothing,
                gradientClip,
                cropPadding,
                flip,
                dropPath,
                averageDecay,
                seed,
                rule,
                precision,
                value);
    }

    public TrainingSettings withPrecision(Precision value) {
        return new TrainingSettings(
                epochs,
                batchSize,
                learningRate,
                weightDecay,
                warmupEpochs,
                labelSmoothing,
                gradientClip,
                cropPadding,
                flip,
                dropPath,
                averageDecay,
                seed,
                rule,
                value,
                threads);
    }

    DropPath paths() {
        return new DropPath(dropPath, seed);
    }

    Augmentation augmentation() {
        return new Augmentation(cropPadding, flip, seed);
    }
}
