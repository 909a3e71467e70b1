package dev.trivet.ptq;

import dev.trivet.quant.WeightCoding;
import java.util.stream.IntStream;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.CholeskyDecomposition_F64;

/**
 * Error-compensating weight rounding: finds integer weights whose product with the quantized input is closest to the wanted
 * output on the calibration rows, in two least-squares steps.
 *
 * <p>1. Ridge: before rounding, the weights move to where they undo as much of the input's quantization error as a linear map
 * can (the activation step of ERQ), {@code W' = (H + l I)^-1 (C + l W)}, with H and C the covariances of quantized inputs and
 * wanted outputs and {@code l} relative to the mean of H's diagonal. The bias takes what a constant can.
 *
 * <p>2. Rounding with feedback (GPTQ): with {@code H + d I = R R^T}, R upper triangular, the squared output error is
 * {@code sum_k (R_kk e_k + sum_{j<k} R_jk e_j)^2} over the weight errors {@code e}; inputs are rounded one after another, and
 * each is rounded to where it cancels what the ones before it left:
 *
 * <pre>q_k = round(w_k + sum_{j&lt;k} (R_jk / R_kk) e_j)</pre>
 *
 * This is GPTQ's recursion without the inverse matrix (Babai's nearest plane); inputs go in order of falling energy. Scales
 * are symmetric, one per output channel, each chosen from fractions of the largest weight by the diagonal of H. Ternary
 * weights have a search of their own for scales, and codes and scales are refined afterwards ({@link TernaryRounding}).
 */
final class CompensatedRounding {
    /** Damping of the rounding step relative to the mean diagonal, as in GPTQ. */
    private static final double DAMPING = 0.01;

    private static final int SCALES = 24;
    private static final double LEAST_SCALE = 0.35;

    private final int inputs;
    private final int outputs;
    private final double[] h;
    private final double meanDiagonal;
    private final int[] order;
    /** Upper triangular, in order of rounding. */
    private final double[] r;

    /**
     * @param codes signed {@code [outputs, inputs]}
     * @param scales {@code [outputs]}
     */
    @SuppressWarnings("ArrayRecordComponent") // results, never compared
    record Rounded(int[] codes, float[] scales) {}

    /** @param h covariance of the quantized inputs {@code [inputs, inputs]} */
    CompensatedRounding(double[] h, int inputs, int outputs) {
        this.h = h;
        this.inputs = inputs;
        this.outputs = outputs;
        double trace = 0;
        for (int i = 0; i < inputs; i++) {
            trace += h[i * inputs + i];
        }
        meanDiagonal = Math.max(trace / inputs, 1e-20);
        order = IntStream.range(0, inputs)
                .boxed()
                .sorted((a, b) -> Double.compare(h[b * inputs + b], h[a * inputs + a]))
                .mapToInt(Integer::intValue)
                .toArray();
        r = upperFactor();
    }

    /** {@code H + d I = R R^T} in rounding order, from the Cholesky factor of the matrix turned end to end. */
    private double[] upperFactor() {
        DMatrixRMaj turned = new DMatrixRMaj(inputs, inputs);
        for (int i = 0; i < inputs; i++) {
            for (int j = 0; j < inputs; j++) {
                double v = h[order[inputs - 1 - i] * inputs + order[inputs - 1 - j]];
                turned.set(i, j, i == j ? v + DAMPING * meanDiagonal : v);
            }
        }
        double[] lower = factor(turned);
        double[] upper = new double[inputs * inputs];
        for (int a = 0; a < inputs; a++) {
            for (int b = a; b < inputs; b++) {
                upper[a * inputs + b] = lower[(inputs - 1 - a) * inputs + inputs - 1 - b];
            }
        }
        return upper;
    }

    private static double[] factor(DMatrixRMaj matrix) {
        int size = matrix.numRows;
        for (double v : matrix.data) {
            if (!Double.isFinite(v)) {
                // No damping would mend it.
                throw new dev.trivet.BadInputException(
                        "the model's activations overflow on a calibration image; check the weights and the preprocessing");
            }
        }
        for (double extra = 0; ; extra = extra == 0 ? 1e-9 : extra * 10) {
            DMatrixRMaj copy = matrix.copy();
            double largest = 0;
            for (int i = 0; i < size; i++) {
                largest = Math.max(largest, matrix.get(i, i));
            }
            for (int i = 0; i < size; i++) {
                copy.add(i, i, extra * Math.max(largest, 1e-30));
            }
            CholeskyDecomposition_F64<DMatrixRMaj> cholesky = DecompositionFactory_DDRM.chol(size, true);
            if (cholesky.decompose(copy)) {
                return cholesky.getT(null).data;
            }
            // Rounding can make a flat matrix indefinite by a hair; a little more damping mends it.
        }
    }

