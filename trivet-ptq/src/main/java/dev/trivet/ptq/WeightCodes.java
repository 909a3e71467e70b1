package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import dev.trivet.model.LinearLayer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The symmetric weight quantizer: {@code code = clamp(round(w / scale), -2^(b-1), 2^(b-1) - 1)}, eq. (8) of Liu et al. 2021,
 * with one scale per output channel or one for all.
 */
final class WeightCodes {
    private WeightCodes() {}

    /** {@code max|w| / (2^(b-1) - 0.5)} per channel {@code [outputs]}, or one value. */
    static float[] initialScales(float[] weight, int outputs, int inputs, int bits, boolean perChannel) {
        float[] scales = new float[perChannel ? outputs : 1];
        for (int n = 0; n < outputs; n++) {
            float most = 0;
            for (int k = 0; k < inputs; k++) {
                most = Math.max(most, Math.abs(weight[n * inputs + k]));
            }
            int s = perChannel ? n : 0;
            scales[s] = Math.max(scales[s], most / ((1 << (bits - 1)) - 0.5f));
        }
        for (int s = 0; s < scales.length; s++) {
            scales[s] = Math.max(scales[s], 1e-20f);
        }
        return scales;
    }

    /**
     * @param weight {@code [outputs, inputs]}
     * @param scales {@code [outputs]} or one value
     * @param codes signed bytes {@code [outputs, inputs]}, overwritten
     */
    static void encode(float[] weight, int outputs, int inputs, float[] scales, int bits, MemorySegment codes) {
        float high = (1 << (bits - 1)) - 1;
        float low = -high - 1;
        for (int n = 0; n < outputs; n++) {
            float inverse = 1f / scales[scales.length == 1 ? 0 : n];
            for (int k = 0; k < inputs; k++) {
                int at = n * inputs + k;
                float steps = Math.clamp(weight[at] * inverse, low, high);
                codes.set(JAVA_BYTE, at, (byte) Math.rint(steps));
            }
        }
    }

    /** Sum over inputs of each channel's codes. */
    static int[] rowSums(MemorySegment codes, int outputs, int inputs) {
        int[] sums = new int[outputs];
        for (int n = 0; n < outputs; n++) {
            for (int k = 0; k < inputs; k++) {
                sums[n] += codes.get(JAVA_BYTE, (long) n * inputs + k);
            }
        }
        return sums;
    }

    /** Codes as they are stored: bytes, or two bytes each. */
    static MemorySegment store(int[] codes, boolean wide, Arena arena) {
        MemorySegment stored = arena.allocate((wide ? 2L : 1L) * codes.length, 64);
        for (int i = 0; i < codes.length; i++) {
            if (wide) {
                stored.set(LinearLayer.Quantized.CODE, 2L * i, (short) codes[i]);
            } else {
                stored.set(JAVA_BYTE, i, (byte) codes[i]);
            }
        }
        return stored;
    }
}
