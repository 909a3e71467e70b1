package dev.trivet.format;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;

/**
 * Weight codes at their true width, 2 to 10 bits. Each row (output channel) is a bit stream of its own that begins at a byte:
 *
 * <pre>code k occupies bits k * bits .. (k + 1) * bits - 1 of its row, bit j being bit j % 8 (1 is the lowest) of byte j / 8</pre>
 *
 * A code is stored as the low {@code bits} bits of its two's complement, so at 8 bits a row is the plain array of signed bytes.
 * Bits behind a row's last code are zero. Rows that begin at a byte can be expanded one by one, and cost less than a byte each.
 */
public final class BitPacking {
    private BitPacking() {}

    /** Bytes that one row takes. */
    public static int bytesPerRow(int columns, int bits) {
        checkWidth(bits);
        return (int) (((long) columns * bits + 7) / 8);
    }

    /**
     * Packs a matrix.
     *
     * @param codes signed {@code [rows, columns]}, stored as {@link LinearLayer.Quantized#codes} says
     * @return {@code [rows, bytesPerRow]}
     * @throws IllegalArgumentException if a code needs more bits, or the codes are not that many
     */
    public static byte[] pack(MemorySegment codes, int rows, int columns, int bits) {
        int rowBytes = bytesPerRow(columns, bits);
        int codeBytes = codeBytes(bits);
        if (codes.byteSize() != (long) rows * columns * codeBytes) {
            throw new IllegalArgumentException(codes.byteSize() + " bytes for " + rows + " x " + columns + " codes");
        }
        byte[] packed = new byte[arraySize((long) rows * rowBytes)];
        int half = 1 << (bits - 1);
        int mask = (1 << bits) - 1;
        long read = 0;
        for (int r = 0; r < rows; r++) {
            int at = r * rowBytes;
            int waiting = 0;
            int count = 0;
            for (int c = 0; c < columns; c++) {
                int code = codeBytes == 2 ? codes.get(LinearLayer.Quantized.CODE, read) : codes.get(JAVA_BYTE, read);
                read += codeBytes;
                if (code < -half || code >= half) {
                    throw new IllegalArgumentException("the code " + code + " does not fit " + bits + " bits");
                }
                waiting |= (code & mask) << count;
                for (count += bits; count >= 8; count -= 8) {
                    packed[at++] = (byte) waiting;
                    waiting >>>= 8;
                }
            }
            if (count > 0) {
                packed[at] = (byte) waiting;
            }
        }
        return packed;
    }

    /**
     * Expands what {@link #pack} wrote.
     *
     * @param packed {@code [rows, bytesPerRow]}
     * @return signed {@code [rows, columns]}, stored as {@link LinearLayer.Quantized#codes} says, on the heap
     * @throws IllegalArgumentException if the size is not that of the matrix, or a bit behind a row's last code is set
     */
    public static MemorySegment unpack(MemorySegment packed, int rows, int columns, int bits) {
        MemorySegment codes = MemorySegment.ofArray(new byte[arraySize((long) rows * columns * codeBytes(bits))]);
        unpack(packed, rows, columns, bits, codes);
        return codes;
    }

    /** The same into memory that is there, of exactly the codes' size. */
    static void unpack(MemorySegment packed, int rows, int columns, int bits, MemorySegment codes) {
        int rowBytes = bytesPerRow(columns, bits);
        if (packed.byteSize() != (long) rows * rowBytes) {
            throw new IllegalArgumentException(
                    packed.byteSize() + " bytes for " + rows + " rows of " + columns + " codes of " + bits + " bits");
        }
        boolean wide = codeBytes(bits) == 2;
        byte[] bytes = new byte[rowBytes];
        short[] row = new short[columns];
        byte[] narrow = new byte[wide ? 0 : columns];
        for (int r = 0; r < rows; r++) {
            MemorySegment.copy(packed, JAVA_BYTE, (long) r * rowBytes, bytes, 0, rowBytes);
            if (unpackRow(bytes, row, bits) != 0) {
                throw new IllegalArgumentException("row " + r + " has bits behind its last code");
            }
            long first = (long) r * columns;
            if (wide) {
                MemorySegment.copy(row, 0, codes, LinearLayer.Quantized.CODE, 2 * first, columns);
            } else {
                for (int c = 0; c < columns; c++) {
                    narrow[c] = (byte) row[c];
                }
                MemorySegment.copy(narrow, 0, codes, JAVA_BYTE, first, columns);
            }
        }
    }

    /** Fills {@code row} and returns the bits that are left over. */
    private static int unpackRow(byte[] bytes, short[] row, int bits) {
        int unused = Integer.SIZE - bits;
        int at = 0;
        int waiting = 0;
        int count = 0;
        for (int c = 0; c < row.length; c++) {
            while (count < bits) {
                waiting |= (bytes[at++] & 0xff) << count;
                count += 8;
            }
            row[c] = (short) (waiting << unused >> unused); // the arithmetic shift copies the sign down
            waiting >>>= bits;
            count -= bits;
        }
        return waiting;
    }

    /** Bytes that a code of so many bits takes when it is not packed. */
    static int codeBytes(int bits) {
        return bits > 8 ? 2 : 1;
    }

    private static int arraySize(long bytes) {
        if (bytes > Integer.MAX_VALUE - 8) {
            throw new IllegalArgumentException("a matrix of " + bytes + " bytes is larger than an array can be");
        }
        return (int) bytes;
    }

    private static void checkWidth(int bits) {
        if (bits < 2 || bits > ActivationQuantizer.MOST_BITS) {
            throw new IllegalArgumentException(
                    "weights of " + bits + " bits; 2 to " + ActivationQuantizer.MOST_BITS + " are known");
        }
    }
}
