package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;

/**
 * Smallest and largest value seen; the initial quantizers come from it. Joining is order-free, so the result does not depend
 * on how images were spread over threads.
 */
final class ValueRange {
    private float lowest;
    private float highest;

    /** Starts at zero: a range always holds zero, so that zero has a code. */
    ValueRange() {}

    /** @param values float32 {@code [count]} */
    void add(MemorySegment values, long count) {
        float low = Float.POSITIVE_INFINITY;
        float high = Float.NEGATIVE_INFINITY;
        for (long i = 0; i < count; i++) {
            float v = values.getAtIndex(JAVA_FLOAT, i);
            low = Math.min(low, v);
            high = Math.max(high, v);
        }
        if (!Float.isFinite(low) || !Float.isFinite(high)) {
            throw new dev.trivet.BadInputException(
                    "the model's activations overflow on a calibration image; check the weights and the preprocessing");
        }
        join(low, high);
    }

    private synchronized void join(float low, float high) {
        lowest = Math.min(lowest, low);
        highest = Math.max(highest, high);
    }

    synchronized float lowest() {
        return lowest;
    }

    synchronized float highest() {
        return highest;
    }

    /** Unsigned codes that reach from the lowest to the highest value, zero exact. */
    ActivationQuantizer asymmetric(int bits) {
        int most = (1 << bits) - 1;
        float scale = positive((highest() - lowest()) / most);
        int zero = Math.clamp(Math.round(-lowest() / scale), 0, most);
        return new ActivationQuantizer(scale, zero, 0, most);
    }

    /**
     * The paper's symmetric grid -2^(b-1) .. 2^(b-1) - 1, stored with an offset so that codes are unsigned. The initial step is
     * max|x| / (2^(b-1) - 0.5), which gives both ends of the grid half a step of room.
     */
    ActivationQuantizer symmetricUnsigned(int bits) {
        int half = 1 << (bits - 1);
        return new ActivationQuantizer(symmetricScale(bits), half, 0, 2 * half - 1);
    }

    /** The same grid with signed codes and zero point 0, as the attention products read it. */
    ActivationQuantizer symmetricSigned(int bits) {
        int half = 1 << (bits - 1);
        return new ActivationQuantizer(symmetricScale(bits), 0, -half, half - 1);
    }

    private float symmetricScale(int bits) {
        return positive(Math.max(highest(), -lowest()) / ((1 << (bits - 1)) - 0.5f));
    }

    /** A tensor of zeros still needs a scale. */
    private static float positive(float scale) {
        return Math.max(scale, 1e-20f);
    }
}
