package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;

/**
 * One way of doing the arithmetic. All providers give the same integer results, bit for bit; float products agree within
 * {@code FLOAT_BUDGET * k}. Thread-safe.
 */
public interface Kernels extends AutoCloseable {
    /** Bound on the error of a float product relative to the sum of the magnitudes of its terms. */
    float FLOAT_BUDGET = 1e-6f;

    /** {@code reference}, {@code vector} or {@code onednn}. */
    String name();

    /** Name and instruction set, for reports. */
    String description();

    /** A workspace for the calling thread. */
    Workspace openWorkspace();

    /**
     * The same for the first images of a process: what runs between products gives the same bits, is slower in the end, and is quick
     * before HotSpot has compiled it to the end. An ordinary workspace where there is no such thing.
     */
    default Workspace openColdWorkspace() {
        return openWorkspace();
    }

    /** Whether an ordinary workspace is slow by orders of magnitude until HotSpot has compiled what it runs to the end. */
    default boolean needsWarmUp() {
        return false;
    }

    /**
     * Packs float weights.
     *
     * @param weight float32 {@code [outputs, inputs]}; not needed after the call
     * @param typicalRows how many rows most runs will have; any number works
     */
    Linear floatLinear(MemorySegment weight, int outputs, int inputs, int typicalRows);

    /**
     * Packs integer weights.
     *
     * @param codes signed bytes {@code [outputs, inputs]}; not needed after the call
     * @param typicalRows how many rows most runs will have; any number works
     */
    Linear integerLinear(MemorySegment codes, int outputs, int inputs, int typicalRows);

    /** About how many bytes a packed integer linear holds. */
    default long packedBytes(int outputs, int inputs) {
        return (long) outputs * inputs;
    }

    /**
     * The same kernels, keeping integer weights of fewer than 8 bits packed and expanding a layer's each time it runs; the same
     * where a provider has no such form. Both may be used at the same time; the ones asked are to be closed last.
     */
    default Kernels packingWeights() {
        return this;
    }

    /**
     * How many bytes of sums there may be between two products before it is faster to run images of a batch one after the other than together: what
     * stands between products then stays in the caches, and weights are read more often.
     *
     * @param integer whether the products are of bytes
     */
    default long sumsAtOnce(boolean integer) {
        return 1 << 20;
    }

    /**
     * For how many keys attention's products of bytes are best made, where so many tokens are to be attended to: what is more is room that
     * nothing is read from.
     */
    default int keyPlaces(int tokens) {
        return tokens;
    }

    /**
     * Whether {@link #integerMatmul} takes operands side by side ({@link MatmulShape#sideBySide}), and with so many scores of an image does so about as fast
     * as one behind the other.
     */
    default boolean multipliesSideBySide(long scores) {
        return false;
    }

    /** How many bytes apart rows of so many bytes are read and written fastest by products of bytes; no more than one and a half times as many. */
    default int rowBytes(int bytes) {
        return bytes;
    }

    /** A product of two float32 activations. */
    Matmul floatMatmul(MatmulShape shape);

    /**
     * @param leftSigned whether the left operand's bytes are signed; the right operand's always are
     */
    Matmul integerMatmul(MatmulShape shape, boolean leftSigned);

    @Override
    void close();
}
