package dev.trivet.ptq;

import java.util.stream.IntStream;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.CommonOps_DDRM;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.EigenDecomposition_F64;

/**
 * A change of basis for two vectors that only meet in a product, chosen so that low-bit codes of both do the least harm.
 *
 * <p>For any invertible A, {@code a . b = (A a) . (A^-T b)}. Quantizing both sides on grids of one step each adds noise
 * proportional to the sum of the two sides' energies, {@code tr A P A^T + tr A^-T Q A^-1} with second moments P and Q. That is
 * least where both become one diagonal S (as in a balanced realization): with {@code P = L L^T} and {@code L^T Q L = U S^2 U^T},
 *
 * <pre>A = S^1/2 U^T L^-1,      A^-T = S^-1/2 U^T L^T.</pre>
 *
 * A Hadamard matrix (a Hartley matrix where the width is no power of two) then spreads S evenly, so that no channel sets the
 * step for all others and values are nearly normal. Both matrices are absorbed by the weights before and after; nothing is
 * left of them at run time. Rotations before quantization are known from QuaRot and SpinQuant; the balancing of both sides by
 * their second moments is ours.
 */
final class HeadBasis {
    /** Share of the mean energy that is added to every direction: it bounds the condition of A. */
    private static final double FLOOR = 1e-3;

    private final int width;
    /** A, {@code [width, width]}. */
    private final double[] left;
    /** A^-T, {@code [width, width]}. */
    private final double[] right;

    /**
     * @param p second moments of the left side {@code [width, width]}
     * @param q second moments of the right side {@code [width, width]}
     */
    HeadBasis(double[] p, double[] q, int width) {
        this.width = width;
        Symmetric first = new Symmetric(floored(p));
        double[] root = new double[width * width];
        double[] inverseRoot = new double[width * width];
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < width; j++) {
                double v = first.vectors[i * width + j];
                root[i * width + j] = v * Math.sqrt(first.values[j]);
                inverseRoot[j * width + i] = v / Math.sqrt(first.values[j]);
            }
        }
        double[] between = product(transposed(root), product(floored(q), root));
        Symmetric second = new Symmetric(between);
        double[] upper = new double[width * width];
        double[] lower = new double[width * width];
        for (int i = 0; i < width; i++) {
            double s = Math.sqrt(second.values[i]);
            for (int j = 0; j < width; j++) {
                upper[i * width + j] = Math.sqrt(s) * second.vectors[j * width + i];
                lower[i * width + j] = second.vectors[j * width + i] / Math.sqrt(s);
            }
        }
        double[] spread = spread(width);
        left = product(spread, product(upper, inverseRoot));
        right = product(spread, product(lower, transposed(root)));
    }

    private double[] floored(double[] moments) {
        double trace = 0;
        for (int i = 0; i < width; i++) {
            trace += moments[i * width + i];
        }
        double[] floored = moments.clone();
        for (int i = 0; i < width; i++) {
            floored[i * width + i] += Math.max(FLOOR * trace / width, 1e-12);
        }
        return floored;
    }

    /** An orthonormal matrix whose entries have equal (or nearly equal) magnitudes. */
    static double[] spread(int width) {
        double[] h = new double[width * width];
        boolean hadamard = Integer.bitCount(width) == 1;
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < width; j++) {
                double angle = 2 * Math.PI * i * j / width;
                double entry = hadamard
                        ? (Integer.bitCount(i & j) % 2 == 0 ? 1 : -1)
                        : StrictMath.cos(angle) + StrictMath.sin(angle);
                h[i * width + j] = entry / Math.sqrt(width);
            }
        }
        return h;
    }

    /** Eigenvectors in columns, eigenvalues at least a hair above zero, in ascending order. */
    private final class Symmetric {
        final double[] values = new double[width];
        final double[] vectors = new double[width * width];

        Symmetric(double[] matrix) {
            DMatrixRMaj m = new DMatrixRMaj(width, width);
            for (int i = 0; i < width; i++) {
                for (int j = 0; j < width; j++) {
                    m.set(i, j, (matrix[i * width + j] + matrix[j * width + i]) / 2);
                }
            }
            EigenDecomposition_F64<DMatrixRMaj> eigen = DecompositionFactory_DDRM.eig(width, true, true);
            if (!eigen.decompose(m)) {
                throw new dev.trivet.BadInputException(
                        "the attention activations have no eigenvectors; check the weights and the preprocessing");
            }
            int[] order = IntStream.range(0, width)
                    .boxed()
                    .sorted((a, b) -> Double.compare(eigen.getEigenvalue(a).real, eigen.getEigenvalue(b).real))
                    .mapToInt(Integer::intValue)
                    .toArray();
            for (int j = 0; j < width; j++) {
                values[j] = Math.max(eigen.getEigenvalue(order[j]).real, 1e-18);
                DMatrixRMaj vector = eigen.getEigenVector(order[j]);
                for (int i = 0; i < width; i++) {
                    vectors[i * width + j] = vector.get(i, 0);
                }
            }
        }
    }

    private double[] product(double[] a, double[] b) {
        DMatrixRMaj c = new DMatrixRMaj(width, width);
        CommonOps_DDRM.mult(DMatrixRMaj.wrap(width, width, a), DMatrixRMaj.wrap(width, width, b), c);
        return c.data;
    }

    private double[] transposed(double[] a) {
        double[] t = new double[a.length];
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < width; j++) {
                t[j * width + i] = a[i * width + j];
            }
        }
        return t;
    }

    /** Rows {@code first} to {@code first + width} of a matrix become {@code A} times them (left) or {@code A^-T} (right). */
    void applyToRows(float[] matrix, int columns, int first, boolean leftSide) {
        double[] a = leftSide ? left : right;
        double[] column = new double[width];
        for (int c = 0; c < columns; c++) {
            for (int i = 0; i < width; i++) {
                double sum = 0;
                for (int j = 0; j < width; j++) {
                    sum += a[i * width + j] * matrix[(first + j) * columns + c];
                }
                column[i] = sum;
            }
            for (int i = 0; i < width; i++) {
                matrix[(first + i) * columns + c] = (float) column[i];
            }
        }
    }

    /** Columns {@code first} to {@code first + width} become themselves times {@code A^-1}: what reads {@code A x} undoes it. */
    void applyInverseToColumns(float[] matrix, int columns, int first) {
        double[] row = new double[width];
        for (int r = 0; r < matrix.length / columns; r++) {
            for (int i = 0; i < width; i++) {
                double sum = 0;
                for (int j = 0; j < width; j++) {
                    // A^-1[j, i] is A^-T[i, j].
                    sum += matrix[r * columns + first + j] * right[i * width + j];
                }
                row[i] = sum;
            }
            for (int i = 0; i < width; i++) {
                matrix[r * columns + first + i] = (float) row[i];
            }
        }
    }
}
