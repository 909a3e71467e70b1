package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * A row of floats in an array, where {@link ReferencePointwise} works: values are brought in, changed one by one, and written out as an
 * operand. Segments are copied in one go and never read element by element, which would be slow until HotSpot has compiled it to the end;
 * loops over arrays are quick from the first image on.
 *
 * <p>Float sums depend on their order, so the order is part of the definition: element {@code i} is added to lane {@code i mod
 * 16}, in rising order, and the 16 lanes are then folded in halves (lane j += lane j + 8, then 4, 2, 1). A SIMD version with
 * 4, 8 or 16 lanes per register can follow that order exactly. For one thread.
 */
final class ScalarRow {
    static final int LANES = 16;

    private final float[] lanes = new float[LANES];
    private final GeluTail tail = new GeluTail(0);
    private float[] values = new float[0];
    private int[] sums = new int[0];
    private byte[] bytes = new byte[0];
    private short[] shorts = new short[0];

    /** Makes room for so many values; keeps none. */
    void reserve(int count) {
        if (values.length < count) {
            values = new float[count];
            sums = new int[count];
            bytes = new byte[count];
            shorts = new short[count];
        }
    }

    /** The array itself; longer than the row. */
    float[] values() {
        return values;
    }

    /** {@code this[to + i] = raw[from + i]}. */
    void load(MemorySegment raw, boolean integer, long from, int to, int count) {
        if (integer) {
            MemorySegment.copy(raw, JAVA_INT, 4 * from, sums, 0, count);
            convert(sums, values, to, count);
        } else {
            MemorySegment.copy(raw, JAVA_FLOAT, 4 * from, values, to, count);
        }
    }

    private static void convert(int[] sums, float[] values, int to, int count) {
        for (int i = 0; i < count; i++) {
            values[to + i] = sums[i];
        }
    }

    /** {@code this[to + i] = raw[from + i] * scale}. */
    void loadScaled(MemorySegment raw, boolean integer, long from, float scale, int to, int count) {
        load(raw, integer, from, to, count);
        scale(to, count, scale);
    }

    /** {@code this[from + i] *= scale}. */
    void scale(int from, int count, float scale) {
        float[] row = values;
        for (int i = from; i < from + count; i++) {
            row[i] *= scale;
        }
    }

    /** {@code this[i] = raw[from + i] * scale[i] + offset[i]} of integers, {@code raw[from + i] + offset[i]} of floats. */
    void loadAffine(MemorySegment raw, long from, float @Nullable [] scale, float[] offset, int count) {
        load(raw, scale != null, from, 0, count);
        if (scale == null) {
            add(values, offset, count);
        } else {
            affine(values, scale, offset, count);
        }
    }

    private static void add(float[] values, float[] added, int count) {
        for (int i = 0; i < count; i++) {
            values[i] += added[i];
        }
    }

    private static void affine(float[] values, float[] scale, float[] offset, int count) {
        for (int i = 0; i < count; i++) {
            values[i] = values[i] * scale[i] + offset[i];
        }
    }

    /** {@code this[i] = this[i] * scale + added[i]}, one fused multiply-add. */
    void scaleAndAdd(float scale, float[] added, int count) {
        float[] row = values;
        for (int i = 0; i < count; i++) {
            row[i] = Math.fma(row[i], scale, added[i]);
        }
    }

    /** {@code this[i] += added[i]}. */
    void add(float[] added, int count) {
        add(values, added, count);
    }

    float sum(int count) {
        float[] row = values;
        Arrays.fill(lanes, 0f);
        for (int i = 0; i < count; i++) {
            lanes[i % LANES] += row[i];
        }
        return fold(lanes, 0);
    }

    /** Sum of the squares of the distances to the mean. */
    float squares(int count, float mean) {
        float[] row = values;
        Arrays.fill(lanes, 0f);
        for (int i = 0; i < count; i++) {
            float d = row[i] - mean;
            lanes[i % LANES] = Math.fma(d, d, lanes[i % LANES]);
        }
        return fold(lanes, 0);
    }

