package dev.trivet.model;

/**
 * How a square map of tokens is cut into windows. Shifted windows are windows over the cyclically rolled map, so after the roll a
 * window can hold tokens that are not neighbours; attention between those is masked (Liu et al. 2021, Swin Transformer, section
 * 3.2). Roll, padding and cutting are one table of token numbers here; nothing is moved.
 *
 * <p>Differs from the published code in that padding is not computed: a padded token is zero behind the LayerNorm, so its query, key
 * and value are the projection's bias.
 *
 * @param side tokens along one side of the map
 * @param window tokens along one side of a window, at most {@code side} rounded up to whole windows
 * @param shift rows and columns that the map is rolled up and left, less than {@code window}; 0 for none
 * @param padding what is done where windows do not divide the map
 */
public record WindowPartition(int side, int window, int shift, WindowPadding padding) {
    /** Added to a masked score, as published; what is left of the probability, at most about e^-87, counts for nothing. */
    public static final float MASKED = -100f;

    /** Stands for padding in {@link #tokens()}. */
    public static final int PADDING = -1;

    /** @throws IllegalArgumentException if the numbers do not fit each other */
    public WindowPartition {
        if (side < 1 || window < 1 || shift < 0 || shift >= window || (shift > 0 && window > side)) {
            throw new IllegalArgumentException(
                    "windows of " + window + " shifted by " + shift + " on a map of " + side);
        }
    }

    /** Windows along one side. */
    public int across() {
        return Math.ceilDiv(side, window);
    }

    /** Windows of one image. */
    public int windows() {
        return across() * across();
    }

    /** Tokens of one window. */
    public int windowTokens() {
        return window * window;
    }

    /** Side of the map with its padding. */
    private int paddedSide() {
        return across() * window;
    }

    /** Which token, row-major on the map, stands where: {@code [windows, windowTokens]}, {@link #PADDING} for none. */
    public int[] tokens() {
        int[] tokens = new int[windows() * windowTokens()];
        int at = 0;
        for (int w = 0; w < windows(); w++) {
            for (int i = 0; i < windowTokens(); i++) {
                int row = source(rowOf(w, i));
                int column = source(columnOf(w, i));
                tokens[at++] = row < 0 || column < 0 ? PADDING : row * side + column;
            }
        }
        return tokens;
    }

    /** Row or column of the map that comes to stand at {@code position} of the rolled and padded one; negative for padding. */
    private int source(int position) {
        if (padding == WindowPadding.AFTER_SHIFT) {
            return position < side ? (position + shift) % side : PADDING;
        }
        int rolled = (position + shift) % paddedSide();
        return rolled < side ? rolled : PADDING;
    }

    private int rowOf(int w, int i) {
        return w / across() * window + i / window;
    }

    private int columnOf(int w, int i) {
        return w % across() * window + i % window;
    }

    /**
     * What is added to the scores, {@code [windows, windowTokens, windowTokens]}: 0 between tokens of the same region,
     * {@link #MASKED} otherwise. Regions are cut at the last window and at the seam of the roll, on the padded map; padding is not
     * masked by itself, as published.
     */
    public float[] mask() {
        int n = windowTokens();
        float[] mask = new float[windows() * n * n];
        int at = 0;
        for (int w = 0; w < windows(); w++) {
            for (int i = 0; i < n; i++) {
                for (int j = 0; j < n; j++) {
                    boolean together = shift == 0
                            || (region(rowOf(w, i)) == region(rowOf(w, j))
                                    && region(columnOf(w, i)) == region(columnOf(w, j)));
                    mask[at++] = together ? 0 : MASKED;
                }
            }
        }
        return mask;
    }

    private int region(int position) {
        int last = paddedSide() - window;
        return position < last ? 0 : position < paddedSide() - shift ? 1 : 2;
    }

    /**
     * Row of the relative position bias table for each pair of tokens of a window, {@code [windowTokens, windowTokens]}: the offset in
     * rows, then in columns, each counted from {@code 1 - window}.
     */
    public int[] relativePositions() {
        int n = windowTokens();
        int span = 2 * window - 1;
        int[] positions = new int[n * n];
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                int rows = i / window - j / window + window - 1;
                int columns = i % window - j % window + window - 1;
                positions[i * n + j] = rows * span + columns;
            }
        }
        return positions;
    }

    /** Rows of the relative position bias table. */
    public int relativeOffsets() {
        return (2 * window - 1) * (2 * window - 1);
    }
}
