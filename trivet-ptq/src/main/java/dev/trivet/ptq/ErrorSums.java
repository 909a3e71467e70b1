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
 * fifth digit, which float sums over {@code q} itself would lose.
 */
final class ErrorSums {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    private final int columns;
    private final int rows;
    /** Per column: sum of o, o^2, e, e^2, o e. */
    private final float[] o;

    private final float[] oo;
    private final float[] e;
    private final float[] ee;
    private final float[] oe;

    ErrorSums(int rows, int columns) {
        this.rows = rows;
        this.columns = columns;
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
            FloatVector sum = FloatVector.zero(F);
            FloatVector squares = sum;
            for (int r = 0; r < rows; r++) {
                FloatVector v = FloatVector.fromMemorySegment(F, output, 4L * ((long) r * columns + c), ORDER, mask);
                sum = sum.add(v);
                squares = v.fma(v, squares);
            }
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
            FloatVector se = FloatVector.zero(F);
            FloatVector see = se;
            FloatVector soe = se;
            for (int r = 0; r < rows; r++) {
                long at = 4L * ((long) r * columns + c);
                FloatVector v = FloatVector.fromMemorySegment(F, output, at, ORDER, mask);
                IntVector sum = IntVector.fromMemorySegment(I, sums, at, ORDER, integers)
                        .sub(shift);
                FloatVector error = ((FloatVector) sum.convert(VectorOperators.I2F, 0)).fma(step, v.neg());
                se = se.add(error);
                see = error.fma(error, see);
                soe = error.fma(v, soe);
            }
            se.intoArray(e, c, mask);
            see.intoArray(ee, c, mask);
            soe.intoArray(oe, c, mask);
        }
    }

    /** Pearson correlation within one column. */
    double pearson(int column) {
        return pearson(rows, o[column], oo[column], e[column], ee[column], oe[column]);
    }

    /** Pearson correlation over all elements: eq. (11) of Liu et al. 2021 for one image. */
    double pearson() {
        double so = 0;
        double soo = 0;
        double se = 0;
        double see = 0;
        double soe = 0;
        for (int c = 0; c < columns; c++) {
            so += o[c];
            soo += oo[c];
            se += e[c];
            see += ee[c];
            soe += oe[c];
        }
        return pearson((double) rows * columns, so, soo, se, see, soe);
    }

    /** A constant output correlates perfectly with an exact copy of itself and not at all with anything else. */
    private static double pearson(double count, double so, double soo, double se, double see, double soe) {
        double varO = soo - so * so / count;
        double covE = soe - so * se / count;
        double varQ = varO + 2 * covE + (see - se * se / count);
        if (!(varO > 0) || !(varQ > 0)) {
            return see == 0 ? 1 : 0;
        }
        return Math.clamp((varO + covE) / Math.sqrt(varO * varQ), -1.0, 1.0);
    }
}
