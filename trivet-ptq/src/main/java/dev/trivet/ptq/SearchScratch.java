package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.Map;

/** One worker's memory for scoring candidates; nothing is allocated once it has seen an image. Used by one thread. */
final class SearchScratch implements AutoCloseable {
    private final Workspace workspace;
    private final Buffers buffers = new Buffers();
    private final Map<Shape, ErrorSums> sums = new HashMap<>();
    private final Map<Integer, double[]> means = new HashMap<>();

    SearchScratch(Kernels kernels) {
        workspace = kernels.openWorkspace();
    }

    Workspace workspace() {
        workspace.enter();
        return workspace;
    }

    /** See {@link Buffers#get}. */
    MemorySegment buffer(String name, long bytes) {
        return buffers.get(name, bytes);
    }

    private record Shape(int rows, int columns, int number) {}

    /** @param number which of several of one shape */
    ErrorSums sums(int rows, int columns, int number) {
        return sums.computeIfAbsent(new Shape(rows, columns, number), key -> new ErrorSums(rows, columns));
    }

    /** {@code [columns]} */
    double[] means(int columns) {
        return means.computeIfAbsent(columns, double[]::new);
    }

    @Override
    public void close() {
        workspace.close();
        buffers.close();
    }
}
