package dev.trivet.runtime;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;

/**
 * A model, or some of its units in a row, compiled for one set of kernels. Immutable and safe to share; each concurrent run needs
 * its own session. Sessions must be closed before the executor.
 */
public sealed interface ModelExecutor extends AutoCloseable permits VitExecutor, SwinExecutor {
    /**
     * Compiles a whole model.
     *
     * @param batch most images that one run takes
     */
    static ModelExecutor compile(VitModel model, Kernels kernels, int batch) {
        return compile(model, kernels, batch, 0, model.geometry().units().size());
    }

    /**
     * Compiles some units of a model; calibration goes through a model unit by unit and compiles only what it runs.
     *
     * @param firstUnit index into {@link Geometry#units()}
     * @param endUnit index of the unit after the last
     */
    static ModelExecutor compile(VitModel model, Kernels kernels, int batch, int firstUnit, int endUnit) {
        if (firstUnit < 0 || endUnit > model.geometry().units().size() || firstUnit >= endUnit) {
            throw new IllegalArgumentException("no units " + firstUnit + " to " + endUnit);
        }
        return switch (model.geometry()) {
            case VitConfig vit ->
                new VitExecutor(model, kernels, batch, VitExecutor.Part.ofUnits(vit, firstUnit, endUnit));
            case SwinConfig _ -> new SwinExecutor(model, kernels, batch, firstUnit, endUnit);
        };
    }

    /** Shape of the model. */
    Geometry geometry();

    /** Most images that one run takes. */
    int batch();

    /** Bytes of memory that the weights of the linear layers take, in the form in which they are kept. */
    long weightBytes();

    /** Buffers for one run at a time, on the thread that calls. */
    ModelSession openSession();

    /**
     * The same for the first images of a process: sooner ready and slower in the end, with the same results bit for bit
     * ({@link Kernels#openColdWorkspace}).
     */
    ModelSession openColdSession();

    /**
     * Buffers for one run at a time that several threads do together: images of a batch are spread over them, and what is left over, or
     * one image alone, is cut into rows. Results are those of one thread, bit for bit. The threads belong to the session; they are
     * daemons, and sleep between runs.
     *
     * @param threads the caller's included
     */
    default ModelSession openSession(int threads) {
        if (threads < 1) {
            throw new IllegalArgumentException("a session of " + threads + " threads");
        }
        return threads == 1 ? openSession() : new TeamSession(this, threads);
    }

    @Override
    void close();
}
