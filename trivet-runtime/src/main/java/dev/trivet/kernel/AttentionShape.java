package dev.trivet.kernel;

/**
 * @param images images in the batch
 * @param tokens tokens per image
 * @param heads attention heads
 * @param headWidth channels per head
 */
public record AttentionShape(int images, int tokens, int heads, int headWidth) {
    public int width() {
        return heads * headWidth;
    }

    /** Where token row {@code row} of {@code [images * tokens]} stands in {@code [images, heads, tokens]} for one head. */
    long headRow(int row, int head) {
        int image = row / tokens;
        return ((long) image * heads + head) * tokens + row % tokens;
    }
}
