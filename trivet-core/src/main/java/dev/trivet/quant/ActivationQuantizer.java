package dev.trivet.quant;

/**
 * Uniform quantizer of an activation, the left or right operand of an integer product:
 *
 * <pre>code = clamp(round(x / scale), lowest - zeroPoint, highest - zeroPoint) + zeroPoint      value = (code - zeroPoint) * scale</pre>
 *
 * With {@code zeroPoint = 0} and a signed range this is Psi of Liu et al. 2021, eq. (8). Rounding is to nearest, ties to
 * even; the division is a multiplication by the float reciprocal, because that is what the kernels run.
 *
 * @param scale width of one step, positive
 * @param zeroPoint the code of 0, within the range, so that zero (padding, ReLU-like tails) is exact
 * @param lowest smallest code: 0 for unsigned operands, at least -128 for signed ones
 * @param highest largest code: at most 255 for unsigned operands, 127 for signed ones
 */
public record ActivationQuantizer(float scale, int zeroPoint, int lowest, int highest) {

    /** @throws IllegalArgumentException if the numbers do not fit one byte */
    public ActivationQuantizer {
        if (!(scale > 0) || !Float.isFinite(scale) || !Float.isFinite(1f / scale)) {
            throw new IllegalArgumentException("scale " + scale + " is not a positive number");
        }
        boolean unsigned = lowest >= 0 && highest <= 255;
        boolean signed = lowest >= -128 && highest <= 127;
        if (lowest >= highest || (!unsigned && !signed)) {
            throw new IllegalArgumentException("codes " + lowest + ".." + highest + " do not fit one byte");
        }
        if (zeroPoint < lowest || zeroPoint > highest) {
            throw new IllegalArgumentException("zero point " + zeroPoint + " is outside " + lowest + ".." + highest);
        }
    }

    /** Whether codes are stored as signed bytes. */
    public boolean signed() {
        return lowest < 0;
    }

    /** What a value is multiplied by before rounding. */
    public float inverseScale() {
        return 1f / scale;
    }

    /** The code of {@code x}; NaN becomes the zero point. */
    public int quantize(float x) {
        float steps = x * inverseScale();
        // Math.max and Math.min pass NaN on, and the cast makes it 0.
        float clamped = Math.min(Math.max(steps, lowest - zeroPoint), highest - zeroPoint);
        return (int) Math.rint((double) clamped) + zeroPoint;
    }

    public float dequantize(int code) {
        return (code - zeroPoint) * scale;
    }

    /** The same quantizer with its step multiplied. */
    public ActivationQuantizer scaledBy(float factor) {
        return new ActivationQuantizer(scale * factor, zeroPoint, lowest, highest);
    }

    /** Bits that the codes need. */
    public int bits() {
        return 32 - Integer.numberOfLeadingZeros(highest - lowest);
    }
}
