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

    // -Phi(-a) for a from 0 to 5, in t = a - 5/2, which keeps the terms small: minimax polynomial for a * Phi(-a).
    static final float TAIL_END = 5f;
    static final float TAIL_MIDDLE = 2.5f;
    static final float G0 = -0.0062101115f;
    static final float G1 = 0.01752728f;
    static final float G2 = -0.02190232f;
    static final float G3 = 0.015340826f;
    static final float G4 = -0.0059570055f;
    static final float G5 = 0.00066457374f;
    static final float G6 = 0.00053736946f;
    static final float G7 = -0.00026441546f;
    static final float G8 = 1.5542086e-05f;
    static final float G9 = 1.9825802e-05f;
    static final float G10 = -4.090249e-06f;
    static final float G11 = -5.3010604e-07f;
    static final float G12 = 1.6560791e-07f;

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

    /** x * Phi(x) = max(x, 0) - |x| Phi(-|x|) for a result that becomes a byte: absolute error at most 1.6e-6. */
    static float byteGelu(float x) {
        float end = Math.min(Math.abs(x), TAIL_END);
        float t = end - TAIL_MIDDLE;
        float p = Math.fma(G12, t, G11);
        p = Math.fma(p, t, G10);
        p = Math.fma(p, t, G9);
        p = Math.fma(p, t, G8);
        p = Math.fma(p, t, G7);
        p = Math.fma(p, t, G6);
        p = Math.fma(p, t, G5);
        p = Math.fma(p, t, G4);
        p = Math.fma(p, t, G3);
        p = Math.fma(p, t, G2);
        p = Math.fma(p, t, G1);
        p = Math.fma(p, t, G0);
        return Math.fma(p, end, Math.max(x, 0f));
    }

    /** e^-x for x at least 0 and a result that becomes a byte: relative error at most 3.5e-6; values above 20 give e^-20. */
    static float decay(float x) {
        float end = Math.min(x, DECAY_END);
        float shifted = Math.fma(end, -LOG2_E, ROUND);
        float r = Math.fma(end, -LOG2_E, ROUND - shifted);
        float p = Math.fma(D4, r, D3);
        p = Math.fma(p, r, D2);
        p = Math.fma(p, r, D1);
        p = Math.fma(p, r, 1f);
        // The lowest bits of shifted are the exponent to be added; the shift drops the others.
        return Float.intBitsToFloat(Float.floatToRawIntBits(p) + (Float.floatToRawIntBits(shifted) << 23));
    }

    /** Steps {@code x * inverseScale}, clamped to the range and rounded to nearest, ties to even; NaN gives 0. */
    static int code(float x, float inverseScale, float low, float high, int zeroPoint) {
        float clamped = Math.min(Math.max(x * inverseScale, low), high);
        return (int) ((clamped + ROUND) - ROUND) + zeroPoint;
    }
}
