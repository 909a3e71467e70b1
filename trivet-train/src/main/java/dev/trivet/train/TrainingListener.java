package dev.trivet.train;

import java.time.Duration;

/** Hears how a training goes, on the thread that trains. */
public interface TrainingListener {
    /**
     * After a step.
     *
     * @param epoch epoch now running, from 1
     * @param epochs how many there will be
     * @param step steps done in this epoch
     * @param steps steps of an epoch
     * @param loss loss of this batch
     * @param accuracy share of this epoch's images classified correctly so far, augmented as they are
     * @param imagesPerSecond rate in this epoch
     * @param left estimate of the time to the end at that rate, without the evaluations
     */
    record StepReport(
            int epoch,
            int epochs,
            int step,
            int steps,
            double loss,
            double accuracy,
            double imagesPerSecond,
            Duration left) {}

    /**
     * After an epoch, when its checkpoint has been written.
     *
     * @param stage form of the weights: float, w8a8 or ternary
     * @param epoch the epoch, from 1, counted through all stages
     * @param epochs how many there will be; 0 if unknown
     * @param loss mean training loss
     * @param learningRate rate of its last step
     * @param trainAccuracy share of the augmented training images classified correctly while training
     * @param testAccuracy share of the test images classified correctly after the epoch
     * @param seconds duration with evaluation
     */
    record EpochReport(
            String stage,
            int epoch,
            int epochs,
            double loss,
            double learningRate,
            double trainAccuracy,
            double testAccuracy,
            double seconds) {}

    /** A decision worth telling, one line: the precision chosen, the checkpoint resumed. */
    default void note(String line) {}

    /** After each step. */
    default void step(StepReport report) {}

    /** After each epoch, once its accuracy is known. */
    default void epoch(EpochReport report) {}
}
