package dev.trivet.train;

import dev.trivet.quant.TernaryWeights;
import java.util.Locale;

/**
 * How to train.
 *
 * @param recipe what is trained
 * @param epochs passes over the training images, of all stages together, at least 1
 * @param labelSmoothing share of the target spread over all classes, in [0, 1)
 * @param dropPath share of the last block's residual branches that is left out, see {@link DropPath}, in [0, 1)
 * @param seed decides initial weights, order and augmentation
 * @param precision number format of the matrix products
 * @param device what forward and backward passes run on
 * @param threads replicas of the model that share each batch, one CPU thread each, at least 1; results repeat bit for bit only with the same number
 */
public record TrainingSettings(
        Recipe recipe,
        int epochs,
        Steps steps,
        Variation variation,
        double labelSmoothing,
        double dropPath,
        Distillation distillation,
        Quantization quantization,
        long seed,
        Precision precision,
        Device device,
        int threads) {

    /**
     * How gradients become steps.
     *
     * @param batchSize images per step, at least 1
     * @param accumulation parts that a thread's share of a batch is computed in, one after another, to hold less in memory
     * @param learningRate peak of the schedule (warm-up, then cosine to 0, in each stage), positive
     * @param weightDecay decoupled decay of the weight matrices, not negative
     * @param warmupEpochs length of the warm-up in epochs, may be a fraction; cut to the epochs of a stage
     * @param gradientClip largest global gradient norm, positive; infinity for no clipping
     * @param averageDecay decay per step of the running average of the parameters that is evaluated and written, in [0, 1); 0
     *     for the parameters themselves
     * @param rule which optimizer
     */
    public record Steps(
            int batchSize,
            int accumulation,
            double learningRate,
            double weightDecay,
            double warmupEpochs,
            double gradientClip,
            double averageDecay,
            UpdateRule rule) {
        /** @throws IllegalArgumentException if a value is outside its range; the message says which */
        public Steps {
            check(batchSize >= 1 && batchSize <= 1 << 16, "batch size", batchSize);
            check(accumulation >= 1 && accumulation <= batchSize, "accumulation", accumulation);
            check(learningRate > 0 && learningRate <= 10, "learning rate", learningRate);
            check(weightDecay >= 0 && weightDecay <= 10, "weight decay", weightDecay);
            check(warmupEpochs >= 0, "warm-up epochs", warmupEpochs);
            check(gradientClip > 0, "gradient clip", gradientClip);
            check(averageDecay >= 0 && averageDecay < 1, "average decay", averageDecay);
        }
    }

    /**
     * How images are varied.
     *
     * @param cropPadding border of the random crop, pixels; 0 for no crop
     * @param smallestCrop least area of a random resized crop, in (0, 1], which then takes the other crop's place; 1 for none
     * @param flip whether images are mirrored at random
     * @param mixup parameter of mixup's Beta distribution; 0 for no mixup
     * @param cutmix the same of CutMix
     * @param repeats variations of an image in one batch, at least 1
     */
    public record Variation(
            int cropPadding, double smallestCrop, boolean flip, double mixup, double cutmix, int repeats) {
        /** @throws IllegalArgumentException if a value is outside its range; the message says which */
        public Variation {
            check(cropPadding >= 0 && cropPadding <= 1 << 10, "crop padding", cropPadding);
            check(smallestCrop > 0 && smallestCrop <= 1, "smallest crop", smallestCrop);
            check(mixup >= 0 && mixup <= 8, "mixup", mixup);
            check(cutmix >= 0 && cutmix <= 8, "cutmix", cutmix);
            check(repeats >= 1 && repeats <= 1 << 10, "repeats", repeats);
        }
    }

    /**
     * How a quantized model learns from the float model that it starts as.
     *
     * @param targets what of it
     * @param weight share of the loss, in [0, 1]; the labels have the rest
     * @param temperature that both models' logits are divided by for {@link Targets#SOFT}, positive
     * @param attention what the distance of attention weights is multiplied by before it is added to the loss, not negative; 0 for no such term
     * @param features the same for what the blocks give
     */
    public record Distillation(Targets targets, double weight, double temperature, double attention, double features) {
        /** What is learned from. */
        public enum Targets {
            /** Nothing. */
            NONE,
            /** The float model's answer as a label. */
            HARD,
            /** Its probabilities. */
            SOFT,
            /** Half each. */
            BOTH
        }

        /** Labels alone. */
        public static final Distillation NONE = new Distillation(Targets.NONE, 0, 1, 0, 0);

        /** @throws IllegalArgumentException if a value is outside its range; the message says which */
        public Distillation {
            check(weight >= 0 && weight <= 1, "distillation weight", weight);
            check(temperature > 0 && temperature <= 100, "temperature", temperature);
            check(attention >= 0 && attention <= 1e6, "weight of attention", attention);
            check(features >= 0 && features <= 1e6, "weight of features", features);
        }

        /** Whether the float model is needed. */
        boolean needsTeacher() {
            return targets != Targets.NONE || needsFeatures();
        }

        /** Whether what its blocks compute is needed. */
        boolean needsFeatures() {
            return attention > 0 || features > 0;
        }
    }

    /**
     * How weights are quantized, where the recipe quantizes them.
     *
     * @param eightBitEpochs epochs of the first stage of {@link Recipe#TERVIT}, in [1, epochs)
     * @param byChannel whether each output channel has a threshold and a scale of its own
     * @param scale of ternary weights
     * @param clip latent weights of this magnitude or more get no gradient; infinity for all
     * @param edges whether patch embedding and heads are ternary too; otherwise they have 8 bits
     */
    public record Quantization(
            int eightBitEpochs, boolean byChannel, TernaryWeights.Scale scale, double clip, boolean edges) {
        /** @throws IllegalArgumentException if a value is outside its range; the message says which */
        public Quantization {
            check(eightBitEpochs >= 1, "epochs of the 8-bit stage", eightBitEpochs);
            check(clip > 0, "ternary clip", clip);
        }
    }

    /** @throws IllegalArgumentException if a value is outside its range; the message says which */
    public TrainingSettings {
        check(epochs >= 1 && epochs <= 1_000_000, "epochs", epochs);
        check(
                recipe != Recipe.TERVIT || quantization.eightBitEpochs() < epochs,
                "epochs of the 8-bit stage",
                quantization.eightBitEpochs());
        check(labelSmoothing >= 0 && labelSmoothing < 1, "label smoothing", labelSmoothing);
        check(dropPath >= 0 && dropPath < 1, "drop path", dropPath);
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
                Recipe.FLOAT,
                25,
                new Steps(64, 1, 2e-3, 0.05, 0.5, 1, 0.999, UpdateRule.MUON),
                new Variation(1, 1, true, 0, 0, 1),
                0.1,
                0,
                Distillation.NONE,
                new Quantization(1, true, TernaryWeights.Scale.SURVIVORS, 2.5, false),
                1,
                Precision.AUTO,
                Device.AUTO,
                Runtime.getRuntime().availableProcessors());
    }

    /** What must be the same for a training to go on; threads change the last bits, not what is trained. */
    String identity() {
        return String.format(
                Locale.ROOT,
                "%s, %d epochs, %s, %s, labelSmoothing=%s, dropPath=%s, %s, %s, seed=%d, %s",
                recipe,
                epochs,
                steps,
                variation,
                labelSmoothing,
                dropPath,
                distillation,
                recipe.quantizes() ? quantization.toString() : "not quantized",
                seed,
                precision);
    }

    DropPath paths() {
        return new DropPath(dropPath, seed);
    }

    Mixing mixing() {
        return new Mixing(variation.mixup(), variation.cutmix(), seed);
    }

    Augmentation augmentation() {
        return new Augmentation(variation.cropPadding(), variation.smallestCrop(), variation.flip(), seed);
    }
}
