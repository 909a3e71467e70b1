package dev.trivet.model;

/**
 * Values of one image between two units of a model: float32 {@code [tokens, width]}.
 *
 * @param tokens rows
 * @param width channels of each row
 */
public record TokenShape(int tokens, int width) {
    /** Number of values of one image. */
    public long values() {
        return (long) tokens * width;
    }
}
