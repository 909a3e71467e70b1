package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;

/**
 * A product with constant weights, packed once: {@code out[m, n] = sum_k in[m, k] * weight[n, k]}. Float: float32 in and
 * out. Integer: unsigned bytes in, signed bytes as weights, exact int32 sums out. Safe to run from several threads, each
 * with its own workspace.
 */
public interface Linear extends AutoCloseable {
    /**
     * @param in {@code [rows, inputs]}
     * @param out {@code [rows, outputs]}, overwritten
     */
    void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out);

    /** Bytes of memory that the weights take from run to run. */
    long weightBytes();

    @Override
    void close();
}
