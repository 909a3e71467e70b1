package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * A register-tiled product of a row-major left operand and a right operand packed in panels of two registers' width: 4 rows
 * by 2 registers of accumulators, each left element broadcast once per panel. The result of one tile goes through a small
 * buffer, which makes ragged columns and the conversion to int32 a plain copy.
 */
final class VectorGemm {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    static final int L = F.length();
    /** Columns of a panel. */
    private static final int PANEL = 2 * L;

    private static final int ROWS = 4;

    private final float[] tile = new float[ROWS * PANEL];
    private final int[] sums = new int[ROWS * PANEL];
    private final int[] before = new int[PANEL];

    static int packedLength(int columns, int k) {
        return Math.multiplyExact(Math.ceilDiv(columns, PANEL) * PANEL, k);
    }

    /**
     * Packs to {@code [columns / PANEL][k][PANEL]}, ragged columns padded with zero.
     *
     * @param from element (column, i) stands at {@code column * columnStride + i * stride}
     */
    static void pack(float[] to, int columns, int k, float[] from, int columnStride, int stride) {
        int at = 0;
        for (int panel = 0; panel < columns; panel += PANEL) {
            for (int i = 0; i < k; i++) {
                for (int j = 0; j < PANEL; j++) {
                    int column = panel + j;
                    to[at++] = column < columns ? from[column * columnStride + i * stride] : 0f;
                }
            }
        }
    }

    /**
     * @param left {@code [rows, k]}
     * @param packed from {@link #pack}
     * @param out {@code [rows, columns]} from element {@code outStart} on, int32 or float32
     */
    void run(
            float[] left,
            int rows,
            float[] packed,
            int columns,
            int k,
            MemorySegment out,
            long outStart,
            boolean integer) {
        int block = integer ? VectorKernels.EXACT_BLOCK : k;
        for (int panel = 0; panel < columns; panel += PANEL) {
            int width = Math.min(PANEL, columns - panel);
            for (int from = 0; from < k; from += block) {
                int to = Math.min(k, from + block);
                for (int row = 0; row < rows; row += ROWS) {
                    int height = Math.min(ROWS, rows - row);
                    if (height == ROWS) {
                        fourRows(left, row * k, k, packed, panel * k, from, to);
                    } else {
                        for (int r = 0; r < height; r++) {
                            oneRow(left, (row + r) * k, packed, panel * k, from, to, r * PANEL);
                        }
                    }
                    write(out, outStart + (long) row * columns + panel, columns, height, width, integer, from > 0);
                }
            }
        }
    }

    private void fourRows(float[] left, int l0, int k, float[] packed, int panel, int from, int to) {
        int l1 = l0 + k;
        int l2 = l1 + k;
        int l3 = l2 + k;
        FloatVector a00 = FloatVector.zero(F);
        FloatVector a01 = a00;
        FloatVector a10 = a00;
        FloatVector a11 = a00;
        FloatVector a20 = a00;
        FloatVector a21 = a00;
        FloatVector a30 = a00;
        FloatVector a31 = a00;
        for (int i = from; i < to; i++) {
            FloatVector b0 = FloatVector.fromArray(F, packed, panel + i * PANEL);
            FloatVector b1 = FloatVector.fromArray(F, packed, panel + i * PANEL + L);
            FloatVector r0 = FloatVector.broadcast(F, left[l0 + i]);
            FloatVector r1 = FloatVector.broadcast(F, left[l1 + i]);
            FloatVector r2 = FloatVector.broadcast(F, left[l2 + i]);
            FloatVector r3 = FloatVector.broadcast(F, left[l3 + i]);
            a00 = r0.fma(b0, a00);
            a01 = r0.fma(b1, a01);
            a10 = r1.fma(b0, a10);
            a11 = r1.fma(b1, a11);
            a20 = r2.fma(b0, a20);
            a21 = r2.fma(b1, a21);
            a30 = r3.fma(b0, a30);
            a31 = r3.fma(b1, a31);
        }
        a00.intoArray(tile, 0);
        a01.intoArray(tile, L);
        a10.intoArray(tile, PANEL);
        a11.intoArray(tile, PANEL + L);
        a20.intoArray(tile, 2 * PANEL);
        a21.intoArray(tile, 2 * PANEL + L);
        a30.intoArray(tile, 3 * PANEL);
        a31.intoArray(tile, 3 * PANEL + L);
    }

    private void oneRow(float[] left, int l, float[] packed, int panel, int from, int to, int at) {
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        for (int i = from; i < to; i++) {
            FloatVector r = FloatVector.broadcast(F, left[l + i]);
            a0 = r.fma(FloatVector.fromArray(F, packed, panel + i * PANEL), a0);
            a1 = r.fma(FloatVector.fromArray(F, packed, panel + i * PANEL + L), a1);
        }
        a0.intoArray(tile, at);
        a1.intoArray(tile, at + L);
    }

    private void write(
            MemorySegment out, long start, int columns, int height, int width, boolean integer, boolean add) {
        if (integer) {
            toIntegers();
        }
        for (int r = 0; r < height; r++) {
            long at = start + (long) r * columns;
            if (!integer) {
                MemorySegment.copy(tile, r * PANEL, out, JAVA_FLOAT, 4 * at, width);
                continue;
            }
            if (add) {
                MemorySegment.copy(out, JAVA_INT, 4 * at, before, 0, width);
                for (int j = 0; j < width; j++) {
                    sums[r * PANEL + j] += before[j];
                }
            }
            MemorySegment.copy(sums, r * PANEL, out, JAVA_INT, 4 * at, width);
        }
    }

    private void toIntegers() {
        for (int i = 0; i < tile.length; i += L) {
            FloatVector values = FloatVector.fromArray(F, tile, i);
            ((IntVector) values.convert(VectorOperators.F2I, 0)).intoArray(sums, i);
        }
    }
}
