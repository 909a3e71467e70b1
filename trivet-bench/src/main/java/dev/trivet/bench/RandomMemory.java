package dev.trivet.bench;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;

/** Made-up operands, 64-byte aligned, the same from run to run. For one thread. */
final class RandomMemory {
    private final Arena arena;
    private final SplittableRandom random = new SplittableRandom(1);

    /** @param arena owns the operands */
    RandomMemory(Arena arena) {
        this.arena = arena;
    }

    /** Any bytes. */
    MemorySegment bytes(long count) {
        return bytes(count, -128, 127);
    }

    /** Bytes from {@code lowest} to {@code highest}. */
    MemorySegment bytes(long count, int lowest, int highest) {
        MemorySegment s = arena.allocate(count, 64);
        for (long i = 0; i < count; i++) {
            s.set(JAVA_BYTE, i, (byte) random.nextInt(lowest, highest + 1));
        }
        return s;
    }

    /** Float32 between plus and minus half the spread. */
    MemorySegment floats(long count, double spread) {
        MemorySegment s = empty(count);
        for (long i = 0; i < count; i++) {
            s.setAtIndex(JAVA_FLOAT, i, (float) ((random.nextDouble() - 0.5) * spread));
        }
        return s;
    }

    /** Int32 between plus and minus the bound. */
    MemorySegment integers(long count, int bound) {
        MemorySegment s = empty(count);
        for (long i = 0; i < count; i++) {
            s.setAtIndex(JAVA_INT, i, random.nextInt(-bound, bound));
        }
        return s;
    }

    /** Room for so many values of four bytes. */
    MemorySegment empty(long count) {
        return arena.allocate(4 * count, 64);
    }
}
