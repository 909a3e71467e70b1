package dev.trivet.kernel;

import static dev.trivet.kernel.NativeMemory.ALL;
import static dev.trivet.kernel.NativeMemory.ORDER;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * {@link Pointwise#layerNorm} to bytes with registers of 16 or 8 floats. A sum of one row is a chain in which each addition waits for the one before
 * (the reference's 16 stripes are one register here, or two), so four registers are summed side by side: of four rows, or of two. Bit for bit
 * {@link ReferencePointwise}. For one thread.
 */
final class LayerNormPass {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final int L = F.length();
    private static final VectorSpecies<Byte> B =
            L < 8 ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(L * 8));

    private static final int STRIPES = ScalarRow.LANES;
    /** Whether a register holds all stripes of a row. */
    private static final boolean WHOLE = L == STRIPES;
    /** Rows side by side. */
    private static final int ROWS = WHOLE ? 4 : 2;

    private final float[] sums = new float[ROWS * STRIPES];
    private final float[] means = new float[ROWS];
    private final float[] inverses = new float[ROWS];

    /** Whether this pass is for such rows. */
    static boolean takes(int width, Operand operand) {
        return (WHOLE || 2 * L == STRIPES) && width % STRIPES == 0 && operand.isByte();
    }

    void run(
            MemorySegment x,
            int stride,
            int rows,
            int width,
            MemorySegment gamma,
            MemorySegment beta,
            float epsilon,
            Operand operand,
            MemorySegment out) {
        long in = NativeMemory.address(x, rows == 0 ? 0 : 4 * ((rows - 1L) * stride + width));
        long factor = NativeMemory.address(gamma, 4L * width);
        long offset = NativeMemory.address(beta, 4L * width);
        int outStride = operand.stride(width);
        long codes = NativeMemory.target(out, rows == 0 ? 0 : (rows - 1L) * outStride + width);
        for (int r = 0; r < rows; r += ROWS) {
            int count = Math.min(ROWS, rows - r);
            long first = in + 4L * r * stride;
            statistics(first, stride, count, width, epsilon);
            normalize(first, stride, count, width, factor, offset, operand, codes + (long) r * outStride);
        }
        for (int r = 0; operand.levels != null && r < rows; r++) {
            LevelTable.replace(operand, out, (long) r * outStride, width);
        }
    }

    /** Mean and inverse deviation of up to {@link #ROWS} rows; where there are fewer the last one is taken several times. */
    private void statistics(long x, int stride, int count, int width, float epsilon) {
        long next = (long) Math.min(1, count - 1) * stride;
        long second = WHOLE ? next : L;
        long third = WHOLE ? (long) Math.min(2, count - 1) * stride : next;
        long fourth = WHOLE ? (long) Math.min(3, count - 1) * stride : next + L;
        FloatVector a = FloatVector.zero(F);
        FloatVector b = a;
        FloatVector c = a;
        FloatVector d = a;
        for (int i = 0; i < width; i += STRIPES) {
            a = a.add(FloatRow.floats(x, i));
            b = b.add(FloatRow.floats(x, second + i));
            c = c.add(FloatRow.floats(x, third + i));
            d = d.add(FloatRow.floats(x, fourth + i));
        }
        store(a, b, c, d);
        for (int r = 0; r < ROWS; r++) {
            means[r] = fold(sums, r * STRIPES) / width;
        }
        FloatVector meanA = FloatVector.broadcast(F, means[0]);
        FloatVector meanB = FloatVector.broadcast(F, means[WHOLE ? 1 : 0]);
        FloatVector meanC = FloatVector.broadcast(F, means[WHOLE ? 2 : 1]);
        FloatVector meanD = FloatVector.broadcast(F, means[ROWS - 1]);
        a = FloatVector.zero(F);
        b = a;
        c = a;
        d = a;
        for (int i = 0; i < width; i += STRIPES) {
            FloatVector p = FloatRow.floats(x, i).sub(meanA);
            FloatVector q = FloatRow.floats(x, second + i).sub(meanB);
            FloatVector s = FloatRow.floats(x, third + i).sub(meanC);
            FloatVector t = FloatRow.floats(x, fourth + i).sub(meanD);
            a = p.fma(p, a);
            b = q.fma(q, b);
            c = s.fma(s, c);
            d = t.fma(t, d);
        }
        store(a, b, c, d);
        for (int r = 0; r < ROWS; r++) {
            inverses[r] = ReferencePointwise.inverseDeviation(fold(sums, r * STRIPES), width, epsilon);
        }
    }

    /** Sums are folded in memory: with registers HotSpot now and then settles on code that makes objects of them. */
    private void store(FloatVector a, FloatVector b, FloatVector c, FloatVector d) {
        a.intoArray(sums, 0);
        b.intoArray(sums, L);
        c.intoArray(sums, 2 * L);
        d.intoArray(sums, 3 * L);
    }

    /** {@link ScalarRow#fold} of sixteen lanes, written out: the loops took as long as the sums. */
    private static float fold(float[] lanes, int i) {
        float a = lanes[i] + lanes[i + 8] + (lanes[i + 4] + lanes[i + 12]);
        float b = lanes[i + 1] + lanes[i + 9] + (lanes[i + 5] + lanes[i + 13]);
        float c = lanes[i + 2] + lanes[i + 10] + (lanes[i + 6] + lanes[i + 14]);
        float d = lanes[i + 3] + lanes[i + 11] + (lanes[i + 7] + lanes[i + 15]);
        return a + c + (b + d);
    }

    private void normalize(
            long x, int stride, int count, int width, long gamma, long beta, Operand operand, long codes) {
        float steps = operand.inverseScale;
        int low = (int) operand.low;
        int high = (int) operand.high;
        int zero = operand.zeroPoint;
        int outStride = operand.stride(width);
        for (int r = 0; r < count; r++) {
            long base = (long) r * stride;
            long to = codes + (long) r * outStride;
            float mean = means[r];
            float inverse = inverses[r];
            for (int i = 0; i < width; i += L) {
                FloatVector normal = FloatRow.floats(x, base + i).sub(mean).mul(inverse);
                FloatVector y = normal.fma(FloatRow.floats(gamma, i), FloatRow.floats(beta, i));
                IntVector code = VectorMath.code(y, steps, low, high, zero);
                ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, to + i, ORDER);
            }
        }
    }
}
