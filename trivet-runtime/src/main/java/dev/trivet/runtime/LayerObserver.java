package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;

/**
 * Watches what flows through an executor: calibration, golden checks and layer comparisons hang on it. Segments are the
 * executor's own buffers, valid during the call only. Called on the thread that runs the session. Of a batch that is run in groups of images each
 * group is seen by itself, from the first layer to the last.
 */
public interface LayerObserver {
    /**
     * After a linear layer's product.
     *
     * @param input {@code [rows, inputs]}, float32 or codes
     * @param raw {@code [rows, outputs]}, float32 without bias, or int32 sums
     */
    default void linear(String name, MemorySegment input, int rows, MemorySegment raw) {}

    /**
     * After an attention product.
     *
     * @param left {@code [batch, m, k]}
     * @param right {@code [batch, n, k]} for scores, {@code [batch, k, n]} for mixing
     * @param batch images times heads, and times windows where attention is within windows
     * @param raw {@code [batch, m, n]}, float32 or int32 sums
     */
    default void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {}

    /**
     * A float activation: {@code patch_embed} (before positions are added), {@code blocks.N} (the residual stream after
     * block N; in a Swin {@code layers.M.blocks.N}, and {@code layers.M.downsample} after a patch merging), {@code norm} (after the last LayerNorm; with average pooling, where that LayerNorm comes later, the stream itself).
     *
     * @param values float32 {@code [images * rows, width]}
     * @param rows rows per image
     */
    default void activation(String name, MemorySegment values, int images, int rows, int width) {}
}
