package dev.trivet.kernel;

import java.util.Arrays;

/**
 * Which rows a pass between tokens and heads reads and writes: for each of {@link #count} token rows at hand, where it stands
 * among the tokens and where its first head stands among the heads' rows; every further head stands {@link #headStep} rows behind the one
 * before. Filled anew for each pass, keeps its arrays. For one thread.
 */
final class RowMap {
    int count;
    int[] token = new int[0];
    int[] head = new int[0];
    int headStep;

    /** Rows up to the last token's. */
    int tokens;

    /** Heads' rows up to the last; a head's rows are in the order of the tokens here. */
    long headRows(int heads) {
        return count == 0 ? 0 : head[count - 1] + (heads - 1L) * headStep + 1;
    }

    private void reserve(int rows) {
        if (token.length < rows) {
            token = new int[rows];
            head = Arrays.copyOf(token, rows);
        }
        count = 0;
    }

    /**
     * All tokens in one group.
     *
     * @param stored rows that an image's head has where it is stored: those at hand, or all tokens
     */
    void fill(AttentionShape shape, int stored) {
        reserve(shape.images() * shape.rows());
        tokens = shape.images() * shape.rows();
        headStep = stored;
        for (int image = 0; image < shape.images(); image++) {
            for (int r = 0; r < shape.rows(); r++) {
                token[count] = image * shape.rows() + r;
                head[count++] = image * shape.heads() * stored + r;
            }
        }
    }

    /** The tokens at hand of windows; padding is left out. */
    void fill(WindowShape shape) {
        reserve(shape.images() * shape.source().length);
        tokens = shape.images() * (shape.endToken() - shape.firstToken());
        headStep = shape.windowTokens();
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int source = shape.source()[i];
                if (source >= 0 && shape.has(source)) {
                    token[count] = (int) shape.row(image, source);
                    head[count++] = (int) shape.headRow(image, i, 0);
                }
            }
        }
    }
}
