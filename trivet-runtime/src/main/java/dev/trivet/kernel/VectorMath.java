package dev.trivet.kernel;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * {@link ScalarMath} on each lane, with the same bits. Where several operations give the same result it takes what is one
 * instruction: {@code max} of floats, which has to order zeros and NaN, and conversions to int, which have to saturate, are
 * several, so comparisons, {@code (x + |x|) / 2} and the bits of {@code x + 1.5 * 2^23} stand for them.
 */
final class VectorMath {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;

    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;

    private static final int L = F.length();

    static final int ROUND_BITS = Float.floatToRawIntBits(ScalarMath.ROUND);

    static final int TAIL_END_BITS = Float.floatToRawIntBits(ScalarMath.TAIL_END);

    private static final int HALF_TO_SIGN = Integer.SIZE - Integer.numberOfTrailingZeros(ScalarMath.PIECES);

    private VectorMath() {}

    /**
     * {@link ScalarMath#exp} of {@code row[i] - shift}, in the loop itself: as a method of its own HotSpot may find it too large to be inlined.
     *
     * @param row whole registers up to {@code count}
     */
    static void exponentials(float[] row, int count, float shift) {
        for (int i = 0; i < count; i += L) {
            FloatVector x = FloatVector.fromArray(F, row, i).sub(shift);
            x = x.blend(ScalarMath.LOWEST_EXPONENT, x.compare(VectorOperators.LT, ScalarMath.LOWEST_EXPONENT));
            FloatVector shifted = x.mul(ScalarMath.LOG2_E).add(ScalarMath.ROUND);
            FloatVector n = shifted.sub(ScalarMath.ROUND);
            FloatVector r = n.fma(FloatVector.broadcast(F, -ScalarMath.LN2_HIGH), x);
            r = n.fma(FloatVector.broadcast(F, -ScalarMath.LN2_LOW), r);
            FloatVector p = FloatVector.broadcast(F, ScalarMath.E5);
            p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E4));
            p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E3));
            p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E2));
            p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E1));
            p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E0));
            FloatVector y = p.fma(r.mul(r), r).add(1f);
            // The lowest bits of shifted are those of n; the shift drops the others.
            IntVector exponent = shifted.reinterpretAsInts().add(127).lanewise(VectorOperators.LSHL, 23);
            y.mul(exponent.reinterpretAsFloats()).intoArray(row, i);
        }
    }

    /**
     * {@link ScalarMath#gelu} of values in an array, in loops like those of {@link #exponentials}.
     *
     * @param row whole registers up to {@code count}
     * @param decay as long; overwritten
     */
    static void gelu(float[] row, int count, float[] decay) {
        for (int i = 0; i < count; i += L) {
            FloatVector z = FloatVector.fromArray(F, row, i).abs().mul(ScalarMath.HALF_SQRT2);
            z.mul(z).neg().intoArray(decay, i);
        }
        exponentials(decay, count, 0f);
        FloatVector one = FloatVector.broadcast(F, 1f);
        for (int i = 0; i < count; i += L) {
            FloatVector x = FloatVector.fromArray(F, row, i);
            FloatVector magnitude = x.abs();
            FloatVector z = magnitude.mul(ScalarMath.HALF_SQRT2);
            FloatVector t = one.div(z.fma(FloatVector.broadcast(F, ScalarMath.P), one));
            FloatVector p = t.fma(FloatVector.broadcast(F, ScalarMath.A5), FloatVector.broadcast(F, ScalarMath.A4));
            p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A3));
            p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A2));
            p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A1));
            FloatVector q = p.mul(t).mul(FloatVector.fromArray(F, decay, i));
            FloatVector half = magnitude.mul(0.5f).mul(q);
            x.add(magnitude).mul(0.5f).sub(half).intoArray(row, i);
        }
    }

    /**
     * {@link ScalarMath#code} on each lane. Added to {@code 1.5 * 2^23}, numbers below {@code 2^22} are rounded and stand in the
     * lowest bits, and larger ones keep their order, so the range is kept as integers. NaN gives some code.
     */
    static IntVector code(FloatVector v, float inverseScale, int low, int high, int zeroPoint) {
        IntVector bits = v.mul(inverseScale).add(ScalarMath.ROUND).reinterpretAsInts();
        return bits.max(ROUND_BITS + low).min(ROUND_BITS + high).add(zeroPoint - ROUND_BITS);
    }

    /**
     * The largest lane. Floats that are no NaN have the order of their bits as ints, once those of negative ones are turned round; the
     * reduction of floats, which has to order zeros and NaN, takes several times as long.
     */
    static float highest(FloatVector x) {
        IntVector bits = x.reinterpretAsInts();
        IntVector turned = bits.lanewise(VectorOperators.ASHR, 31).lanewise(VectorOperators.LSHR, 1);
        int most = bits.lanewise(VectorOperators.XOR, turned).reduceLanes(VectorOperators.MAX);
        return Float.intBitsToFloat(most ^ (most >> 31 >>> 1));
    }

    /**
     * {@link ScalarMath#decaySteps} of {@code highest - row[i]}.
     *
     * @param row whole registers up to {@code count}
     */
    static void decaySteps(float[] row, int count, float highest, float scale, float steps) {
        FloatVector most = FloatVector.broadcast(F, highest);
        int end = Float.floatToRawIntBits(ScalarMath.DECAY_END / scale);
        FloatVector exponents = FloatVector.broadcast(F, scale * -ScalarMath.LOG2_E);
        for (int i = 0; i < count; i += L) {
            FloatVector below = most.sub(FloatVector.fromArray(F, row, i));
            decay(below, end, exponents, steps).intoArray(row, i);
        }
    }

    /** {@link ScalarMath#decaySteps} on each lane, of what does not change in a loop. */
    static FloatVector decay(FloatVector x, int endBits, FloatVector exponents, float steps) {
        FloatVector end = x.reinterpretAsInts().min(endBits).reinterpretAsFloats();
        FloatVector round = FloatVector.broadcast(F, ScalarMath.ROUND);
        FloatVector shifted = end.fma(exponents, round);
        FloatVector r = end.fma(exponents, round.sub(shifted));
        FloatVector p = FloatVector.broadcast(F, ScalarMath.D4 * steps);
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.D3 * steps));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.D2 * steps));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.D1 * steps));
        p = p.fma(r, FloatVector.broadcast(F, steps));
        IntVector exponent = shifted.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
        return p.reinterpretAsInts().add(exponent).reinterpretAsFloats();
    }

    /** Codes of steps, as {@link #code} gives them for no zero point, but for {@link #ROUND_BITS}, whose lowest byte is zero. */
    static IntVector stepBits(FloatVector steps, int low, int high) {
        IntVector bits = steps.add(ScalarMath.ROUND).reinterpretAsInts();
        return bits.max(ROUND_BITS + low).min(ROUND_BITS + high);
    }

    /** {@link #stepBits} of what {@link ScalarMath#decaySteps} gives, which is above 0, where the lowest code is not. */
    static IntVector numeratorBits(FloatVector steps, int high) {
        return steps.add(ScalarMath.ROUND).reinterpretAsInts().min(ROUND_BITS + high);
    }

    /**
     * {@link ScalarMath#geluSteps} of values in an array, in a loop like those of {@link #exponentials}.
     *
     * @param row whole registers up to {@code count}
     * @param tail scaled for the operand
     */
    static void geluSteps(float[] row, int count, float steps, GeluTail tail) {
        int[] tails = tail.registers;
        IntVector t0 = IntVector.fromArray(I, tails, 0);
        IntVector t1 = IntVector.fromArray(I, tails, L);
        IntVector t2 = IntVector.fromArray(I, tails, 2 * L);
        IntVector t3 = IntVector.fromArray(I, tails, 3 * L);
        IntVector t4 = IntVector.fromArray(I, tails, 4 * L);
        IntVector t5 = IntVector.fromArray(I, tails, 5 * L);
        FloatVector perUnit = FloatVector.broadcast(F, ScalarMath.TAIL_PIECES);
        FloatVector round = FloatVector.broadcast(F, ScalarMath.ROUND);
        FloatVector scale = FloatVector.broadcast(F, steps);
        for (int i = 0; i < count; i += L) {
            FloatVector x = FloatVector.fromArray(F, row, i);
            FloatVector end = x.abs().reinterpretAsInts().min(TAIL_END_BITS).reinterpretAsFloats();
            IntVector piece = end.fma(perUnit, round).reinterpretAsInts();
            FloatVector p = piece.selectFrom(t5).reinterpretAsFloats();
            p = p.fma(end, piece.selectFrom(t4).reinterpretAsFloats());
            p = p.fma(end, piece.selectFrom(t3).reinterpretAsFloats());
            p = p.fma(end, piece.selectFrom(t2).reinterpretAsFloats());
            p = p.fma(end, piece.selectFrom(t1).reinterpretAsFloats());
            p = p.fma(end, piece.selectFrom(t0).reinterpretAsFloats());
            FloatVector positive = x.reinterpretAsInts().max(0).reinterpretAsFloats();
            positive.fma(scale, p).intoArray(row, i);
        }
    }

    /**
     * The same for registers that hold half of the pieces (NEON, SSE): a coefficient is looked up in two of them.
     *
     * @param row whole registers up to {@code count}
     * @param tail scaled for the operand
     */
    static void geluStepsOfHalves(float[] row, int count, float steps, GeluTail tail) {
        int[] tails = tail.registers;
        FloatVector perUnit = FloatVector.broadcast(F, ScalarMath.TAIL_PIECES);
        FloatVector round = FloatVector.broadcast(F, ScalarMath.ROUND);
        FloatVector scale = FloatVector.broadcast(F, steps);
        for (int i = 0; i < count; i += L) {
            FloatVector x = FloatVector.fromArray(F, row, i);
            FloatVector end = x.abs().reinterpretAsInts().min(TAIL_END_BITS).reinterpretAsFloats();
            IntVector piece = end.fma(perUnit, round).reinterpretAsInts();
            // The bit that tells the halves apart becomes the sign.
            VectorMask<Integer> upper =
                    piece.lanewise(VectorOperators.LSHL, HALF_TO_SIGN).lt(0);
            FloatVector p = coefficient(piece, upper, tails, 5);
            p = p.fma(end, coefficient(piece, upper, tails, 4));
            p = p.fma(end, coefficient(piece, upper, tails, 3));
            p = p.fma(end, coefficient(piece, upper, tails, 2));
            p = p.fma(end, coefficient(piece, upper, tails, 1));
            p = p.fma(end, coefficient(piece, upper, tails, 0));
            FloatVector positive = x.reinterpretAsInts().max(0).reinterpretAsFloats();
            positive.fma(scale, p).intoArray(row, i);
        }
    }

    private static FloatVector coefficient(IntVector piece, VectorMask<Integer> upper, int[] tails, int power) {
        int at = power * ScalarMath.PIECES;
        IntVector low = piece.selectFrom(IntVector.fromArray(I, tails, at));
        IntVector high = piece.selectFrom(IntVector.fromArray(I, tails, at + L));
        return low.blend(high, upper).reinterpretAsFloats();
    }
}
