package dev.trivet.format;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;

/**
 * Ternary weight codes, five to a byte: 1.6 bits a weight, where the information in it is log2(3) = 1.58. Each row (output channel)
 * begins at a byte:
 *
 * <pre>byte b of a row = sum over i = 0..4 of d(5 b + i) 3^i,      d(k) = code k modulo 3: 0 -> 0, 1 -> 1, -1 -> 2</pre>
 *
 * Three to the fifth is 243, so the bytes 243 to 255 stand for nothing and are refused. Digits behind a row's last code are zero. Six
 * digits would need 729 values; twenty in four bytes are no denser.
 */
public final class TernaryPacking {
    private static final int CODES = 5;
    private static final int VALUES = 243;

    /** The five codes of every byte value, one after another. */
    private static final byte[] EXPANDED = new byte[VALUES * CODES];

    static {
        for (int value = 0; value < VALUES; value++) {
            int rest = value;
            for (int i = 0; i < CODES; i++) {
                EXPANDED[value * CODES + i] = (byte) (rest % 3 == 2 ? -1 : rest % 3);
                rest /= 3;
            }
        }
    }

    private TernaryPacking() {}

    /** Bytes that one row takes. */
    public static int bytesPerRow(int columns) {
        return Math.ceilDiv(columns, CODES);
    }

    /**
     * Packs a matrix.
     *
     * @param codes bytes {@code [rows, columns]}
     * @return {@code [rows, bytesPerRow]}
     * @throws IllegalArgumentException if a code is not -1, 0 or 1, or the codes are not that many
     */
    public static byte[] pack(MemorySegment codes, int rows, int columns) {
        if (codes.byteSize() != (long) rows * columns) {
            throw new IllegalArgumentException(codes.byteSize() + " bytes for " + rows + " x " + columns + " codes");
        }
        int rowBytes = bytesPerRow(columns);
        byte[] packed = new byte[Math.multiplyExact(rows, rowBytes)];
        for (int r = 0; r < rows; r++) {
            for (int b = 0; b < rowBytes; b++) {
                int first = b * CODES;
                int value = 0;
                for (int k = Math.min(columns, first + CODES) - 1; k >= first; k--) {
                    value = 3 * value + digit(codes.get(JAVA_BYTE, (long) r * columns + k));
                }
                packed[r * rowBytes + b] = (byte) value;
            }
        }
        return packed;
    }

    private static int digit(int code) {
        if (code < -1 || code > 1) {
            throw new IllegalArgumentException("the code " + code + " is not ternary");
        }
        return code < 0 ? 2 : code;
    }

    /**
     * Expands what {@link #pack} wrote.
     *
     * @param packed {@code [rows, bytesPerRow]}
     * @return bytes {@code [rows, columns]}, on the heap
     * @throws IllegalArgumentException if the size is not that of the matrix, a byte is above 242, or a digit behind a row's last
     *     code is not zero
     */
    public static MemorySegment unpack(MemorySegment packed, int rows, int columns) {
        MemorySegment codes = MemorySegment.ofArray(new byte[Math.multiplyExact(rows, columns)]);
        unpack(packed, rows, columns, codes);
        return codes;
    }

    /** The same into memory that is there, of exactly the codes' size. */
    static void unpack(MemorySegment packed, int rows, int columns, MemorySegment codes) {
        int rowBytes = bytesPerRow(columns);
        if (packed.byteSize() != (long) rows * rowBytes) {
            throw new IllegalArgumentException(
                    packed.byteSize() + " bytes for " + rows + " rows of " + columns + " ternary codes");
        }
        byte[] bytes = new byte[rowBytes];
        byte[] row = new byte[columns];
        for (int r = 0; r < rows; r++) {
            MemorySegment.copy(packed, JAVA_BYTE, (long) r * rowBytes, bytes, 0, rowBytes);
            for (int b = 0; b < rowBytes; b++) {
                int value = bytes[b] & 0xff;
                if (value >= VALUES) {
                    throw new IllegalArgumentException(
                            "row " + r + " holds the byte " + value + ", which is no five ternary codes");
                }
                int first = b * CODES;
                int count = Math.min(CODES, columns - first);
                System.arraycopy(EXPANDED, value * CODES, row, first, count);
                for (int i = count; i < CODES; i++) {
                    if (EXPANDED[value * CODES + i] != 0) {
                        throw new IllegalArgumentException("row " + r + " has codes behind its last");
                    }
                }
            }
            MemorySegment.copy(row, 0, codes, JAVA_BYTE, (long) r * columns, columns);
        }
    }
}
