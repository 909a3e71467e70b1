package dev.trivet.kernel;

import static dev.trivet.kernel.NativeMemory.ALL;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** For each code of a byte the level that stands for it. Safe for use by many threads. */
final class LevelTable {
    private final byte[] levels;
    /** Made when first asked for, because the reference must run without the Vector API. */
    private volatile @Nullable VectorLevels registers;

    /** @param levels 256 entries by code; a level stands for itself. Not copied */
    LevelTable(byte[] levels) {
        this.levels = levels;
    }

    /** Puts levels for codes where an operand has levels. */
    static void replace(Operand operand, MemorySegment codes, long from, int count) {
        LevelTable levels = operand.levels;
        if (levels != null) {
            levels.replace(codes, from, count);
        }
    }

    byte level(int code) {
        return levels[code & 0xff];
    }

    /** Puts the level for the code in each of {@code count} bytes; twice is as good as once. Needs the Vector API. */
    void replace(MemorySegment codes, long from, int count) {
        if (VectorLevels.SUPPORTED && count >= VectorLevels.LENGTH) {
            VectorLevels known = registers;
            if (known == null) {
                known = new VectorLevels(levels);
                registers = known;
            }
            known.replace(codes, from, count);
            return;
        }
        long address = NativeMemory.target(codes, from, count);
        for (int i = 0; i < count; i++) {
            ALL.set(JAVA_BYTE, address + i, level(ALL.get(JAVA_BYTE, address + i)));
        }
    }
}
