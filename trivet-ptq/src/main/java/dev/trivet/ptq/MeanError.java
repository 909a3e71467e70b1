package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.BadInputException;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongArray;

/**
 * The mean over images of an error per channel, added by several threads in any order. As in {@link Scores}, each image's
 * value is rounded to a multiple of 2^-40 and added as an integer, so that the mean does not depend on the order to the last
 * bit. Similarities are at most 1, errors are not: whole and fractional parts are counted apart, which leaves room for
 * errors up to 2^40 over 2^22 images.
 */
final class MeanError {
    private static final double UNIT = 1L << 40;
    private static final double LIMIT = 1L << 40;

    private final int channels;
    private final AtomicLongArray wholes;
    private final AtomicLongArray fractions;
    private final AtomicInteger images = new AtomicInteger();

    MeanError(int channels) {
        this.channels = channels;
        wholes = new AtomicLongArray(channels);
        fractions = new AtomicLongArray(channels);
    }

    int channels() {
        return channels;
    }

    /**
     * Adds one image.
     *
     * @param errors {@code [channels]}: the image's mean over its rows
     * @throws BadInputException if an error is not finite or beyond 2^40
     */
    void add(double[] errors) {
        if (errors.length != channels) {
            throw new IllegalArgumentException(errors.length + " errors for " + channels + " channels");
        }
        for (double error : errors) {
            if (!(Math.abs(error) < LIMIT)) {
                throw new BadInputException(
                        "the model's activations overflow on a calibration image; check the weights and the preprocessing");
            }
        }
        for (int c = 0; c < channels; c++) {
            double whole = Math.floor(errors[c]);
            wholes.addAndGet(c, (long) whole);
            fractions.addAndGet(c, Math.round((errors[c] - whole) * UNIT));
        }
        images.incrementAndGet();
    }

    /**
     * Adds one image: the mean over its rows of {@code quantized - output}.
     *
     * @param output float32 {@code [rows, channels]}
     * @param quantized float32 {@code [rows, channels]}
     * @param rows at least 1
     * @throws BadInputException if a mean is not finite or beyond 2^40
     */
    void add(MemorySegment output, MemorySegment quantized, int rows) {
        double[] means = new double[channels];
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < channels; c++) {
                long at = (long) r * channels + c;
                means[c] += (double) quantized.getAtIndex(JAVA_FLOAT, at) - output.getAtIndex(JAVA_FLOAT, at);
            }
        }
        for (int c = 0; c < channels; c++) {
            means[c] /= rows;
        }
        add(means);
    }

    /** {@code [channels]}: mean over the images added so far, 0 if there are none. Call it when all threads are done. */
    double[] mean() {
        double[] mean = new double[channels];
        int count = Math.max(1, images.get());
        for (int c = 0; c < channels; c++) {
            mean[c] = (wholes.get(c) + fractions.get(c) / UNIT) / count;
        }
        return mean;
    }
}
