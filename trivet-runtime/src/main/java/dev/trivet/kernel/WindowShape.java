package dev.trivet.kernel;

/**
 * Attention within windows of an image's tokens, or the part of it for which one of several threads answers: some token rows of one
 * image between tokens and windows, some products within windows.
 *
 * @param images images in the batch
 * @param tokens tokens per image
 * @param heads attention heads
 * @param headWidth channels per head
 * @param windows windows per image
 * @param windowTokens positions of a window
 * @param source {@code [windows, windowTokens]}: which token stands there; negative for padding. Each token stands in one place.
 *     Shared, not copied; nobody writes to it.
 * @param firstToken the first token whose row is at hand; who has token 0 answers for the padding
 * @param endToken the token after the last
 * @param firstProduct the first product of {@code [images, windows, heads]} whose scores are at hand
 * @param endProduct the product after the last
 */
@SuppressWarnings("ArrayRecordComponent") // a table, never compared
public record WindowShape(
        int images,
        int tokens,
        int heads,
        int headWidth,
        int windows,
        int windowTokens,
        int[] source,
        int firstToken,
        int endToken,
        int firstProduct,
        int endProduct) {
    /** @throws IllegalArgumentException if the table has the wrong size */
    public WindowShape {
        if (source.length != windows * windowTokens) {
            throw new IllegalArgumentException(
                    source.length + " positions for " + windows + " windows of " + windowTokens);
        }
    }

    /** All tokens and all products. */
    public WindowShape(int images, int tokens, int heads, int headWidth, int windows, int windowTokens, int[] source) {
        this(images, tokens, heads, headWidth, windows, windowTokens, source, 0, tokens, 0, images * windows * heads);
    }

    /** The same attention of one image, with some of its tokens and products at hand. */
    public WindowShape part(int firstToken, int endToken, int firstProduct, int endProduct) {
        return new WindowShape(
                1,
                tokens,
                heads,
                headWidth,
                windows,
                windowTokens,
                source,
                firstToken,
                endToken,
                firstProduct,
                endProduct);
    }

    /** Channels of a token, all heads together. */
    public int width() {
        return heads * headWidth;
    }

    /** Whether this part answers for a token, or, if it is negative, for padding. */
    boolean has(int token) {
        return token < 0 ? firstToken == 0 && endToken > 0 : token >= firstToken && token < endToken;
    }

    /** A token's row among those at hand. */
    long row(int image, int token) {
        return (long) image * (endToken - firstToken) + token - firstToken;
    }

    /** Where position {@code i} of {@code [windows, windowTokens]} stands in {@code [images, windows, heads, windowTokens]}. */
    long headRow(int image, int i, int head) {
        int window = i / windowTokens;
        return (((long) image * windows + window) * heads + head) * windowTokens + i % windowTokens;
    }
}
