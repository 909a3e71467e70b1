package dev.trivet.kernel;

import static dev.trivet.kernel.NativeMemory.ALL;
import static dev.trivet.kernel.NativeMemory.ORDER;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * A row of floats in the first-level cache, where {@link VectorPointwise} works: values are brought in, changed in place, and
 * written out as an operand, in a loop each. That is a store and a load per register more than one loop for everything, and
 * much less in the end: each loop is small enough for HotSpot to compile without creating vector objects, whatever the forms
 * of input and operand are (docs/decisions.md has the measurement).
 *
 * <p>The array reaches at least one register beyond the row, so loops over it need no special end; what stands there means
 * nothing. Ragged ends of memory are read and written in a last full register that overlaps the one before. For one thread.
 */
final class FloatRow {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final int L = F.length();
    private static final int LANES = ScalarRow.LANES;

    /** One byte per float lane. With 4 float lanes no such byte species exists and bytes are stored one by one. */
    private static final VectorSpecies<Byte> B =
            L < 8 ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(L * 8));

    private static final VectorSpecies<Short> S = VectorSpecies.of(short.class, VectorShape.forBitSize(L * 16));

    private static final FloatVector LANE = FloatVector.zero(F).addIndex(1);

    private final float[] lanes = new float[LANES];
    private float[] values = new float[2 * LANES];
    /** Only {@link #gelu} has use for it. */
    private float[] exponents = new float[0];

    private final GeluTail tail = new GeluTail(L);

    /** Makes room for so many values; keeps none. */
    void reserve(int count) {
        if (values.length < count + LANES) {
            values = new float[Math.ceilDiv(count, LANES) * LANES + LANES];
        }
    }

    /** The array itself, for passes with loops of their own. */
    float[] values() {
        return values;
    }

    /** {@code this[i] = x[from + i]}. */
    void load(MemorySegment x, long from, int count) {
        MemorySegment.copy(x, JAVA_FLOAT, 4 * from, values, 0, count);
    }

    /** {@code this[to + i] = raw[from + i] * scale}. */
    void loadScaled(MemorySegment raw, boolean integer, long from, float scale, int to, int count) {
        float[] row = values;
        if (count < L) {
            for (int i = 0; i < count; i++) {
                row[to + i] = rawValue(raw, from + i, integer) * scale;
            }
            return;
        }
        long x = floatAddress(raw, from, count);
        int last = count - L;
        if (integer) {
            for (int i = 0; i < last; i += L) {
                integers(x, i).mul(scale).intoArray(row, to + i);
            }
            integers(x, last).mul(scale).intoArray(row, to + last);
        } else {
            for (int i = 0; i < last; i += L) {
                floats(x, i).mul(scale).intoArray(row, to + i);
            }
            floats(x, last).mul(scale).intoArray(row, to + last);
        }
    }

    /** {@code this[i] = raw[from + i] * scale + added[addedFrom + i]}, one fused multiply-add. */
    void loadBiased(
            MemorySegment raw,
            boolean integer,
            long from,
            float scale,
            MemorySegment added,
            long addedFrom,
            int count) {
        float[] row = values;
        if (count < L) {
            for (int i = 0; i < count; i++) {
                float bias = added.getAtIndex(JAVA_FLOAT, addedFrom + i);
                row[i] = Math.fma(rawValue(raw, from + i, integer), scale, bias);
            }
            return;
        }
        FloatVector step = FloatVector.broadcast(F, scale);
        long x = floatAddress(raw, from, count);
        long bias = floatAddress(added, addedFrom, count);
        int last = count - L;
        if (integer) {
            for (int i = 0; i < last; i += L) {
                integers(x, i).fma(step, floats(bias, i)).intoArray(row, i);
            }
            integers(x, last).fma(step, floats(bias, last)).intoArray(row, last);
        } else {
            for (int i = 0; i < last; i += L) {
                floats(x, i).fma(step, floats(bias, i)).intoArray(row, i);
            }
            floats(x, last).fma(step, floats(bias, last)).intoArray(row, last);
        }
    }

    void clear(int count) {
        Arrays.fill(values, 0, count, 0f);
    }

    void divide(int count, float divisor) {
        float[] row = values;
        for (int i = 0; i < count; i += L) {
            FloatVector.fromArray(F, row, i).div(divisor).intoArray(row, i);
        }
    }

    /** {@code this[i] += x[from + i]}. */
    void add(MemorySegment x, long from, int count) {
        float[] row = values;
        long added = floatAddress(x, from, count);
        int whole = count - count % L;
        for (int i = 0; i < whole; i += L) {
            FloatVector.fromArray(F, row, i).add(floats(added, i)).intoArray(row, i);
        }
        for (int i = whole; i < count; i++) {
            row[i] += x.getAtIndex(JAVA_FLOAT, from + i);
        }
    }

    /** The values of a linear's raw row, which begins at {@code from}: {@link Product}. */
    void loadValues(MemorySegment raw, long from, Product product) {
        float[] row = values;
        int count = product.columns();
        if (count < L) {
            for (int i = 0; i < count; i++) {
                row[i] = value(raw, from + i, i, product);
            }
            return;
        }
        long x = floatAddress(raw, from, count);
        int last = count - L;
        if (product.integer()) {
            long scale = floatAddress(product.scale(), 0, count);
            long offset = floatAddress(product.offset(), 0, count);
            for (int i = 0; i < last; i += L) {
                value(x, i, scale, offset, i).intoArray(row, i);
            }
            value(x, last, scale, offset, last).intoArray(row, last);
        } else {
            long bias = floatAddress(product.bias(), 0, count);
            for (int i = 0; i < last; i += L) {
                floats(x, i).add(floats(bias, i)).intoArray(row, i);
            }
            floats(x, last).add(floats(bias, last)).intoArray(row, last);
        }
    }

    /** {@code raw[at] * scale[column] + offset[column]}, rounded twice, of memory at these addresses. */
    static FloatVector value(long raw, long at, long scale, long offset, int column) {
        return integers(raw, at).mul(floats(scale, column)).add(floats(offset, column));
    }

    /** {@code this[i] = }{@link ScalarMath#gelu}{@code (this[i])}. */
    void gelu(int count) {
        float[] row = values;
        if (exponents.length < row.length) {
            exponents = new float[row.length];
        }
        VectorMath.gelu(row, count, exponents);
    }

    /** {@link ScalarMath#geluSteps}, for {@link Operand#steps}. */
    void geluSteps(int count, Operand operand) {
        tail.scale(operand);
        if (L >= ScalarMath.PIECES) {
            VectorMath.geluSteps(values, count, operand.inverseScale, tail);
        } else if (L == ScalarMath.PIECES / 2) {
            VectorMath.geluStepsOfHalves(values, count, operand.inverseScale, tail);
        } else {
            ScalarRow.geluSteps(values, count, operand.inverseScale, tail.scaled);
        }
    }

    /** {@code this[i] = this[i] * factor[i] + offset[i]}, one fused multiply-add. */
    void equalize(float[] factor, float[] offset) {
        float[] row = values;
        int whole = factor.length - factor.length % L;
        for (int i = 0; i < whole; i += L) {
            FloatVector scaled = FloatVector.fromArray(F, row, i)
                    .fma(FloatVector.fromArray(F, factor, i), FloatVector.fromArray(F, offset, i));
            scaled.intoArray(row, i);
        }
        for (int i = whole; i < factor.length; i++) {
            row[i] = Math.fma(row[i], factor[i], offset[i]);
        }
    }

    /** The largest value. NaN is passed over, negative infinity if there is nothing else. */
    float highest(int count) {
        float[] row = values;
        int whole = count - count % L;
        FloatVector most = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
        for (int i = 0; i < whole; i += L) {
            FloatVector x = FloatVector.fromArray(F, row, i);
            most = most.blend(x, x.compare(VectorOperators.GT, most));
        }
        float highest = VectorMath.highest(most);
        for (int i = whole; i < count; i++) {
            if (row[i] > highest) {
                highest = row[i];
            }
        }
        return highest;
    }

    /** {@code this[i] = exp(this[i] - shift)}. */
    void exponentials(int count, float shift) {
        VectorMath.exponentials(values, count, shift);
    }

    /** {@code this[i] = exp(scale * (this[i] - highest)) * steps} by {@link ScalarMath#decaySteps}, for {@link Operand#steps}. */
    void decaySteps(int count, float highest, float scale, float steps) {
        VectorMath.decaySteps(values, count, highest, scale, steps);
    }

    /**
     * The striped sum, {@link ReferencePointwise}. Stripes are folded in memory, and not by a method that takes them: where HotSpot does not inline it, or
     * folds in registers, it now and then makes objects of them.
     */
    float sum(int count) {
        float[] row = values;
        int whole = count - count % LANES;
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        for (int i = 0; i < whole; i += LANES) {
            a0 = a0.add(FloatVector.fromArray(F, row, i));
            if (L <= 8) {
                a1 = a1.add(FloatVector.fromArray(F, row, i + L));
            }
            if (L <= 4) {
                a2 = a2.add(FloatVector.fromArray(F, row, i + 2 * L));
                a3 = a3.add(FloatVector.fromArray(F, row, i + 3 * L));
            }
        }
        if (whole < count) {
            a0 = a0.add(present(FloatVector.fromArray(F, row, whole), count - whole));
            if (L <= 8) {
                a1 = a1.add(present(FloatVector.fromArray(F, row, whole + L), count - whole - L));
            }
            if (L <= 4) {
                a2 = a2.add(present(FloatVector.fromArray(F, row, whole + 2 * L), count - whole - 2 * L));
                a3 = a3.add(present(FloatVector.fromArray(F, row, whole + 3 * L), count - whole - 3 * L));
            }
        }
        a0.intoArray(lanes, 0);
        if (L <= 8) {
            a1.intoArray(lanes, L);
        }
        if (L <= 4) {
            a2.intoArray(lanes, 2 * L);
            a3.intoArray(lanes, 3 * L);
        }
        return ScalarRow.fold(lanes, 0);
    }

    /** The first lanes, and zeros. Added to a sum they change nothing, because no sum that begins with zero is ever minus zero. */
    private static FloatVector present(FloatVector v, int count) {
        return v.blend(0f, LANE.compare(VectorOperators.GE, (float) count));
    }

    /** The striped sum of {@code (this[i] - mean)^2}. */
    float squares(int count, float mean) {
        float[] row = values;
        int whole = count - count % LANES;
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        for (int i = 0; i < whole; i += LANES) {
            a0 = square(a0, row, i, mean);
            if (L <= 8) {
                a1 = square(a1, row, i + L, mean);
            }
            if (L <= 4) {
                a2 = square(a2, row, i + 2 * L, mean);
                a3 = square(a3, row, i + 3 * L, mean);
            }
        }
        if (whole < count) {
            a0 = squareOfPresent(a0, row, whole, mean, count - whole);
            if (L <= 8) {
                a1 = squareOfPresent(a1, row, whole + L, mean, count - whole - L);
            }
            if (L <= 4) {
                a2 = squareOfPresent(a2, row, whole + 2 * L, mean, count - whole - 2 * L);
                a3 = squareOfPresent(a3, row, whole + 3 * L, mean, count - whole - 3 * L);
            }
        }
        a0.intoArray(lanes, 0);
        if (L <= 8) {
            a1.intoArray(lanes, L);
        }
        if (L <= 4) {
            a2.intoArray(lanes, 2 * L);
            a3.intoArray(lanes, 3 * L);
        }
        return ScalarRow.fold(lanes, 0);
    }

    private static FloatVector square(FloatVector sum, float[] row, int i, float mean) {
        FloatVector d = FloatVector.fromArray(F, row, i).sub(mean);
        return d.fma(d, sum);
    }

    private static FloatVector squareOfPresent(FloatVector sum, float[] row, int i, float mean, int count) {
        FloatVector d = present(FloatVector.fromArray(F, row, i).sub(mean), count);
        return d.fma(d, sum);
    }

    /** {@code this[i] = ((this[i] - mean) * inverse) * gamma[i] + beta[i]}, the last two one fused multiply-add. */
    void normalize(int count, float mean, float inverse, MemorySegment gamma, MemorySegment beta) {
        float[] row = values;
        long factor = floatAddress(gamma, 0, count);
        long offset = floatAddress(beta, 0, count);
        int whole = count - count % L;
        for (int i = 0; i < whole; i += L) {
            FloatVector normal = FloatVector.fromArray(F, row, i).sub(mean).mul(inverse);
            normal.fma(floats(factor, i), floats(offset, i)).intoArray(row, i);
        }
        for (int i = whole; i < count; i++) {
            float normal = (row[i] - mean) * inverse;
            row[i] = Math.fma(normal, gamma.getAtIndex(JAVA_FLOAT, i), beta.getAtIndex(JAVA_FLOAT, i));
        }
    }

    /** {@code x[to + i] += this[i]}. */
    void addTo(MemorySegment x, long to, int count) {
        float[] row = values;
        long stream = NativeMemory.target(x, 4 * to, 4L * count);
        int whole = count - count % L;
        for (int i = 0; i < whole; i += L) {
            FloatVector sum = floats(stream, i).add(FloatVector.fromArray(F, row, i));
            sum.intoMemorySegment(ALL, stream + 4L * i, ORDER);
        }
        for (int i = whole; i < count; i++) {
            x.setAtIndex(JAVA_FLOAT, to + i, x.getAtIndex(JAVA_FLOAT, to + i) + row[i]);
        }
    }

    /** Writes {@code this[from + i] * factor} as elements {@code to + i} of an operand. */
    void encode(int from, int count, float factor, Operand operand, MemorySegment out, long to) {
        if (count < L || (L < 8 && operand.isByte())) {
            for (int i = 0; i < count; i++) {
                store(out, to + i, values[from + i] * factor, operand);
            }
        } else if (!operand.integer) {
            if (factor == 1f) {
                MemorySegment.copy(values, from, out, JAVA_FLOAT, 4 * to, count);
            } else {
                storeFloats(from, count, factor, out, to);
            }
        } else if (operand.wide) {
            storeShorts(from, count, factor, operand, out, to);
        } else {
            storeBytes(from, count, factor, operand, out, to);
            LevelTable.replace(operand, out, to, count);
        }
    }

    private void storeFloats(int from, int count, float factor, MemorySegment out, long to) {
        float[] row = values;
        long address = NativeMemory.target(out, 4 * to, 4L * count);
        int last = count - L;
        for (int i = 0; i < last; i += L) {
            FloatVector.fromArray(F, row, from + i).mul(factor).intoMemorySegment(ALL, address + 4L * i, ORDER);
        }
        FloatVector.fromArray(F, row, from + last).mul(factor).intoMemorySegment(ALL, address + 4L * last, ORDER);
    }

    private void storeBytes(int from, int count, float factor, Operand operand, MemorySegment out, long to) {
        float[] row = values;
        long address = NativeMemory.target(out, to, count);
        int last = count - L;
        float steps = operand.inverseScale;
        int low = (int) operand.low;
        int high = (int) operand.high;
        int zero = operand.zeroPoint;
        for (int i = 0; i < last; i += L) {
            IntVector code =
                    VectorMath.code(FloatVector.fromArray(F, row, from + i).mul(factor), steps, low, high, zero);
            ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, address + i, ORDER);
        }
        IntVector code =
                VectorMath.code(FloatVector.fromArray(F, row, from + last).mul(factor), steps, low, high, zero);
        ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, address + last, ORDER);
    }

    private void storeShorts(int from, int count, float factor, Operand operand, MemorySegment out, long to) {
        float[] row = values;
        long address = NativeMemory.target(out, 2 * to, 2L * count);
        int last = count - L;
        float steps = operand.inverseScale;
        int low = (int) operand.low;
        int high = (int) operand.high;
        int zero = operand.zeroPoint;
        for (int i = 0; i < last; i += L) {
            IntVector code =
                    VectorMath.code(FloatVector.fromArray(F, row, from + i).mul(factor), steps, low, high, zero);
            ((ShortVector) code.castShape(S, 0)).intoMemorySegment(ALL, address + 2L * i, ORDER);
        }
        IntVector code =
                VectorMath.code(FloatVector.fromArray(F, row, from + last).mul(factor), steps, low, high, zero);
        ((ShortVector) code.castShape(S, 0)).intoMemorySegment(ALL, address + 2L * last, ORDER);
    }

    private static long floatAddress(MemorySegment x, long from, int count) {
        return NativeMemory.address(x, 4 * from, 4L * count);
    }

    /** Floats from {@code index} on of those that begin at an address. */
    static FloatVector floats(long x, long index) {
        return FloatVector.fromMemorySegment(F, ALL, x + 4 * index, ORDER);
    }

    /** The same of int32, as floats. */
    static FloatVector integers(long x, long index) {
        IntVector sums = IntVector.fromMemorySegment(I, ALL, x + 4 * index, ORDER);
        return (FloatVector) sums.convert(VectorOperators.I2F, 0);
    }

    private static float rawValue(MemorySegment raw, long index, boolean integer) {
        return integer ? (float) raw.getAtIndex(JAVA_INT, index) : raw.getAtIndex(JAVA_FLOAT, index);
    }

    private static float value(MemorySegment raw, long index, int column, Product product) {
        if (!product.integer()) {
            return raw.getAtIndex(JAVA_FLOAT, index) + product.bias().getAtIndex(JAVA_FLOAT, column);
        }
        return (float) raw.getAtIndex(JAVA_INT, index) * product.scale().getAtIndex(JAVA_FLOAT, column)
                + product.offset().getAtIndex(JAVA_FLOAT, column);
    }

    /** One value as an operand, for what is less than a register. */
    private static void store(MemorySegment out, long index, float value, Operand operand) {
        if (operand.integer) {
            int code = ScalarMath.code(value, operand.inverseScale, operand.low, operand.high, operand.zeroPoint);
            if (operand.wide) {
                out.setAtIndex(JAVA_SHORT, index, (short) code);
            } else {
                LevelTable levels = operand.levels;
                out.set(JAVA_BYTE, index, levels == null ? (byte) code : levels.level(code));
            }
        } else {
            out.setAtIndex(JAVA_FLOAT, index, value);
        }
    }
}
