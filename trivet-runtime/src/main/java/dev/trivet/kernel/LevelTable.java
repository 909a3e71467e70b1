package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * For each code the level that stands for it, 64 codes at a time: the table's 256 bytes are four registers, each of which one
 * instruction indexes with six bits (AVX-512 VBMI); the other two bits pick among the four results. Elsewhere it is a loop over
 * bytes. (Indexing two registers at once is one instruction as well, but on JDK 25 it allocates its operands.) Immutable.
 */
final class LevelTable {
    private static final int L = 64;
    private static final VectorSpecies<Byte> B = ByteVector.SPECIES_512;
    private static final boolean WIDE = ByteVector.SPECIES_PREFERRED.length() == L;

    private final byte[] levels;
    private final ByteVector first;
    private final ByteVector second;
    private final ByteVector third;
    private final ByteVector fourth;

    /** @param levels 256 entries by code; a level stands for itself. Not copied */
    LevelTable(byte[] levels) {
        this.levels = levels;
        first = ByteVector.fromArray(B, levels, 0);
        second = ByteVector.fromArray(B, levels, L);
        third = ByteVector.fromArray(B, levels, 2 * L);
        fourth = ByteVector.fromArray(B, levels, 3 * L);
    }

    byte level(int code) {
        return levels[code & 0xff];
    }

    /** Puts the level for the code in each of {@code count} bytes; twice is as good as once. */
    void replace(MemorySegment codes, long from, int count) {
        if (!WIDE || count < L) {
            for (int i = 0; i < count; i++) {
                codes.set(JAVA_BYTE, from + i, level(codes.get(JAVA_BYTE, from + i)));
            }
            return;
        }
        int last = count - L;
        for (int i = 0; i < last; i += L) {
            replace(codes, from + i);
        }
        replace(codes, from + last);
    }

    private void replace(MemorySegment codes, long at) {
        ByteVector code = ByteVector.fromMemorySegment(B, codes, at, ByteOrder.nativeOrder());
        ByteVector index = code.lanewise(VectorOperators.AND, (byte) (L - 1));
        VectorMask<Byte> odd = code.lanewise(VectorOperators.AND, (byte) L).compare(VectorOperators.NE, (byte) 0);
        ByteVector lower = index.selectFrom(first).blend(index.selectFrom(second), odd);
        ByteVector upper = index.selectFrom(third).blend(index.selectFrom(fourth), odd);
        lower.blend(upper, code.compare(VectorOperators.LT, (byte) 0))
                .intoMemorySegment(codes, at, ByteOrder.nativeOrder());
    }
}
