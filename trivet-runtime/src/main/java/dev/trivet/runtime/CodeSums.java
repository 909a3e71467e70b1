package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import dev.trivet.model.LinearLayer;
import java.lang.foreign.MemorySegment;

/**
 * Sums of the codes of each output channel, which undo the zero point of the layer's input. Every weight of a model passes here before its
 * first image, so loops are over arrays that were filled in one go, and each in a method of its own: those are compiled soonest.
 */
final class CodeSums {
    /** Codes that are looked at together, if a channel is not longer. */
    private static final int CHUNK = 1 << 18;

    private CodeSums() {}

    /**
     * Sums {@code [outputs]}.
     *
     * @throws IllegalArgumentException if sums of products with the layer's input can exceed 32 bits
     */
    static int[] of(LinearLayer.Quantized layer) {
        int inputs = layer.inputs();
        int rows = Math.clamp(CHUNK / inputs, 1, layer.outputs());
        int[] sums = new int[layer.outputs()];
        byte[] bytes = new byte[layer.wide() ? 0 : Math.multiplyExact(rows, inputs)];
        short[] shorts = new short[layer.wide() ? Math.multiplyExact(rows, inputs) : 0];
        // Where even the largest codes would fit, nobody needs to look how large they are.
        boolean fits = (long) inputs * largest(layer) * layer.input().highest() <= Integer.MAX_VALUE;
        for (int first = 0; first < sums.length; first += rows) {
            int count = Math.min(rows, sums.length - first);
            long from = (long) first * inputs;
            if (layer.wide()) {
                MemorySegment.copy(layer.codes(), LinearLayer.Quantized.CODE, 2 * from, shorts, 0, count * inputs);
            } else {
                MemorySegment.copy(layer.codes(), JAVA_BYTE, from, bytes, 0, count * inputs);
            }
            for (int r = 0; r < count; r++) {
                int begin = r * inputs;
                sums[first + r] = layer.wide() ? sum(shorts, begin, begin + inputs) : sum(bytes, begin, begin + inputs);
                if (!fits) {
                    check(
                            layer,
                            layer.wide()
                                    ? magnitude(shorts, begin, begin + inputs)
                                    : magnitude(bytes, begin, begin + inputs));
                }
            }
        }
        return sums;
    }

    private static long largest(LinearLayer.Quantized layer) {
        return layer.wide() ? -Short.MIN_VALUE : -Byte.MIN_VALUE;
    }

    private static void check(LinearLayer.Quantized layer, long magnitude) {
        if (magnitude * layer.input().highest() > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("sums of " + layer.name() + " do not fit 32 bits; lower its bits");
        }
    }

    private static int sum(byte[] codes, int begin, int end) {
        int sum = 0;
        for (int k = begin; k < end; k++) {
            sum += codes[k];
        }
        return sum;
    }

    private static int sum(short[] codes, int begin, int end) {
        int sum = 0;
        for (int k = begin; k < end; k++) {
            sum += codes[k];
        }
        return sum;
    }

    private static long magnitude(byte[] codes, int begin, int end) {
        long magnitude = 0;
        for (int k = begin; k < end; k++) {
            magnitude += Math.abs(codes[k]);
        }
        return magnitude;
    }

    private static long magnitude(short[] codes, int begin, int end) {
        long magnitude = 0;
        for (int k = begin; k < end; k++) {
            magnitude += Math.abs(codes[k]);
        }
        return magnitude;
    }
}
