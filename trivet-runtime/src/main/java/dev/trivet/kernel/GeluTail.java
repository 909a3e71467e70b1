package dev.trivet.kernel;

import org.jspecify.annotations.Nullable;

/**
 * The polynomials of {@link ScalarMath#geluSteps} with coefficients in the steps of an operand, for scalars and as tables in registers. They are scaled here
 * and not where they are looked up: in one method HotSpot comes to the most nodes that it lets a method have, and leaves what is behind as calls. For one
 * thread.
 */
final class GeluTail {
    /** {@code [PIECES, DEGREE + 1]}. */
    final float[] scaled = new float[ScalarMath.TAIL_LENGTH];
    /** For each power a register of bits by piece, pieces as often as they fit, or as many registers as hold the pieces. */
    final int[] registers;

    private final int width;
    private @Nullable Operand operand;

    /** @param lanes of a register; 0 for none */
    GeluTail(int lanes) {
        width = lanes == 0 ? 0 : Math.max(lanes, ScalarMath.PIECES);
        registers = new int[(ScalarMath.DEGREE + 1) * width];
    }

    /** Makes ready for an operand, of bytes. */
    void scale(Operand operand) {
        if (operand == this.operand) {
            return;
        }
        this.operand = operand;
        ScalarMath.scaleTail(operand.inverseScale, operand.zeroPoint, scaled);
        for (int power = 0; power <= ScalarMath.DEGREE; power++) {
            for (int i = 0; i < width; i++) {
                int piece = i % ScalarMath.PIECES;
                registers[power * width + i] = Float.floatToRawIntBits(scaled[piece * (ScalarMath.DEGREE + 1) + power]);
            }
        }
    }
}
