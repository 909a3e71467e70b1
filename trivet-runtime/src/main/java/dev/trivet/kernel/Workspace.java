package dev.trivet.kernel;

/**
 * What one thread needs to run kernels: streams and scratch memory, reused from call to call. Opened, used and closed by the
 * same thread.
 */
public interface Workspace extends AutoCloseable {
    /** The kernels between the products. */
    Pointwise pointwise();

    @Override
    void close();
}