    /**
     * The ridge step.
     *
     * @param c covariance of quantized inputs and wanted outputs {@code [inputs, outputs]}
     * @param weight {@code [outputs, inputs]}
     * @param lambda pull towards {@code weight}, relative to the mean diagonal of H
     * @return moved weights {@code [inputs, outputs]}
     */
    double[] ridge(double[] c, double[] weight, double lambda) {
        double l = lambda * meanDiagonal;
        DMatrixRMaj a = new DMatrixRMaj(inputs, inputs);
        for (int i = 0; i < inputs; i++) {
            for (int j = 0; j < inputs; j++) {
                a.set(i, j, h[i * inputs + j] + (i == j ? l : 0));
            }
        }
        double[] lower = factor(a);
        double[] x = new double[inputs * outputs];
        for (int k = 0; k < inputs; k++) {
            for (int n = 0; n < outputs; n++) {
                x[k * outputs + n] = c[k * outputs + n] + l * weight[n * inputs + k];
            }
        }
        for (int k = 0; k < inputs; k++) {
            for (int j = 0; j < k; j++) {
                axpy(x, k * outputs, x, j * outputs, -lower[k * inputs + j], outputs);
            }
            scale(x, k * outputs, 1 / lower[k * inputs + k], outputs);
        }
        for (int k = inputs - 1; k >= 0; k--) {
            for (int j = k + 1; j < inputs; j++) {
                axpy(x, k * outputs, x, j * outputs, -lower[j * inputs + k], outputs);
            }
            scale(x, k * outputs, 1 / lower[k * inputs + k], outputs);
        }
        return x;
    }

    private static void axpy(double[] to, int at, double[] from, int start, double factor, int count) {
        for (int n = 0; n < count; n++) {
            to[at + n] += factor * from[start + n];
        }
    }

    private static void scale(double[] values, int at, double factor, int count) {
        for (int n = 0; n < count; n++) {
            values[at + n] *= factor;
        }
    }

    /** @return {@code weight [outputs, inputs]} as {@code [inputs, outputs]} */
    double[] transposed(double[] weight) {
        double[] t = new double[weight.length];
        for (int n = 0; n < outputs; n++) {
            for (int k = 0; k < inputs; k++) {
                t[k * outputs + n] = weight[n * inputs + k];
            }
        }
        return t;
    }

    /**
     * The rounding step.
     *
     * @param weight {@code [inputs, outputs]}
     */
    Rounded round(double[] weight, WeightCoding coding) {
        if (coding == WeightCoding.TERNARY) {
            TernaryRounding ternary = new TernaryRounding(h, DAMPING * meanDiagonal, inputs, outputs);
            return ternary.refine(weight, round(weight, ternary.scales(weight), coding));
        }
        return round(weight, scales(weight, coding), coding);
    }

    private Rounded round(double[] weight, float[] scales, WeightCoding coding) {
        double high = coding.highest();
        double low = coding.lowest();
        int[] codes = new int[outputs * inputs];
        double[] errors = new double[inputs * outputs];
        double[] row = new double[outputs];
        for (int k = 0; k < inputs; k++) {
            int input = order[k];
            System.arraycopy(weight, input * outputs, row, 0, outputs);
            double inverse = 1 / r[k * inputs + k];
            for (int j = 0; j < k; j++) {
                axpy(row, 0, errors, j * outputs, r[j * inputs + k] * inverse, outputs);
            }
            for (int n = 0; n < outputs; n++) {
                double code = Math.clamp(Math.rint(row[n] / scales[n]), low, high);
                codes[n * inputs + input] = (int) code;
                errors[k * outputs + n] = weight[input * outputs + n] - code * scales[n];
            }
        }
        return new Rounded(codes, scales);
    }

    private float[] scales(double[] weight, WeightCoding coding) {
        double high = coding.highest();
        double low = coding.lowest();
        float[] scales = new float[outputs];
        for (int n = 0; n < outputs; n++) {
            double most = 1e-20;
            for (int k = 0; k < inputs; k++) {
                most = Math.max(most, Math.abs(weight[k * outputs + n]));
            }
            double least = Double.POSITIVE_INFINITY;
            for (int s = 0; s < SCALES; s++) {
                double factor = 1.02 - (1.02 - LEAST_SCALE) * s / (SCALES - 1);
                float scale = (float) (most / (high + 0.5) * factor);
                double error = 0;
                for (int k = 0; k < inputs && error < least; k++) {
                    double w = weight[k * outputs + n];
                    double e = w - Math.clamp(Math.rint(w / scale), low, high) * scale;
                    error += h[k * inputs + k] * e * e;
                }
                if (error < least) {
                    least = error;
                    scales[n] = scale;
                }
            }
        }
        return scales;
    }
}
