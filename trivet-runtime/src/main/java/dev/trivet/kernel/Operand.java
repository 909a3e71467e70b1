package dev.trivet.kernel;

import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * In what form a product reads one of its operands: plain float32, one byte per element by a quantizer, or two bytes where
 * the quantizer's codes need more than eight bits. Immutable; the numbers that kernels need are worked out once.
 */
public final class Operand {
    /** Plain float32. */
    public static final Operand FLOAT = new Operand(null, null, null, 0);

    private final @Nullable ActivationQuantizer quantizer;
    final boolean integer;
    final float inverseScale;
    /** Range of {@code x * inverseScale}, before the zero point is added. */
    final float low;

    final float high;
    final int zeroPoint;
    /** Whether a code takes two bytes. */
    final boolean wide;
    /** Null where every code is in use. */
    final @Nullable LevelTable levels;

    /** Per channel, before the quantizer; both null where the operand is read as it is. */
    final float @Nullable [] factor;

    final float @Nullable [] offset;

    /** Elements from one row to the next; 0 where rows follow each other. */
    private final int stride;

    /** This operand for values that have been scaled, and the zero point added, by the function that they are of. */
    final Operand steps;

    private Operand(
            @Nullable ActivationQuantizer quantizer, float @Nullable [] factor, float @Nullable [] offset, int stride) {
        this.quantizer = quantizer;
        this.factor = factor;
        this.offset = offset;
        this.stride = stride;
        integer = quantizer != null;
        inverseScale = quantizer == null ? 1 : quantizer.inverseScale();
        low = quantizer == null ? 0 : quantizer.lowest() - quantizer.zeroPoint();
        high = quantizer == null ? 0 : quantizer.highest() - quantizer.zeroPoint();
        zeroPoint = quantizer == null ? 0 : quantizer.zeroPoint();
        wide = quantizer != null && quantizer.wide();
        levels = quantizer == null || quantizer.levels().isEmpty() ? null : levels(quantizer);
        steps = new Operand(this);
    }

    private Operand(Operand operand) {
        quantizer = operand.quantizer;
        integer = operand.integer;
        inverseScale = 1;
        low = operand.low + operand.zeroPoint;
        high = operand.high + operand.zeroPoint;
        zeroPoint = 0;
        wide = operand.wide;
        levels = operand.levels;
        factor = null;
        offset = null;
        stride = operand.stride;
        steps = this;
    }

    private static LevelTable levels(ActivationQuantizer quantizer) {
        byte[] table = new byte[256];
        for (int code = quantizer.lowest(); code <= quantizer.highest(); code++) {
            table[code & 0xff] = (byte) quantizer.level(code);
        }
        return new LevelTable(table);
    }

    /** Codes of a quantizer: one byte each, two where it has more than eight bits. */
    public static Operand of(ActivationQuantizer quantizer) {
        return new Operand(quantizer, null, null, 0);
    }

    /** An operand that {@link Pointwise#encode} changes channel by channel before it quantizes it. */
    public static Operand of(ActivationQuantizer quantizer, ChannelAffine equalization) {
        return new Operand(quantizer, equalization.factor(), equalization.offset(), 0);
    }

    /** The same with rows that many elements apart, {@link Linear#inputStride}; {@link Pointwise#encode}, which knows no rows, does not write such. */
    public Operand withStride(int other) {
        return other == stride ? this : new Operand(quantizer, factor, offset, other);
    }

    /** Elements from one row of so many columns to the next. */
    public int stride(int columns) {
        return stride == 0 ? columns : stride;
    }

    /** Whether a code takes one byte. */
    public boolean isByte() {
        return integer && !wide;
    }

    /** Channels of a row, or {@code otherwise} where they are all alike. */
    int channels(int otherwise) {
        return factor == null ? otherwise : factor.length;
    }

    float equalized(float x, int channel) {
        return factor == null || offset == null ? x : Math.fma(x, factor[channel], offset[channel]);
    }

    /** Absent for float32. */
    public Optional<ActivationQuantizer> quantizer() {
        return Optional.ofNullable(quantizer);
    }

    /** Whether elements are codes and not float32. */
    public boolean isInteger() {
        return integer;
    }

    /** Whether a code takes two bytes. */
    public boolean isWide() {
        return wide;
    }

    /** Bytes of one element. */
    public int bytes() {
        return wide ? Short.BYTES : integer ? 1 : Float.BYTES;
    }

    @Override
    public String toString() {
        return quantizer == null ? "float32" : quantizer.toString();
    }
}
