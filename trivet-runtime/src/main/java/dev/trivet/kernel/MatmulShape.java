package dev.trivet.kernel;

/**
 * Shape of one product in a batch.
 *
 * <p>Operands of a batch stand one behind the other, or side by side: then row {@code r} of each stands in the same row of one matrix, as heads of all tokens
 * stand in what makes queries, keys and values.
 *
 * @param m rows of the left operand
 * @param n columns of the result
 * @param k summed dimension
 * @param rightTransposed true if the right operand is stored {@code [n, k]}, false for {@code [k, n]}
 * @param leftStride elements from a row of a left operand to its next where they stand side by side; 0 where they do not
 * @param rightStride the same of right operands
 */
public record MatmulShape(int m, int n, int k, boolean rightTransposed, int leftStride, int rightStride) {
    /** Operands one behind the other. */
    public MatmulShape(int m, int n, int k, boolean rightTransposed) {
        this(m, n, k, rightTransposed, 0, 0);
    }

    /** The same for another number of rows. */
    public MatmulShape withRows(int rows) {
        return new MatmulShape(rows, n, k, rightTransposed, leftStride, rightStride);
    }

    /** Whether any operands stand side by side. */
    public boolean sideBySide() {
        return leftStride > 0 || rightStride > 0;
    }

    /** @throws IllegalArgumentException if any operands stand side by side, which not every provider multiplies ({@link Kernels#multipliesSideBySide}) */
    void requireOneBehindTheOther() {
        if (sideBySide()) {
            throw new IllegalArgumentException("operands side by side: " + this);
        }
    }

    /** Where a row of a left operand begins. */
    long leftRow(int batch, int row) {
        return leftStride > 0 ? (long) row * leftStride + (long) batch * k : ((long) batch * m + row) * k;
    }

    /** Where a stored row of a right operand begins: one of {@code n} where it is transposed, else one of {@code k}. */
    long rightRow(int batch, int row) {
        int width = rightTransposed ? k : n;
        int rows = rightTransposed ? n : k;
        return rightStride > 0 ? (long) row * rightStride + (long) batch * width : ((long) batch * rows + row) * width;
    }
}
