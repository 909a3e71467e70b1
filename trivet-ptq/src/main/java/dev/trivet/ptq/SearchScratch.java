package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.Map;

/** One worker's memory for scoring candidates. Used and closed by the thread that opened it. */
final class SearchScratch implements AutoCloseable {
    private final Workspace workspace;
    private final Arena arena = Arena.ofConfined();
    private final Map<Long, ErrorSums> sums = new HashMap<>();
    private MemorySegment left;
    private MemorySegment right;
    private MemorySegment out;

    SearchScratch(Kernels kernels) {
        workspace = kernels.openWorkspace();
        left = arena.allocate(64, 64);
        right = arena.allocate(64, 64);
        out = arena.allocate(64, 64);
    }

    Workspace workspace() {
        return workspace;
    }

    /** Codes of a left operand. */
    MemorySegment left(long bytes) {
        left = grown(left, bytes);
        return left;
    }

    /** Codes of a right operand. */
    MemorySegment right(long bytes) {
        right = grown(right, bytes);
        return right;
    }

    /** Integer sums. */
    MemorySegment out(long elements) {
        out = grown(out, 4 * elements);
        return out;
    }

    ErrorSums sums(int rows, int columns) {
        return sums.computeIfAbsent(((long) rows << 32) | columns, key -> new ErrorSums(rows, columns));
    }

    private MemorySegment grown(MemorySegment current, long bytes) {
        // An outgrown block stays with the arena; sizes settle within the first image.
        return current.byteSize() >= bytes ? current : arena.allocate(bytes, 64);
    }

    @Override
    public void close() {
        workspace.close();
        arena.close();
    }
}
