package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;

/**
 * What a thread needs to run kernels: streams and scratch memory, reused from call to call. Used by one thread at a time;
 * whichever it is calls {@link #enter} first.
 */
public interface Workspace extends AutoCloseable {
    /** Prepares the calling thread; to be called before the first kernel whenever another thread takes over. */
    default void enter() {}

    /** The kernels between the products. */
    Pointwise pointwise();

    /**
     * Scratch memory, 64-byte aligned, kept until the workspace is closed; its contents last until the same slot is asked for
     * again.
     *
     * @param slot which of a few independent pieces
     */
    MemorySegment scratch(int slot, long bytes);

    @Override
    void close();
}
