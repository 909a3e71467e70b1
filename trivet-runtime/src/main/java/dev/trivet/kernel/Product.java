package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * How the raw result of a {@link Linear} becomes a value, per output column {@code n}:
 *
 * <pre>float:    value = raw + bias[n]
 * integer:  value = raw * scale[n] + offset[n]      (a multiplication, then an addition)</pre>
 *
 * where {@code offset[n] = bias[n] - zeroPoint * sum_k weight[n, k] * scale[n]} also undoes the zero point of the left operand. Two roundings and
 * no fused one, because that is what oneDNN computes inside its products on every instruction set, so a provider may leave it to
 * them and give the same bits.
 *
 * @param integer whether raw results are int32
 * @param columns number of output columns
 * @param scale float32 {@code [columns]}; empty for float
 * @param offset float32 {@code [columns]}; empty for float
 * @param bias float32 {@code [columns]}: the value where the input is zero
 */
public record Product(boolean integer, int columns, MemorySegment scale, MemorySegment offset, MemorySegment bias) {
    /**
     * A float product.
     *
     * @param bias float32 {@code [columns]}
     */
    public static Product ofFloats(int columns, MemorySegment bias) {
        return new Product(false, columns, MemorySegment.NULL, MemorySegment.NULL, bias);
    }

    /**
     * An integer product.
     *
     * @param zeroPoint of the left operand
     * @param weightSums {@code [columns]}: the sum of each output's codes
     * @param scale {@code [columns]}: what a raw result's step stands for
     * @param bias {@code [columns]}
     * @param arena owns what the product holds
     */
    public static Product ofIntegers(int zeroPoint, int[] weightSums, float[] scale, float[] bias, Arena arena) {
        float[] offset = new float[bias.length];
        for (int n = 0; n < offset.length; n++) {
            offset[n] = (float) (bias[n] - (double) zeroPoint * weightSums[n] * scale[n]);
        }
        return new Product(
                true,
                bias.length,
                arena.allocateFrom(JAVA_FLOAT, scale),
                arena.allocateFrom(JAVA_FLOAT, offset),
                arena.allocateFrom(JAVA_FLOAT, bias));
    }
}
