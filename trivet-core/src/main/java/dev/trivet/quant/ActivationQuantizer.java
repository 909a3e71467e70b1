package dev.trivet.quant;

import java.util.List;

/**
 * Quantizer of an activation, the left or right operand of an integer product:
 *
 * <pre>code = level(clamp(round(x / scale), lowest - zeroPoint, highest - zeroPoint) + zeroPoint)      value = (code - zeroPoint) * scale</pre>
 *
 * With {@code zeroPoint = 0}, a signed range and no list of levels this is Psi of Liu et al. 2021, eq. (8). Rounding is to
 * nearest, ties to even; the division is a multiplication by the float reciprocal, because that is what the kernels run.
 *
 * <p>A quantizer of {@code b} bits is either uniform over {@code 2^b} neighbouring codes, or picks {@code 2^b} {@code levels}
 * out of a byte: then level(c) is the nearest of them, the higher one at a tie. Codes stay integers on one grid, so the
 * product runs on the same integer kernels; what is gained is that the levels can be dense where values are (after softmax and
 * GELU half of a uniform grid is wasted).
 *
 * @param scale width of one step, positive
 * @param zeroPoint the code of 0, within the range, so that zero (padding, ReLU-like tails) is exact unless levels say otherwise
 * @param lowest smallest code: 0 for unsigned operands, at least -512 for signed ones
 * @param highest largest code: at most 1023 for unsigned operands, 511 for signed ones; beyond one byte, codes take two
 * @param levels the codes in use, strictly rising from {@code lowest} to {@code highest}; empty if all are. Only codes of one
 *     byte can be picked from
 */
public record ActivationQuantizer(float scale, int zeroPoint, int lowest, int highest, List<Integer> levels) {
    /** Widest operand of an integer product, bits. */
    public static final int MOST_BITS = 10;

    /** @throws IllegalArgumentException if the numbers do not fit */
    public ActivationQuantizer {
        levels = List.copyOf(levels);
        if (!(scale > 0) || !Float.isFinite(scale) || !Float.isFinite(1f / scale)) {
            throw new IllegalArgumentException("scale " + scale + " is not a positive number");
        }
        int most = 1 << MOST_BITS;
        boolean unsigned = lowest >= 0 && highest < most;
        boolean signed = lowest >= -most / 2 && highest < most / 2;
        if (lowest >= highest || (!unsigned && !signed)) {
            throw new IllegalArgumentException(
                    "codes " + lowest + ".." + highest + " do not fit " + MOST_BITS + " bits");
        }
        if (zeroPoint < lowest || zeroPoint > highest) {
            throw new IllegalArgumentException("zero point " + zeroPoint + " is outside " + lowest + ".." + highest);
        }
        if (!levels.isEmpty()) {
            checkLevels(lowest, highest, levels);
        }
    }

    /** A uniform quantizer. */
    public ActivationQuantizer(float scale, int zeroPoint, int lowest, int highest) {
        this(scale, zeroPoint, lowest, highest, List.of());
    }

    private static void checkLevels(int lowest, int highest, List<Integer> levels) {
        if (isWide(lowest, highest)) {
            throw new IllegalArgumentException("levels are picked from one byte, not from " + lowest + ".." + highest);
        }
        boolean rising = levels.size() > 1;
        for (int i = 1; i < levels.size(); i++) {
            rising &= levels.get(i - 1) < levels.get(i);
        }
        if (!rising || levels.getFirst() != lowest || levels.getLast() != highest) {
            throw new IllegalArgumentException("levels " + levels + " do not rise from " + lowest + " to " + highest);
        }
    }

    private static boolean isWide(int lowest, int highest) {
        return lowest < 0 ? lowest < -128 || highest > 127 : highest > 255;
    }

    /** Whether codes are stored as signed numbers. */
    public boolean signed() {
        return lowest < 0;
    }

    /** Whether a code takes two bytes. */
    public boolean wide() {
        return isWide(lowest, highest);
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
        return level((int) Math.rint((double) clamped) + zeroPoint);
    }

    /** The code in use that stands for {@code code}. */
    public int level(int code) {
        int best = code;
        for (int i = 0; i < levels.size(); i++) {
            int level = levels.get(i);
            if (i == 0 || Math.abs(level - code) <= Math.abs(best - code)) {
                best = level;
            }
        }
        return best;
    }

    /** The value that a code stands for, {@code (code - zeroPoint) * scale}. */
    public float dequantize(int code) {
        return (code - zeroPoint) * scale;
    }

    /** The same quantizer with its step multiplied. */
    public ActivationQuantizer scaledBy(float factor) {
        return new ActivationQuantizer(scale * factor, zeroPoint, lowest, highest, levels);
    }

    /** Bits of information in a code. */
    public int bits() {
        int codes = levels.isEmpty() ? highest - lowest + 1 : levels.size();
        return 32 - Integer.numberOfLeadingZeros(codes - 1);
    }
}
