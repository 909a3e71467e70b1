package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * {@link Pointwise} with the Vector API, bit for bit equal to {@link ReferencePointwise}: every lane performs the reference's
 * sequence of operations, and sums follow its 16 striped lanes with one, two or four registers. Ragged row ends are handled
 * with masks; a masked-off lane adds +0, which changes no sum.
 */
final class VectorPointwise implements Pointwise {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final int L = F.length();
    private static final int LANES = ReferencePointwise.LANES;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    /** Registers hold 4, 8 or 16 floats; other widths (SVE) would break the striping. */
    static final boolean SUPPORTED = L == 4 || L == 8 || L == 16;

    /** One byte per float lane. With 4 float lanes no such byte species exists and bytes are stored one by one. */
    private static final VectorSpecies<Byte> B =
            L < 8 ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(L * 8));

    private final float[] lanes = new float[LANES];
    private final int[] codes = new int[LANES];
    private float[] row = new float[0];

    @Override
    public void encode(MemorySegment x, int count, Operand operand, MemorySegment out) {
        for (int i = 0; i < count; i += L) {
            VectorMask<Float> mask = F.indexInRange(i, count);
            store(load(x, i, mask), out, i, mask, operand);
        }
    }

    @Override
    public void layerNorm(
            MemorySegment x,
            int rows,
            int width,
            MemorySegment gamma,
            MemorySegment beta,
            float epsilon,
            Operand operand,
            MemorySegment out) {
        for (int r = 0; r < rows; r++) {
            long base = (long) r * width;
            float mean = sum(x, base, width) / width;
            float inverse = ReferencePointwise.inverseDeviation(squares(x, base, width, mean), width, epsilon);
            for (int c = 0; c < width; c += L) {
                VectorMask<Float> mask = F.indexInRange(c, width);
                FloatVector normal = load(x, base + c, mask).sub(mean).mul(inverse);
                store(normal.fma(load(gamma, c, mask), load(beta, c, mask)), out, base + c, mask, operand);
            }
        }
    }

    @Override
    public void decode(MemorySegment raw, int rows, Product product, MemorySegment out) {
        int columns = product.columns();
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < columns; c += L) {
                VectorMask<Float> mask = F.indexInRange(c, columns);
                long i = (long) r * columns + c;
                value(raw, i, c, mask, product).intoMemorySegment(out, 4 * i, ORDER, mask);
            }
        }
    }

    @Override
    public void addTo(MemorySegment raw, int rows, Product product, MemorySegment residual) {
        int columns = product.columns();
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < columns; c += L) {
                VectorMask<Float> mask = F.indexInRange(c, columns);
                long i = (long) r * columns + c;
                FloatVector sum = load(residual, i, mask).add(value(raw, i, c, mask, product));
                sum.intoMemorySegment(residual, 4 * i, ORDER, mask);
            }
        }
    }

    @Override
    public void gelu(MemorySegment raw, int rows, Product product, Operand operand, MemorySegment out) {
        int columns = product.columns();
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < columns; c += L) {
                VectorMask<Float> mask = F.indexInRange(c, columns);
                long i = (long) r * columns + c;
                store(gelu(value(raw, i, c, mask, product)), out, i, mask, operand);
            }
        }
    }

    @Override
    public void splitHeads(
            MemorySegment raw,
            AttentionShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        int heads = shape.heads();
        for (int row = 0; row < shape.images() * shape.tokens(); row++) {
            for (int head = 0; head < heads; head++) {
                long to = shape.headRow(row, head) * shape.headWidth();
                splitOne(raw, row, head, shape, product, operands.query(), query, to);
                splitOne(raw, row, heads + head, shape, product, operands.key(), key, to);
                splitOne(raw, row, 2 * heads + head, shape, product, operands.value(), value, to);
            }
        }
    }

    private void splitOne(
            MemorySegment raw,
            int row,
            int group,
            AttentionShape shape,
            Product product,
            Operand operand,
            MemorySegment out,
            long to) {
        int headWidth = shape.headWidth();
        int column = group * headWidth;
        long from = (long) row * 3 * shape.width() + column;
        for (int c = 0; c < headWidth; c += L) {
            VectorMask<Float> mask = F.indexInRange(c, headWidth);
            store(value(raw, from + c, column + c, mask, product), out, to + c, mask, operand);
        }
    }

    @Override
    public void softmax(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            float scale,
            Operand operand,
            MemorySegment out) {
        if (row.length < columns) {
            row = new float[columns];
        }
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            float highest = scaledRow(raw, base, integer, columns, scale);
            float inverse = 1f / exponentials(columns, highest);
            for (int c = 0; c < columns; c += L) {
                VectorMask<Float> mask = F.indexInRange(c, columns);
                store(FloatVector.fromArray(F, row, c, mask).mul(inverse), out, base + c, mask, operand);
            }
        }
    }

    /** Leaves {@code raw * scale} in {@link #row} and gives its largest value. */
    private float scaledRow(MemorySegment raw, long base, boolean integer, int columns, float scale) {
        FloatVector highest = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
        for (int c = 0; c < columns; c += L) {
            VectorMask<Float> mask = F.indexInRange(c, columns);
            FloatVector scaled = rawValue(raw, base + c, integer, mask).mul(scale);
            scaled.intoArray(row, c, mask);
            highest = highest.lanewise(VectorOperators.MAX, scaled, mask);
        }
        return highest.reduceLanes(VectorOperators.MAX);
    }

    /** Replaces {@link #row} by {@code exp(row - highest)} and gives the striped sum. */
    private float exponentials(int columns, float highest) {
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        for (int c = 0; c < columns; c += LANES) {
            a0 = a0.add(exponentialAt(c, columns, highest));
            if (L <= 8) {
                a1 = a1.add(exponentialAt(c + L, columns, highest));
            }
            if (L <= 4) {
                a2 = a2.add(exponentialAt(c + 2 * L, columns, highest));
                a3 = a3.add(exponentialAt(c + 3 * L, columns, highest));
            }
        }
        return fold(a0, a1, a2, a3);
    }

    private FloatVector exponentialAt(int c, int columns, float highest) {
        VectorMask<Float> mask = F.indexInRange(c, columns);
        FloatVector e = exp(FloatVector.fromArray(F, row, c, mask).sub(highest));
        e.intoArray(row, c, mask);
        return FloatVector.zero(F).blend(e, mask);
    }

    @Override
    public void mergeHeads(
            MemorySegment raw, boolean integer, AttentionShape shape, float scale, Operand operand, MemorySegment out) {
        int headWidth = shape.headWidth();
        for (int row = 0; row < shape.images() * shape.tokens(); row++) {
            for (int head = 0; head < shape.heads(); head++) {
                long from = shape.headRow(row, head) * headWidth;
                long to = (long) row * shape.width() + head * headWidth;
                for (int c = 0; c < headWidth; c += L) {
                    VectorMask<Float> mask = F.indexInRange(c, headWidth);
                    store(rawValue(raw, from + c, integer, mask).mul(scale), out, to + c, mask, operand);
                }
            }
        }
    }

    @Override
    public void meanRows(MemorySegment x, int rows, int width, MemorySegment out) {
        for (int c = 0; c < width; c += L) {
            VectorMask<Float> mask = F.indexInRange(c, width);
            FloatVector sum = FloatVector.zero(F);
            for (int r = 0; r < rows; r++) {
                sum = sum.add(load(x, (long) r * width + c, mask));
            }
            sum.div(rows).intoMemorySegment(out, 4L * c, ORDER, mask);
        }
    }

    private float sum(MemorySegment x, long base, int width) {
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        for (int c = 0; c < width; c += LANES) {
            a0 = a0.add(load(x, base + c, F.indexInRange(c, width)));
            if (L <= 8) {
                a1 = a1.add(load(x, base + c + L, F.indexInRange(c + L, width)));
            }
            if (L <= 4) {
                a2 = a2.add(load(x, base + c + 2 * L, F.indexInRange(c + 2 * L, width)));
                a3 = a3.add(load(x, base + c + 3 * L, F.indexInRange(c + 3 * L, width)));
            }
        }
        return fold(a0, a1, a2, a3);
    }

    private float squares(MemorySegment x, long base, int width, float mean) {
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        for (int c = 0; c < width; c += LANES) {
            a0 = addSquare(a0, x, base, c, width, mean);
            if (L <= 8) {
                a1 = addSquare(a1, x, base, c + L, width, mean);
            }
            if (L <= 4) {
                a2 = addSquare(a2, x, base, c + 2 * L, width, mean);
                a3 = addSquare(a3, x, base, c + 3 * L, width, mean);
            }
        }
        return fold(a0, a1, a2, a3);
    }

    private static FloatVector addSquare(FloatVector sum, MemorySegment x, long base, int c, int width, float mean) {
        VectorMask<Float> mask = F.indexInRange(c, width);
        FloatVector d = load(x, base + c, mask).sub(mean);
        return sum.blend(d.fma(d, sum), mask);
    }

    private float fold(FloatVector a0, FloatVector a1, FloatVector a2, FloatVector a3) {
        a0.intoArray(lanes, 0);
        if (L <= 8) {
            a1.intoArray(lanes, L);
        }
        if (L <= 4) {
            a2.intoArray(lanes, 2 * L);
            a3.intoArray(lanes, 3 * L);
        }
        return ReferencePointwise.fold(lanes);
    }

    private static FloatVector load(MemorySegment x, long index, VectorMask<Float> mask) {
        return FloatVector.fromMemorySegment(F, x, 4 * index, ORDER, mask);
    }

    private static FloatVector rawValue(MemorySegment raw, long index, boolean integer, VectorMask<Float> mask) {
        if (!integer) {
            return load(raw, index, mask);
        }
        IntVector sums = IntVector.fromMemorySegment(I, raw, 4 * index, ORDER, mask.cast(I));
        return (FloatVector) sums.convert(VectorOperators.I2F, 0);
    }

    private static FloatVector value(
            MemorySegment raw, long index, int column, VectorMask<Float> mask, Product product) {
        FloatVector bias = load(product.bias(), column, mask);
        if (!product.integer()) {
            return load(raw, index, mask).add(bias);
        }
        VectorMask<Integer> integers = mask.cast(I);
        IntVector sums = IntVector.fromMemorySegment(I, raw, 4 * index, ORDER, integers)
                .sub(IntVector.fromMemorySegment(I, product.correction(), 4L * column, ORDER, integers));
        FloatVector converted = (FloatVector) sums.convert(VectorOperators.I2F, 0);
        return converted.fma(load(product.scale(), column, mask), bias);
    }

    private void store(FloatVector v, MemorySegment out, long index, VectorMask<Float> mask, Operand operand) {
        if (!operand.integer) {
            v.intoMemorySegment(out, 4 * index, ORDER, mask);
            return;
        }
        FloatVector steps = v.mul(operand.inverseScale).max(operand.low).min(operand.high);
        FloatVector rounded = steps.add(ScalarMath.ROUND).sub(ScalarMath.ROUND);
        IntVector code = ((IntVector) rounded.convert(VectorOperators.F2I, 0)).add(operand.zeroPoint);
        if (L >= 8) {
            ByteVector bytes = (ByteVector) code.castShape(B, 0);
            bytes.intoMemorySegment(out, index, ORDER, mask.cast(B));
        } else {
            code.intoArray(codes, 0);
            for (int j = 0; j < L && mask.laneIsSet(j); j++) {
                out.set(java.lang.foreign.ValueLayout.JAVA_BYTE, index + j, (byte) codes[j]);
            }
        }
    }

    /** {@link ScalarMath#exp} on each lane. */
    private static FloatVector exp(FloatVector x) {
        FloatVector clamped = x.max(ScalarMath.LOWEST_EXPONENT);
        FloatVector n = clamped.mul(ScalarMath.LOG2_E).add(ScalarMath.ROUND).sub(ScalarMath.ROUND);
        FloatVector r = n.fma(FloatVector.broadcast(F, -ScalarMath.LN2_HIGH), clamped);
        r = n.fma(FloatVector.broadcast(F, -ScalarMath.LN2_LOW), r);
        FloatVector p = FloatVector.broadcast(F, ScalarMath.E5);
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E4));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E3));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E2));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E1));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E0));
        FloatVector y = p.fma(r.mul(r), r).add(1f);
        IntVector exponent =
                ((IntVector) n.convert(VectorOperators.F2I, 0)).add(127).lanewise(VectorOperators.LSHL, 23);
        return y.mul(exponent.reinterpretAsFloats());
    }

    /** {@link ScalarMath#gelu} on each lane. */
    private static FloatVector gelu(FloatVector x) {
        FloatVector magnitude = x.abs();
        FloatVector z = magnitude.mul(ScalarMath.HALF_SQRT2);
        FloatVector one = FloatVector.broadcast(F, 1f);
        FloatVector t = one.div(z.fma(FloatVector.broadcast(F, ScalarMath.P), one));
        FloatVector p = t.fma(FloatVector.broadcast(F, ScalarMath.A5), FloatVector.broadcast(F, ScalarMath.A4));
        p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A3));
        p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A2));
        p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A1));
        FloatVector q = p.mul(t).mul(exp(z.mul(z).neg()));
        FloatVector half = magnitude.mul(0.5f).mul(q);
        return x.max(0f).sub(half);
    }
}
