package dev.trivet.ptq;

import java.lang.foreign.MemorySegment;

/**
 * Interval search of one operator. A step fixes one side's scales and scores all candidates of the other side on every image:
 * {@link #open} prepares the candidates, {@link #score} is called once per image (from any thread), {@link #choose} ends the
 * step.
 */
sealed interface OperatorSearch permits LinearSearch, MatmulSearch {
    /** Which side's scales a step searches. */
    enum Side {
        /** Weights, or the right operand of a product of two activations. */
        RIGHT,
        /** The input, or the left operand. */
        LEFT
    }

    String name();

    /** Records the range of one image's operands. */
    void observe(MemorySegment left, MemorySegment right);

    /** Ends observation: all scales start from the maximum. */
    void initialize();

    /** Bytes that {@link #open} will hold until {@link #choose}. */
    long candidateBytes(Side side);

    void open(Side side);

    /**
     * Scores all candidates on one image.
     *
     * @param output the float product
     */
    void score(SearchScratch scratch, MemorySegment left, MemorySegment right, MemorySegment output);

    /** Takes the best candidates; gives whether anything changed. */
    boolean choose();

    /** Mean similarity of the chosen candidates over the images of the last step, in [-1, 1]. */
    double similarity();
}
