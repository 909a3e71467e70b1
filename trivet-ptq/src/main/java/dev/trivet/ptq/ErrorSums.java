package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * Column sums from which the Pearson correlation of an output {@code o} and its quantized version {@code q = o + e} follows:
 *
 * <pre>cov(o, q) = var(o) + cov(o, e)      var(q) = var(o) + 2 cov(o, e) + var(e)</pre>
 *
 * The sums are taken over the error {@code e} rather than over {@code q}: at 8 bits the correlation differs from 1 in the
 * fifth digit, which float sums over {@code q} itself would lose. For the same reason each column's values are taken from
 * those of its first row, which changes no variance: a column far from zero keeps its digits, and the variance of a constant
 * one is exactly zero. {@link #pearson} brings the columns to a common origin in double; a bias only moves the origins.
 *
 * <p>Every column is summed row by row, so the sums do not depend on the width of the registers. Ragged ends are done by a
 * register that overlaps the one before and writes the same sums again.
 */
final class ErrorSums {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    private final int columns;
    private final int rows;
    /** Least variance of a quantized output relative to its terms; what is left below is rounding of the sums. */
    private static final double CONSTANT = 1e-6;

    /** Per column: the origins of o and e, their values in the first row. */
    private final float[] originO;

    private final float[] originE;
    /** Per column, from the origins: sum of o, o^2, e, e^2, o e. */
    private final float[] o;

    private final float[] oo;
    private final float[] e;
    private final float[] ee;
    private final float[] oe;

    ErrorSums(int rows, int columns) {
        this.rows = rows;
        this.columns = columns;
        originO = new float[columns];
        originE = new float[columns];
        o = new float[columns];
        oo = new float[columns];
        e = new float[columns];
        ee = new float[columns];
        oe = new float[columns];
    }

    int columns() {
        return columns;
    }

    /** @param output float32 {@code [rows, columns]} */
    void setOutput(MemorySegment output) {
        if (columns < F.length()) {
            for (int c = 0; c < columns; c++) {
                setOutput(output, c);
            }
            return;
        }
        for (int start = 0; start < columns; start += F.length()) {
            int c = Math.min(start, columns - F.length());
            FloatVector origin = FloatVector.fromMemorySegment(F, output, 4L * c, ORDER);
            FloatVector sum = FloatVector.zero(F);
            FloatVector squares = sum;
            for (int r = 0; r < rows; r++) {
                FloatVector v = FloatVector.fromMemorySegment(F, output, 4L * ((long) r * columns + c), ORDER)
                        .sub(origin);
                sum = sum.add(v);
                squares = v.fma(v, squares);
            }
            origin.intoArray(originO, c);
            sum.intoArray(o, c);
            squares.intoArray(oo, c);
        }
    }

    private void setOutput(MemorySegment output, int c) {
        originO[c] = output.getAtIndex(JAVA_FLOAT, c);
        o[c] = 0;
        oo[c] = 0;
        for (int r = 0; r < rows; r++) {
            float v = output.getAtIndex(JAVA_FLOAT, (long) r * columns + c) - originO[c];
            o[c] += v;
            oo[c] = Math.fma(v, v, oo[c]);
        }
    }

    /**
     * Takes {@code q[r, c] = (sums[r, c] - zeroPoint * rowSums[c]) * (scales[c] * factor)}.
     *
     * @param output float32 {@code [rows, columns]}, the same as {@link #setOutput} was given
     * @param sums int32 {@code [rows, columns]}: what the integer kernel gave
     * @param rowSums {@code [columns]}: sums of the weight codes
     * @param zeroPoint of the input
     * @param scales {@code [columns]} of the weights
     * @param factor scale of the input
     */
    void setQuantized(
            MemorySegment output, MemorySegment sums, int[] rowSums, int zeroPoint, float[] scales, float factor) {
        if (columns < F.length()) {
            for (int c = 0; c < columns; c++) {
                setQuantized(output, sums, c, zeroPoint * rowSums[c], scales[c] * factor);
            }
            return;
        }
        for (int start = 0; start < columns; start += F.length()) {
            int c = Math.min(start, columns - F.length());
            IntVector shift = IntVector.fromArray(I, rowSums, c).mul(zeroPoint);
            FloatVector step = FloatVector.fromArray(F, scales, c).mul(factor);
            FloatVector origin = FloatVector.fromArray(F, originO, c);
            FloatVector first = FloatVector.fromMemorySegment(F, output, 4L * c, ORDER);
            FloatVector errorOrigin = value(sums, c, shift).fma(step, first.neg());
            FloatVector se = FloatVector.zero(F);
            FloatVector see = se;
            FloatVector soe = se;
            for (int r = 0; r < rows; r++) {
                long at = (long) r * columns + c;
                FloatVector v = FloatVector.fromMemorySegment(F, output, 4 * at, ORDER);
                FloatVector error = value(sums, at, shift).fma(step, v.neg()).sub(errorOrigin);
                se = se.add(error);
                see = error.fma(error, see);
                soe = error.fma(v.sub(origin), soe);
            }
            errorOrigin.intoArray(originE, c);
            se.intoArray(e, c);
            see.intoArray(ee, c);
            soe.intoArray(oe, c);
        }
    }

    private static FloatVector value(MemorySegment sums, long index, IntVector shift) {
        IntVector sum = IntVector.fromMemorySegment(I, sums, 4 * index, ORDER).sub(shift);
        return (FloatVector) sum.convert(VectorOperators.I2F, 0);
    }

    private void setQuantized(MemorySegment output, MemorySegment sums, int c, int shift, float step) {
        originE[c] = Math.fma((float) (sums.getAtIndex(JAVA_INT, c) - shift), step, -originO[c]);
        e[c] = 0;
        ee[c] = 0;
        oe[c] = 0;
        for (int r = 0; r < rows; r++) {
            long at = (long) r * columns + c;
            float v = output.getAtIndex(JAVA_FLOAT, at);
            float error = Math.fma((float) (sums.getAtIndex(JAVA_INT, at) - shift), step, -v) - originE[c];
            e[c] += error;
            ee[c] = Math.fma(error, error, ee[c]);
            oe[c] = Math.fma(error, v - originO[c], oe[c]);
        }
    }

    /** Mean over the rows of the error of one column. */
    double meanError(int column) {
        return originE[column] + (double) e[column] / rows;
    }

    /**
     * Pearson correlation over all elements of some columns: eq. (11) of Liu et al. 2021 for one image.
     *
     * @param from first column
     * @param to the column after the last
     * @param bias {@code [columns]}, added to the quantized output
     */
    double pearson(int from, int to, float[] bias) {
        double so = 0;
        double soo = 0;
        double se = 0;
        double see = 0;
        double soe = 0;
        boolean exact = true;
        double firstError = (double) originE[from] + bias[from];
        for (int c = from; c < to; c++) {
            // From the first column's origin: (x + d)(y + b) = x y + b x + d y + d b, summed over the rows.
            double error = (double) originE[c] + bias[c];
            double d = (double) originO[c] - originO[from];
            double b = error - firstError;
            so += o[c] + rows * d;
            soo += oo[c] + 2 * d * o[c] + rows * d * d;
            se += e[c] + rows * b;
            see += ee[c] + 2 * b * e[c] + rows * b * b;
            soe += oe[c] + b * o[c] + d * e[c] + rows * d * b;
            exact &= ee[c] == 0 && error == 0;
        }
        return pearson((double) rows * (to - from), so, soo, se, see, soe, exact);
    }

    /** A constant output correlates perfectly with an exact copy of itself and not at all with anything else. */
    static double pearson(double count, double so, double soo, double se, double see, double soe, boolean exact) {
        if (exact) {
            return 1;
        }
        double varO = soo - so * so / count;
        double varE = see - se * se / count;
        double covE = soe - so * se / count;
        double varQ = varO + 2 * covE + varE;
        if (!(varO > 0) || !(varQ > CONSTANT * (varO + varE))) {
            return 0;
        }
        return Math.clamp((varO + covE) / Math.sqrt(varO * varQ), -1.0, 1.0);
    }
}
