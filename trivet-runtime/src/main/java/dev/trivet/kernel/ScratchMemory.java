package dev.trivet.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/** Pieces of off-heap memory that grow when asked for more. Used by one thread at a time. */
final class ScratchMemory implements AutoCloseable {
    private final Arena arena = Arena.ofShared();
    private MemorySegment[] pieces = new MemorySegment[0];

    MemorySegment get(int slot, long bytes) {
        if (slot >= pieces.length) {
            int known = pieces.length;
            pieces = Arrays.copyOf(pieces, slot + 1);
            Arrays.fill(pieces, known, pieces.length, MemorySegment.NULL);
        }
        if (pieces[slot].byteSize() < bytes) {
            // An outgrown piece stays with the arena; sizes settle within the first image.
            pieces[slot] = arena.allocate(bytes, 64);
        }
        return pieces[slot];
    }

    @Override
    public void close() {
        arena.close();
    }
}
