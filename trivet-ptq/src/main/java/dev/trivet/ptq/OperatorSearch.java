package dev.trivet.ptq;

import java.lang.foreign.MemorySegment;

/**
 * Interval search of one operator. A step fixes one side's scales and scores all candidates of the other side on every image:
 * {@link #open} prepares the candidates, {@link #score} is called once per image (from any thread), {@link #choose} takes the
 * best, {@link #close} lets go of the candidates.
 */
sealed interface OperatorSearch extends AutoCloseable permits LinearSearch, MatmulSearch {
    /** Which side's scales a step searches. */
    enum Side {
        /** Weights, or the right operand of a product of two activations. */
        RIGHT,
        /** The input, or the left operand. */
        LEFT
    }

    String name();

    /** Elements of one image's left operand. */
    long leftElements();

    /** Elements of one image's right operand, 0 for weights. */
    long rightElements();

    /** Elements of one image's output. */
    long outputElements();

    /** Records the range of one image's operands. */
    void observe(MemorySegment left, MemorySegment right);

    /** Ends observation: all scales start from the maximum. */
    void initialize();

    /** Whether a step would see what the side's last step saw, and so choose the same. */
    boolean isSettled(Side side);

    /** Bytes that {@link #open} will hold until {@link #close}. */
    long candidateBytes(Side side);

    void open(Side side);

    /**
     * Scores all candidates on one image.
     *
     * @param output the float model's product
     */
    void score(SearchScratch scratch, MemorySegment left, MemorySegment right, MemorySegment output);

    /** Takes the best candidates. */
    void choose();

    @Override
    void close();

    /** Mean over the images of what the last step maximised, for the chosen candidates; at most 1. */
    double objective();

    /** Puts what was found into the model. */
    void install(SearchState state);
}
