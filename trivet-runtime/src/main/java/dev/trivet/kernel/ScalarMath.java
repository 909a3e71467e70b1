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

    // 2^r for |r| at most 1/2: minimax polynomial with 2^0 = 1, relative error 2.9e-6 before rounding.
    static final float DECAY_END = 20f;
    static final float D1 = 0.69312418f;
    static final float D2 = 0.24024099f;
    static final float D3 = 0.055906426f;
    static final float D4 = 0.0095828529f;

    // -a Phi(-a) for a from 0 to 4.99, where it is -1.5e-6 and the last polynomial half of that: in each of eight
    // pieces of the range a minimax polynomial in a.
    static final float TAIL_END = 4.99f;
    /** Pieces per unit: the piece is 1.5 a, rounded. */
    static final float TAIL_PIECES = 1.5f;

    static final int PIECES = 8;
    static final int DEGREE = 5;
    static final int TAIL_LENGTH = PIECES * (DEGREE + 1);
    /** By piece, and of each piece by power of a. */
    private static final float[][] TAIL = {
        {-6.0364904e-9f, -0.4999987f, 0.3988959f, 6.000282e-4f, -0.070009805f, 0.009585421f},
        {-6.899487e-5f, -0.49907914f, 0.3938875f, 0.014766445f, -0.091130495f, 0.0229695f},
        {0.030620335f, -0.636546f, 0.6425082f, -0.21264997f, 0.014296397f, 0.0031161048f},
        {0.13746159f, -0.97767043f, 1.0802901f, -0.49486056f, 0.10564864f, -0.008758593f},
        {-0.3489089f, 0.033642042f, 0.23663324f, -0.14185414f, 0.03155312f, -0.0025164895f},
        {-1.0342202f, 1.2071449f, -0.56894374f, 0.13524012f, -0.016200135f, 7.817167e-4f},
        {-0.75503325f, 0.84175104f, -0.3777788f, 0.08527175f, -0.009675392f, 4.4128057e-4f},
        {-0.20178278f, 0.19948229f, -0.07910019f, 0.015723439f, -0.0015666208f, 6.258672e-5f},
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
     * {@code x * Phi(x) * steps + zeroPoint} for a result that becomes a byte, by x Phi(x) = max(x, 0) - |x| Phi(-|x|): absolute error at most 8e-7 before it is
     * scaled, and what rounding adds. NaN gives some number.
     *
     * @param scaled by {@link #scaleTail}
     */
    static float geluSteps(float x, float steps, float[] scaled) {
        float end = Math.min(Math.abs(x), TAIL_END);
        int piece = Float.floatToRawIntBits(Math.fma(end, TAIL_PIECES, ROUND)) & (PIECES - 1);
        int at = piece * (DEGREE + 1);
        float p = Math.fma(scaled[at + 5], end, scaled[at + 4]);
        p = Math.fma(p, end, scaled[at + 3]);
        p = Math.fma(p, end, scaled[at + 2]);
        p = Math.fma(p, end, scaled[at + 1]);
        p = Math.fma(p, end, scaled[at]);
        return Math.fma(Math.max(x, 0f), steps, p);
    }

    /**
     * {@code e^-(x * scale) * steps} for a result that becomes a byte: relative error at most 3.6e-6 while {@code x * scale} is below 10, 5e-6 below 20; beyond
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
        float p = Math.fma(D4 * steps, r, D3 * steps);
        p = Math.fma(p, r, D2 * steps);
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
