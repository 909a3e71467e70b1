package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;

/**
 * A batched product of two activations: {@code out[b, m, n] = sum_k left[b, m, k] * right[b, n, k]} (or {@code right[b, k,
 * n]}, as its {@link MatmulShape} says). Float32, or bytes with exact int32 sums. Safe to run from several threads, each with
 * its own workspace.
 */
public interface Matmul {
    /**
     * @param left {@code [batch, m, k]}, or {@code [m, batch, k]} side by side
     * @param right {@code [batch, n, k]} or {@code [batch, k, n]}, or {@code [n, batch, k]} or {@code [k, batch, n]} side by side
     * @param out {@code [batch, m, n]}, overwritten
     */
    void run(Workspace workspace, MemorySegment left, MemorySegment right, int batch, MemorySegment out);
}