    /** Folds the {@link #LANES} lanes from there on in halves; they are overwritten. */
    static float fold(float[] lanes, int from) {
        for (int half = LANES / 2; half > 0; half /= 2) {
            for (int j = from; j < from + half; j++) {
                lanes[j] += lanes[j + half];
            }
        }
        return lanes[from];
    }

    void normalize(int count, float mean, float inverse, float[] gamma, float[] beta) {
        float[] row = values;
        for (int i = 0; i < count; i++) {
            float normal = (row[i] - mean) * inverse;
            row[i] = Math.fma(normal, gamma[i], beta[i]);
        }
    }

    void gelu(int count) {
        gelu(values, count);
    }

    /** {@link ScalarMath#geluSteps}, for {@link Operand#steps}. */
    void geluSteps(int count, Operand operand) {
        tail.scale(operand);
        geluSteps(values, count, operand.inverseScale, tail.scaled);
    }

    static void geluSteps(float[] values, int count, float steps, float[] tail) {
        for (int i = 0; i < count; i++) {
            values[i] = ScalarMath.geluSteps(values[i], steps, tail);
        }
    }

    private static void gelu(float[] values, int count) {
        for (int i = 0; i < count; i++) {
            values[i] = ScalarMath.gelu(values[i]);
        }
    }

    float highest(int count) {
        float[] row = values;
        float highest = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < count; i++) {
            if (row[i] > highest) {
                highest = row[i];
            }
        }
        return highest;
    }

    /** {@code this[i] = e^(this[i] - highest)}. */
    void exponentials(int count, float highest) {
        float[] row = values;
        for (int i = 0; i < count; i++) {
            row[i] = ScalarMath.exp(row[i] - highest);
        }
    }

    /** {@code this[i] = e^(scale * (this[i] - highest)) * steps}, for {@link Operand#steps}. */
    void decaySteps(int count, float highest, float scale, float steps) {
        decaySteps(values, count, highest, scale, steps);
    }

    private static void decaySteps(float[] values, int count, float highest, float scale, float steps) {
        for (int i = 0; i < count; i++) {
            values[i] = ScalarMath.decaySteps(highest - values[i], scale, steps);
        }
    }

    /** {@code out[to + i] = operand(this[from + i])}. */
    void store(int from, int count, Operand operand, MemorySegment out, long to) {
        if (!operand.integer) {
            MemorySegment.copy(values, from, out, JAVA_FLOAT, 4 * to, count);
            return;
        }
        codes(values, from, count, operand.inverseScale, operand.low, operand.high, operand.zeroPoint, sums);
        if (operand.wide) {
            for (int i = 0; i < count; i++) {
                shorts[i] = (short) sums[i];
            }
            MemorySegment.copy(shorts, 0, out, JAVA_SHORT, 2 * to, count);
            return;
        }
        LevelTable levels = operand.levels;
        if (levels == null) {
            narrow(sums, bytes, count);
        } else {
            for (int i = 0; i < count; i++) {
                bytes[i] = levels.level(sums[i]);
            }
        }
        MemorySegment.copy(bytes, 0, out, JAVA_BYTE, to, count);
    }

    private static void codes(
            float[] values,
            int from,
            int count,
            float inverseScale,
            float low,
            float high,
            int zeroPoint,
            int[] codes) {
        for (int i = 0; i < count; i++) {
            codes[i] = ScalarMath.code(values[from + i], inverseScale, low, high, zeroPoint);
        }
    }

    private static void narrow(int[] codes, byte[] bytes, int count) {
        for (int i = 0; i < count; i++) {
            bytes[i] = (byte) codes[i];
        }
    }

    /** Signed bytes, one to a step. */
    void storeCodes(int count, float low, float high, MemorySegment out, long to) {
        codes(values, 0, count, 1f, low, high, 0, sums);
        narrow(sums, bytes, count);
        MemorySegment.copy(bytes, 0, out, JAVA_BYTE, to, count);
    }

    /** The sum of the codes that {@link #store} wrote last, of bytes as unsigned ones, but at least 1. Exact: it stays below 2^24. */
    float sumOfCodes(int count, Operand operand) {
        int sum = 0;
        for (int i = 0; i < count; i++) {
            sum += operand.wide ? shorts[i] : bytes[i] & 0xff;
        }
        return Math.max(sum, 1);
    }
}
