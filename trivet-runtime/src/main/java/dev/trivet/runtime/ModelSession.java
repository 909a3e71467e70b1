package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;
import java.util.Optional;

/**
 * A run of a {@link ModelExecutor}, used by one thread at a time. All buffers are allocated when it is opened; a run allocates nothing
 * off-heap.
 */
public sealed interface ModelSession extends AutoCloseable permits VitSession, SwinSession, TeamSession {
    /** An input buffer that this session can run: float32 {@code [batch, channels, imageSize, imageSize]}. */
    MemorySegment allocateInput();

    /** An output buffer: float32 {@code [batch, classes]}. */
    MemorySegment allocateLogits();

    /** A buffer for what passes between any two units: float32 {@code [batch, tokens, width]} of the largest. */
    MemorySegment allocateTokens();

    /**
     * Runs some images through the whole model.
     *
     * @param input float32 {@code [images, channels, imageSize, imageSize]}, off-heap
     * @param images 1 to the executor's batch
     * @param logits float32 {@code [images, classes]}, off-heap, overwritten
     * @throws IllegalStateException if the executor was compiled without some units
     */
    default void run(MemorySegment input, int images, MemorySegment logits) {
        run(input, images, logits, Optional.empty());
    }

    /** The same, watched. */
    void run(MemorySegment input, int images, MemorySegment logits, Optional<LayerObserver> watcher);

    /**
     * Runs one unit.
     *
     * @param unit index into {@link dev.trivet.model.Geometry#units()}
     * @param in float32 {@code [images, tokens, width]} as the unit's input shape says, off-heap; an embedding takes images
     * @param out float32, off-heap, overwritten; a head gives logits; may be {@code in} for a block
     * @throws IllegalStateException if the executor was compiled without that unit
     */
    void runUnit(int unit, MemorySegment in, int images, MemorySegment out, Optional<LayerObserver> watcher);

    /**
     * Runs the attention of one block alone, with its LayerNorm and its residual addition.
     *
     * @param unit index of a block in {@link dev.trivet.model.Geometry#units()}
     * @param tokens float32 {@code [images, tokens, width]}, off-heap, replaced by themselves plus what attention makes of them
     * @throws IllegalStateException if the executor was compiled without that block
     */
    void runAttention(int unit, MemorySegment tokens, int images);

    /** The same for the block's MLP. */
    void runMlp(int unit, MemorySegment tokens, int images);

    @Override
    void close();
}
