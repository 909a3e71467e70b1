package dev.trivet.kernel;

/**
 * What a thread needs to run kernels: streams and scratch memory, reused from call to call. Used by one thread at a time;
 * whichever it is calls {@link #enter} first.
 */
public interface Workspace extends AutoCloseable {
    /** Prepares the calling thread; to be called before the first kernel whenever another thread takes over. */
    default void enter() {}

    /** The kernels between the products. */
    Pointwise pointwise();

    @Override
    void close();
}
