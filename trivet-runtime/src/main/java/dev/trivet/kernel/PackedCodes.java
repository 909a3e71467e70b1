package dev.trivet.kernel;

import static dev.trivet.kernel.NativeMemory.ALL;
import static dev.trivet.kernel.NativeMemory.ORDER;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Signed bytes of few values, kept at 1 to 7 bits each and expanded when they are needed. The order of the bytes means nothing
 * here, so what is packed is a provider's own layout of weights, and expanding it is one pass without any look-up.
 *
 * <p>A code less the lowest one is a number {@code u} of {@code b} bits; {@code b} is cut into parts of 4, 2 and 1 bits (7 = 4 + 2 +
 * 1), the first part taking the lowest bits of {@code u}. Each part is packed on its own, in groups of {@value #GROUP} codes: code
 * {@code i} of a group has the byte {@code i % 64} of the group's register {@code i / 64 * w / 8}, and in it the {@code w} bits from
 * {@code i / 64 * w % 8} on. So one register of packed bytes gives {@code 8 / w} registers of codes, each by a shift and a mask.
 *
 * <p>Immutable; any number of threads may expand at the same time. The memory belongs to the arena it was made with.
 */
final class PackedCodes {
    /** More bits than this save too little. */
    private static final int MOST_BITS = 7;

    private static final int REGISTER = 64;
    private static final int GROUP = 8 * REGISTER;
    private static final int STEP = IntVector.SPECIES_PREFERRED.vectorByteSize();

    private final MemorySegment[] parts;
    private final int[] widths;
    private final byte lowest;
    private final long count;

    private PackedCodes(MemorySegment[] parts, int[] widths, byte lowest, long count) {
        this.parts = parts;
        this.widths = widths;
        this.lowest = lowest;
        this.count = count;
    }

    /**
     * Packs all bytes of a segment, or none if they need 8 bits.
     *
     * @param arena owns what is packed
     */
    static Optional<PackedCodes> of(MemorySegment codes, Arena arena) {
        int low = 0;
        int high = 0;
        for (long i = 0; i < codes.byteSize(); i++) {
            byte code = codes.get(JAVA_BYTE, i);
            low = Math.min(low, code);
            high = Math.max(high, code);
        }
        int bits = Math.max(1, Integer.SIZE - Integer.numberOfLeadingZeros(high - low));
        if (bits > MOST_BITS) {
            return Optional.empty();
        }
        long groups = Math.ceilDiv(codes.byteSize(), GROUP);
        int[] widths = widths(bits);
        MemorySegment[] parts = new MemorySegment[widths.length];
        int taken = 0;
        for (int p = 0; p < parts.length; p++) {
            parts[p] = arena.allocate(groups * REGISTER * widths[p], REGISTER);
            pack(codes, low, taken, widths[p], parts[p]);
            taken += widths[p];
        }
        return Optional.of(new PackedCodes(parts, widths, (byte) low, codes.byteSize()));
    }

    private static int[] widths(int bits) {
        int[] widths = new int[Integer.bitCount(bits)];
        int at = 0;
        for (int width = 4; width > 0; width /= 2) {
            if ((bits & width) != 0) {
                widths[at++] = width;
            }
        }
        return widths;
    }

    private static void pack(MemorySegment codes, int low, int taken, int width, MemorySegment part) {
        int mask = (1 << width) - 1;
        for (long i = 0; i < codes.byteSize(); i++) {
            int value = ((codes.get(JAVA_BYTE, i) - low) >> taken) & mask;
            int register = (int) (i % GROUP) / REGISTER;
            long at = i / GROUP * REGISTER * width + (long) (register * width / 8) * REGISTER + i % REGISTER;
            part.set(JAVA_BYTE, at, (byte) (part.get(JAVA_BYTE, at) | value << register * width % 8));
        }
    }

    /** Bytes that the packed codes take. */
    long bytes() {
        long bytes = 0;
        for (MemorySegment part : parts) {
            bytes += part.byteSize();
        }
        return bytes;
    }

    MemorySegment part(int index) {
        return parts[index];
    }

    /** Bytes that {@link #expand} needs room for: the codes, up to a whole group. */
    long expandedBytes() {
        return Math.ceilDiv(count, GROUP) * GROUP;
    }

    /**
     * Writes the codes as they were.
     *
     * @param to at least {@link #expandedBytes} bytes, of which those behind the last code mean nothing
     */
    void expand(MemorySegment to) {
        long codes = NativeMemory.target(to, expandedBytes());
        int taken = 0;
        for (int p = 0; p < parts.length; p++) {
            long groups = parts[p].byteSize() / ((long) REGISTER * widths[p]);
            long part = NativeMemory.address(parts[p], parts[p].byteSize());
            if (p == 0) {
                first(part, groups, widths[p], lowest, codes);
            } else {
                add(part, groups, widths[p], taken, codes);
            }
            taken += widths[p];
        }
    }

    private static int mask(int width) {
        return 0x01010101 * ((1 << width) - 1);
    }

    private static void first(long part, long groups, int width, byte lowest, long to) {
        int mask = mask(width);
        long registers = groups * width;
        long at = to;
        for (long r = 0; r < registers; r++) {
            for (int shift = 0; shift < 8; shift += width) {
                for (int i = 0; i < REGISTER; i += STEP) {
                    IntVector packed = IntVector.fromMemorySegment(
                            IntVector.SPECIES_PREFERRED, ALL, part + r * REGISTER + i, ORDER);
                    ByteVector codes = packed.lanewise(VectorOperators.LSHR, shift)
                            .and(mask)
                            .reinterpretAsBytes()
                            .add(lowest);
                    codes.intoMemorySegment(ALL, at + i, ORDER);
                }
                at += REGISTER;
            }
        }
    }

    private static void add(long part, long groups, int width, int taken, long to) {
        int mask = mask(width);
        long registers = groups * width;
        long at = to;
        for (long r = 0; r < registers; r++) {
            for (int shift = 0; shift < 8; shift += width) {
                for (int i = 0; i < REGISTER; i += STEP) {
                    IntVector packed = IntVector.fromMemorySegment(
                            IntVector.SPECIES_PREFERRED, ALL, part + r * REGISTER + i, ORDER);
                    ByteVector values = packed.lanewise(VectorOperators.LSHR, shift)
                            .and(mask)
                            .lanewise(VectorOperators.LSHL, taken)
                            .reinterpretAsBytes();
                    ByteVector.fromMemorySegment(ByteVector.SPECIES_PREFERRED, ALL, at + i, ORDER)
                            .add(values)
                            .intoMemorySegment(ALL, at + i, ORDER);
                }
                at += REGISTER;
            }
        }
    }
}
