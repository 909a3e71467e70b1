package dev.trivet.kernel;

/**
 * The scalar functions that define the float arithmetic between integer products. Each is a fixed sequence of IEEE-754
 * operations (fused multiply-adds are explicit), so a SIMD version that performs the same sequence per lane gives the same
 * bits. {@code Math.exp} would not do: HotSpot may use another approximation when compiled than when interpreted.
 */
final class ScalarMath {
    /** Adding and subtracting 1.5 * 2^23 rounds {@code |x| < 2^22} to the nearest integer, ties to even. */
    static final float ROUND = 12582912f;

    // exp: Cody-Waite reduction by ln 2 in two parts, then a degree-6 minimax polynomial (Cephes expf); about 1 ulp.
    static final float LOWEST_EXPONENT = -87f;
    static final float LOG2_E = 1.44269504f;
    static final float LN2_HIGH = 0.693359375f;
    static final float LN2_LOW = -2.12194440e-4f;
    static final float E5 = 1.9875691500e-4f;
    static final float E4 = 1.3981999507e-3f;
    static final float E3 = 8.3334519073e-3f;
    static final float E2 = 4.1665795894e-2f;
    static final float E1 = 1.6666665459e-1f;
    static final float E0 = 5.0000001201e-1f;

    // erfc: Abramowitz and Stegun 7.1.26, absolute error at most 1.5e-7.
    static final float HALF_SQRT2 = 0.70710678f;
    static final float P = 0.3275911f;
    static final float A1 = 0.254829592f;
    static final float A2 = -0.284496736f;
    static final float A3 = 1.421413741f;
    static final float A4 = -1.453152027f;
    static final float A5 = 1.061405429f;

    // 2^r for |r| at most 1/2: minimax polynomial with 2^0 = 1, relative error 1.02e-4. A code is at most 255, so that
    // is 0.026 of a code's step, where rounding is half of one.
    static final float DECAY_END = 20f;
    static final float D1 = 0.6932829f;
    static final float D2 = 0.24221097f;
    static final float D3 = 0.055008933f;

    // -a Phi(-a) for a from 0 to 4.28, where it is -4.0e-5 and the last polynomial half of that: in each of eight
    // pieces of the range a minimax polynomial in a, absolute error 2.5e-5.
    static final float TAIL_END = 4.28f;
    /** Pieces per unit: the piece is 1.75 a, rounded. */
    static final float TAIL_PIECES = 1.75f;

    static final int PIECES = 8;
    static final int DEGREE = 3;
    static final int TAIL_LENGTH = PIECES * (DEGREE + 1);
    /** By piece, and of each piece by power of a. */
    private static final float[][] TAIL = {
        {3.28989472e-06f, -0.500371337f, 0.405497789f, -0.0371621028f},
        {0.0029136946f, -0.525318623f, 0.479831964f, -0.115725733f},
        {-0.0168676414f, -0.471800148f, 0.435278237f, -0.105251595f},
        {-0.244470984f, 0.000171795808f, 0.107096441f, -0.0287229605f},
        {-0.549915969f, 0.470127881f, -0.134616539f, 0.0128275594f},
        {-0.535759389f, 0.461774439f, -0.134580672f, 0.0132448552f},
        {-0.283676654f, 0.220785871f, -0.0576883778f, 0.00505645573f},
        {-0.315009594f, 0.231619507f, -0.056841772f, 0.00465428084f},
    };

    private ScalarMath() {}

    /** e^x for x at most 0; values below -87 give e^-87. */
    static float exp(float x) {
        float clamped = Math.max(x, LOWEST_EXPONENT);
        float n = (clamped * LOG2_E + ROUND) - ROUND;
        float r = Math.fma(n, -LN2_HIGH, clamped);
        r = Math.fma(n, -LN2_LOW, r);
        float p = Math.fma(E5, r, E4);
        p = Math.fma(p, r, E3);
        p = Math.fma(p, r, E2);
        p = Math.fma(p, r, E1);
        p = Math.fma(p, r, E0);
        float y = Math.fma(p, r * r, r) + 1f;
        return y * Float.intBitsToFloat(((int) n + 127) << 23);
    }

    /**
     * x * Phi(x). With q = erfc(|x| / sqrt 2) it is x - x q / 2 for positive and x q / 2 for negative x, which loses no digits
     * in the negative tail.
     */
    static float gelu(float x) {
        float magnitude = Math.abs(x);
        float z = magnitude * HALF_SQRT2;
        float t = 1f / Math.fma(P, z, 1f);
        float p = Math.fma(A5, t, A4);
        p = Math.fma(p, t, A3);
        p = Math.fma(p, t, A2);
        p = Math.fma(p, t, A1);
        float q = p * t * exp(-(z * z));
        float half = 0.5f * magnitude * q;
        return Math.max(x, 0f) - half;
    }

    /**
     * What {@link #geluSteps} takes of the tail: its coefficients times the steps of a code, the zero point added to the last.
     *
     * @param scaled {@code [PIECES, DEGREE + 1]}, overwritten
     */
    static void scaleTail(float steps, int zeroPoint, float[] scaled) {
        for (int piece = 0; piece < PIECES; piece++) {
            for (int power = 0; power <= DEGREE; power++) {
                scaled[piece * (DEGREE + 1) + power] = TAIL[piece][power] * steps;
            }
            scaled[piece * (DEGREE + 1)] += zeroPoint;
        }
    }

    /**
     * {@code x * Phi(x) * steps + zeroPoint} for a result that becomes a byte, by x Phi(x) = max(x, 0) - |x| Phi(-|x|): absolute error at most 2.6e-5 before it is
     * scaled, which is a hundredth of a code's step or less, and what rounding adds. NaN gives some number.
     *
     * @param scaled by {@link #scaleTail}
     */
    static float geluSteps(float x, float steps, float[] scaled) {
        float end = Math.min(Math.abs(x), TAIL_END);
        int piece = Float.floatToRawIntBits(Math.fma(end, TAIL_PIECES, ROUND)) & (PIECES - 1);
        int at = piece * (DEGREE + 1);
        float p = Math.fma(scaled[at + 3], end, scaled[at + 2]);
        p = Math.fma(p, end, scaled[at + 1]);
        p = Math.fma(p, end, scaled[at]);
        return Math.fma(Math.max(x, 0f), steps, p);
    }

    /**
     * {@code e^-(x * scale) * steps} for a result that becomes a byte: relative error at most 1.1e-4 while {@code x * scale} is below 20; beyond
     * that the value at 20.
     *
     * @param x at least 0
     * @param steps at least 2^-90, so that the smallest result is a normal number
     */
    static float decaySteps(float x, float scale, float steps) {
        float exponents = scale * -LOG2_E;
        float end = Math.min(x, DECAY_END / scale);
        float shifted = Math.fma(end, exponents, ROUND);
        float r = Math.fma(end, exponents, ROUND - shifted);
        float p = Math.fma(D3 * steps, r, D2 * steps);
        p = Math.fma(p, r, D1 * steps);
        p = Math.fma(p, r, steps);
        // The lowest bits of shifted are the exponent to be added; the shift drops the others.
        return Float.intBitsToFloat(Float.floatToRawIntBits(p) + (Float.floatToRawIntBits(shifted) << 23));
    }

    /** Steps {@code x * inverseScale}, clamped to the range and rounded to nearest, ties to even; NaN gives 0. */
    static int code(float x, float inverseScale, float low, float high, int zeroPoint) {
        float clamped = Math.min(Math.max(x * inverseScale, low), high);
        return (int) ((clamped + ROUND) - ROUND) + zeroPoint;
    }
}
