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
    /** A register of bits for each power, by piece, pieces as often as they fit; of no use with fewer lanes than pieces. */
    final int[] registers;

    private final int lanes;
    private @Nullable Operand operand;

    /** @param lanes of a register; 0 for none */
    GeluTail(int lanes) {
        this.lanes = lanes;
        registers = new int[(ScalarMath.DEGREE + 1) * lanes];
    }

    /** Makes ready for an operand, of bytes. */
    void scale(Operand operand) {
        if (operand == this.operand) {
            return;
        }
        this.operand = operand;
        ScalarMath.scaleTail(operand.inverseScale, operand.zeroPoint, scaled);
        for (int power = 0; power <= ScalarMath.DEGREE; power++) {
            for (int i = 0; i < lanes; i++) {
                int piece = i % ScalarMath.PIECES;
                registers[power * lanes + i] = Float.floatToRawIntBits(scaled[piece * (ScalarMath.DEGREE + 1) + power]);
            }
        }
    }
}
