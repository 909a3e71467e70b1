package dev.trivet.kernel;

/**
 * Attention among all tokens of an image, of which all rows are at hand or some of one image's.
 *
 * @param images images in the batch
 * @param rows token rows of an image that are at hand
 * @param tokens places that a head's keys and values have, one for each token of an image, and more where that is faster
 * @param heads attention heads
 * @param headWidth channels per head
 */
public record AttentionShape(int images, int rows, int tokens, int heads, int headWidth) {
    /** All rows. */
    public AttentionShape(int images, int tokens, int heads, int headWidth) {
        this(images, tokens, tokens, heads, headWidth);
    }

    /** Channels of a token, all heads together. */
    public int width() {
        return heads * headWidth;
    }

    /** Where token row {@code row} of {@code [images * rows]} stands in {@code [images, heads, rows]} for one head. */
    long headRow(int row, int head) {
        int image = row / rows;
        return ((long) image * heads + head) * rows + row % rows;
    }

    /** Where it stands in {@code [images, heads, tokens]}, counted from the first row at hand. */
    long keyRow(int row, int head) {
        int image = row / rows;
        return ((long) image * heads + head) * tokens + row % rows;
    }
}
