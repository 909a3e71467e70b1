package dev.trivet.kernel;

/**
 * Attention within windows of an image's tokens.
 *
 * @param images images in the batch
 * @param tokens tokens per image
 * @param heads attention heads
 * @param headWidth channels per head
 * @param windows windows per image
 * @param windowTokens positions of a window
 * @param source {@code [windows, windowTokens]}: which token stands there; negative for padding. Each token stands in one place.
 *     Shared, not copied; nobody writes to it.
 */
@SuppressWarnings("ArrayRecordComponent") // a table, never compared
public record WindowShape(
        int images, int tokens, int heads, int headWidth, int windows, int windowTokens, int[] source) {
    /** @throws IllegalArgumentException if the table has the wrong size */
    public WindowShape {
        if (source.length != windows * windowTokens) {
            throw new IllegalArgumentException(
                    source.length + " positions for " + windows + " windows of " + windowTokens);
        }
    }

    public int width() {
        return heads * headWidth;
    }

    /** Products in a batch. */
    public int batch() {
        return images * windows * heads;
    }

    /** Where position {@code i} of {@code [windows, windowTokens]} stands in {@code [images, windows, heads, windowTokens]}. */
    long headRow(int image, int i, int head) {
        int window = i / windowTokens;
        return (((long) image * windows + window) * heads + head) * windowTokens + i % windowTokens;
    }
}
