package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;

/**
 * How the raw result of a {@link Linear} becomes a value, per output column {@code n}:
 *
 * <pre>float:    value = raw + bias[n]
 * integer:  value = (raw - correction[n]) * scale[n] + bias[n]      (one fused multiply-add)</pre>
 *
 * where {@code correction[n] = zeroPoint * sum_k weight[n, k]} undoes the zero point of the left operand.
 *
 * @param integer whether raw results are int32
 * @param columns number of output columns
 * @param correction int32 {@code [columns]}
 * @param scale float32 {@code [columns]}
 * @param bias float32 {@code [columns]}
 */
public record Product(
        boolean integer, int columns, MemorySegment correction, MemorySegment scale, MemorySegment bias) {}
