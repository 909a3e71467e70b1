package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import dev.trivet.model.LinearLayer;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The symmetric weight quantizer: {@code code = clamp(round(w / scale), -2^(b-1), 2^(b-1) - 1)}, eq. (8) of Liu et al. 2021,
 * with one scale per output channel or one for several. Codes of more than 8 bits take two bytes each. Ternary codes are clamped to
 * -1 and 1, which puts the threshold at half the scale; with TWN's scale that is 0.74 mean|w| for normally distributed weights.
 */
final class WeightCodes {
    private WeightCodes() {}

    /**
     * {@code max|w| / (2^(b-1) - 0.5)} per group; for ternary codes TWN's scale ({@link TernaryWeights}).
     *
     * @param groups into how many runs of channels of equal length the outputs are cut
     * @return {@code [groups]}
     */
    static float[] initialScales(float[] weight, int outputs, int inputs, WeightCoding coding, int groups) {
        float[] scales = new float[groups];
        if (coding == WeightCoding.TERNARY) {
            float[] all = TernaryWeights.of(weight, outputs, inputs, groups, TernaryWeights.Scale.SURVIVORS)
                    .scales();
            for (int s = 0; s < groups; s++) {
                scales[s] = all[s * (all.length / groups)];
            }
            return scales;
        }
        for (int n = 0; n < outputs; n++) {
            float most = 0;
            for (int k = 0; k < inputs; k++) {
                most = Math.max(most, Math.abs(weight[n * inputs + k]));
            }
            int s = n / (outputs / groups);
            scales[s] = Math.max(scales[s], most / (coding.highest() + 0.5f));
        }
        for (int s = 0; s < scales.length; s++) {
            scales[s] = Math.max(scales[s], 1e-20f);
        }
        return scales;
    }

    /** Bytes of one code. */
    static int bytes(WeightCoding coding) {
        return coding.wide() ? 2 : 1;
    }

    /**
     * @param weight {@code [outputs, inputs]}
     * @param scales {@code [outputs]} or one value
     * @param codes signed {@code [outputs, inputs]}, {@link #bytes} each, overwritten
     * @param rowSums {@code [outputs]}: sum over inputs of each channel's codes, overwritten
     */
    static void encode(
            float[] weight,
            int outputs,
            int inputs,
            float[] scales,
            WeightCoding coding,
            MemorySegment codes,
            int[] rowSums) {
        float high = coding.highest();
        float low = coding.lowest();
        boolean wide = coding.wide();
        for (int n = 0; n < outputs; n++) {
            float inverse = 1f / scales[scales.length == 1 ? 0 : n];
            int sum = 0;
            for (int k = 0; k < inputs; k++) {
                int at = n * inputs + k;
                int code = (int) Math.rint((double) Math.min(Math.max(weight[at] * inverse, low), high));
                sum += code;
                if (wide) {
                    codes.set(LinearLayer.Quantized.CODE, 2L * at, (short) code);
                } else {
                    codes.set(JAVA_BYTE, at, (byte) code);
                }
            }
            rowSums[n] = sum;
        }
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
