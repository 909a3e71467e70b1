package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.BadInputException;
import java.lang.foreign.MemorySegment;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.SingularValueDecomposition_F64;

/**
 * The nuclear norm, the sum of a matrix's singular values: how much a feature map has to say. It weighs a module's
 * quantization error in the sensitivity of eq. (18) of Liu et al. 2021,
 *
 * <pre>Omega_i = (sum_j sigma_j(Y_i)) * ||quantized Y_i - Y_i||_2^2</pre>
 *
 * where {@code Y_i} is the attention map of an attention module (one head's softmax output at a time, summed over heads; the
 * paper does not say) or the output of an MLP module.
 *
 * <p>Values-only decomposition of the matrix itself, in double. The eigenvalues of its Gram matrix would be twice as fast for
 * wide maps, yet slower for some square ones, and lose half the digits of a small singular value.
 *
 * <p>Stateless: any thread may call at any time.
 */
final class NuclearNorm {
    private NuclearNorm() {}

    /**
     * @param matrix float32 {@code [rows, columns]}
     * @throws BadInputException if a value is not finite
     */
    static double of(MemorySegment matrix, int rows, int columns) {
        DMatrixRMaj copy = new DMatrixRMaj(rows, columns);
        for (int i = 0; i < copy.data.length; i++) {
            copy.data[i] = matrix.getAtIndex(JAVA_FLOAT, i);
        }
        return of(copy);
    }

    /**
     * @param matrix {@code [rows, columns]}
     * @throws BadInputException if a value is not finite
     */
    static double of(float[] matrix, int rows, int columns) {
        return of(MemorySegment.ofArray(matrix), rows, columns);
    }

    /** @param matrix overwritten */
    private static double of(DMatrixRMaj matrix) {
        for (double value : matrix.data) {
            // The decomposition would search for the singular values of a NaN until its limit of iterations.
            if (!Double.isFinite(value)) {
                throw new BadInputException(
                        "the model's activations overflow on a calibration image; check the weights and the preprocessing");
            }
        }
        SingularValueDecomposition_F64<DMatrixRMaj> svd =
                DecompositionFactory_DDRM.svd(matrix.numRows, matrix.numCols, false, false, true);
        if (!svd.decompose(matrix)) {
            throw new ArithmeticException(
                    "the singular values of a " + matrix.numRows + " x " + matrix.numCols + " matrix did not converge");
        }
        double sum = 0;
        double[] values = svd.getSingularValues();
        for (int i = 0; i < svd.numberOfSingularValues(); i++) {
            sum += values[i];
        }
        return sum;
    }
}
