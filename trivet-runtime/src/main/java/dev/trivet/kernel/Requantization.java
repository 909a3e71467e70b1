package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/**
 * How the int32 sums of a layer that makes queries, keys and values become signed bytes at once:
 *
 * <pre>code = clamp(round(raw * scale[n] + offset[n]), -128, 127)</pre>
 *
 * a multiplication, an addition, rounding to nearest, ties to even. Scale and offset are the {@link Product}'s divided by the step of the
 * operand that column {@code n} belongs to.
 *
 * @param columns number of output columns
 * @param scale float32 {@code [columns]}
 * @param offset float32 {@code [columns]}
 * @param stride codes from one row to the next
 */
public record Requantization(int columns, MemorySegment scale, MemorySegment offset, int stride) {
    static final int LOW = Byte.MIN_VALUE;
    static final int HIGH = Byte.MAX_VALUE;

    /** Rows of codes that follow each other. */
    public Requantization(int columns, MemorySegment scale, MemorySegment offset) {
        this(columns, scale, offset, columns);
    }

    /**
     * The requantization of queries, keys and values, a third of the columns each, where all three use every code of a signed byte.
     *
     * @param arena owns what it holds
     */
    public static Optional<Requantization> of(Product product, AttentionOperands operands, Arena arena) {
        if (!product.integer()
                || !isSignedByte(operands.query())
                || !isSignedByte(operands.key())
                || !isSignedByte(operands.value())) {
            return Optional.empty();
        }
        int columns = product.columns();
        MemorySegment scale = arena.allocate(JAVA_FLOAT, columns);
        MemorySegment offset = arena.allocate(JAVA_FLOAT, columns);
        Operand[] parts = {operands.query(), operands.key(), operands.value()};
        for (int n = 0; n < columns; n++) {
            float steps = parts[n / (columns / 3)].inverseScale;
            scale.setAtIndex(JAVA_FLOAT, n, product.scale().getAtIndex(JAVA_FLOAT, n) * steps);
            offset.setAtIndex(JAVA_FLOAT, n, product.offset().getAtIndex(JAVA_FLOAT, n) * steps);
        }
        return Optional.of(new Requantization(columns, scale, offset));
    }

    /** The same with rows of codes that far apart. */
    public Requantization withStride(int other) {
        return new Requantization(columns, scale, offset, other);
    }

    private static boolean isSignedByte(Operand operand) {
        return operand.integer
                && !operand.wide
                && operand.levels == null
                && operand.factor == null
                && operand.zeroPoint == 0
                && operand.low == LOW
                && operand.high == HIGH;
    }
}
