package dev.trivet.quant;

import java.util.Optional;

/**
 * The codes that a layer's weights are written in, narrowest first: the three values -1, 0 and 1, or two's complement of 2 to 10 bits.
 * To the kernels all of them are signed integers; they differ in what a weight can be and in the bytes that a file spends on it.
 */
@SuppressWarnings("EnumOrdinal") // widths are constants in their order
public enum WeightCoding {
    /** -1, 0 and 1; five codes to a byte in a file. */
    TERNARY,
    /** -2 to 1. */
    BITS_2,
    /** -4 to 3. */
    BITS_3,
    /** -8 to 7. */
    BITS_4,
    /** -16 to 15. */
    BITS_5,
    /** -32 to 31. */
    BITS_6,
    /** -64 to 63. */
    BITS_7,
    /** -128 to 127. */
    BITS_8,
    /** -256 to 255; two bytes in memory. */
    BITS_9,
    /** -512 to 511; two bytes in memory. */
    BITS_10;

    private static final int FEWEST_BITS = 2;
    private static final WeightCoding[] ALL = values();

    /**
     * Two's complement of that width.
     *
     * @throws IllegalArgumentException if the width is not known
     */
    public static WeightCoding ofBits(int bits) {
        if (bits < FEWEST_BITS || bits > ActivationQuantizer.MOST_BITS) {
            throw new IllegalArgumentException(
                    "weights of " + bits + " bits; 2 to " + ActivationQuantizer.MOST_BITS + " are known");
        }
        return ALL[bits - FEWEST_BITS + BITS_2.ordinal()];
    }

    /** What {@link #toString} writes, read back. */
    public static Optional<WeightCoding> named(String text) {
        for (WeightCoding coding : ALL) {
            if (coding.toString().equals(text)) {
                return Optional.of(coding);
            }
        }
        return Optional.empty();
    }

    /** Bits that a code takes on its own: 2 where it is ternary, though a file puts five such codes into a byte. */
    public int bits() {
        return Math.max(FEWEST_BITS, ordinal() - BITS_2.ordinal() + FEWEST_BITS);
    }

    /** The smallest code. */
    public int lowest() {
        return this == TERNARY ? -1 : -(1 << (bits() - 1));
    }

    /** The largest code. */
    public int highest() {
        return (1 << (bits() - 1)) - 1;
    }

    /** Whether a code takes two bytes in memory. */
    public boolean wide() {
        return bits() > Byte.SIZE;
    }

    /** {@code ternary}, or the number of bits. */
    @Override
    public String toString() {
        return this == TERNARY ? "ternary" : String.valueOf(bits());
    }

    /** {@code ternary} or such as {@code 8 bit}. */
    public String label() {
        return this == TERNARY ? "ternary" : bits() + " bit";
    }
}
