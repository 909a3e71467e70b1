package dev.trivet.ptq;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
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
 * one is exactly zero. {@link #pearson()} brings the columns to a common origin in double.
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

    /** @param output float32 {@code [rows, columns]} */
    void setOutput(MemorySegment output) {
        for (int c = 0; c < columns; c += F.length()) {
            VectorMask<Float> mask = F.indexInRange(c, columns);
            FloatVector origin = FloatVector.fromMemorySegment(F, output, 4L * c, ORDER, mask);
            FloatVector sum = FloatVector.zero(F);
            FloatVector squares = sum;
            for (int r = 0; r < rows; r++) {
                FloatVector v = FloatVector.fromMemorySegment(F, output, 4L * ((long) r * columns + c), ORDER, mask)
                        .sub(origin);
                sum = sum.add(v);
                squares = v.fma(v, squares);
            }
            origin.intoArray(originO, c, mask);
            sum.intoArray(o, c, mask);
            squares.intoArray(oo, c, mask);
        }
    }

    /**
     * @param output float32 {@code [rows, columns]}, the same as {@link #setOutput} was given
     * @param sums int32 {@code [rows, columns]}: what the integer kernel gave
     * @param correction {@code [columns]}, subtracted from the sums
     * @param scale {@code [columns]}, multiplied
     */
    void setQuantized(MemorySegment output, MemorySegment sums, int[] correction, float[] scale) {
        for (int c = 0; c < columns; c += F.length()) {
            VectorMask<Float> mask = F.indexInRange(c, columns);
            VectorMask<Integer> integers = mask.cast(I);
            IntVector shift = IntVector.fromArray(I, correction, c, integers);
            FloatVector step = FloatVector.fromArray(F, scale, c, mask);
            FloatVector origin = FloatVector.fromArray(F, originO, c, mask);
            FloatVector errorOrigin = error(output, sums, c, mask, shift, step);
            FloatVector se = FloatVector.zero(F);
            FloatVector see = se;
            FloatVector soe = se;
            for (int r = 0; r < rows; r++) {
                long at = 4L * ((long) r * columns + c);
                FloatVector v = FloatVector.fromMemorySegment(F, output, at, ORDER, mask)
                        .sub(origin);
                FloatVector error =
                        error(output, sums, at / 4, mask, shift, step).sub(errorOrigin);
                se = se.add(error);
                see = error.fma(error, see);
                soe = error.fma(v, soe);
            }
            errorOrigin.intoArray(originE, c, mask);
            se.intoArray(e, c, mask);
            see.intoArray(ee, c, mask);
            soe.intoArray(oe, c, mask);
        }
    }

    /** {@code (sums - shift) * step - output}, rounded once. */
    private static FloatVector error(
            MemorySegment output,
            MemorySegment sums,
            long index,
            VectorMask<Float> mask,
            IntVector shift,
            FloatVector step) {
        FloatVector v = FloatVector.fromMemorySegment(F, output, 4 * index, ORDER, mask);
        IntVector sum = IntVector.fromMemorySegment(I, sums, 4 * index, ORDER, mask.cast(I))
                .sub(shift);
        return ((FloatVector) sum.convert(VectorOperators.I2F, 0)).fma(step, v.neg());
    }

    /** Pearson correlation within one column. */
    double pearson(int column) {
        boolean exact = ee[column] == 0 && originE[column] == 0;
        return pearson(rows, o[column], oo[column], e[column], ee[column], oe[column], exact);
    }

    /** Pearson correlation over all elements: eq. (11) of Liu et al. 2021 for one image. */
    double pearson() {
        double so = 0;
        double soo = 0;
        double se = 0;
        double see = 0;
        double soe = 0;
        boolean exact = true;
        for (int c = 0; c < columns; c++) {
            // From the first column's origin: (x + d)(y + b) = x y + b x + d y + d b, summed over the rows.
            double d = (double) originO[c] - originO[0];
            double b = (double) originE[c] - originE[0];
            so += o[c] + rows * d;
            soo += oo[c] + 2 * d * o[c] + rows * d * d;
            se += e[c] + rows * b;
            see += ee[c] + 2 * b * e[c] + rows * b * b;
            soe += oe[c] + b * o[c] + d * e[c] + rows * d * b;
            exact &= ee[c] == 0 && originE[c] == 0;
        }
        return pearson((double) rows * columns, so, soo, se, see, soe, exact);
    }

    /** A constant output correlates perfectly with an exact copy of itself and not at all with anything else. */
    private static double pearson(
            double count, double so, double soo, double se, double see, double soe, boolean exact) {
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
