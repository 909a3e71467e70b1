package dev.trivet.kernel;

/**
 * Shape of one product in a batch.
 *
 * @param m rows of the left operand
 * @param n columns of the result
 * @param k summed dimension
 * @param rightTransposed true if the right operand is stored {@code [n, k]}, false for {@code [k, n]}
 */
public record MatmulShape(int m, int n, int k, boolean rightTransposed) {}
