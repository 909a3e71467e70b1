package dev.trivet.model;

import dev.trivet.quant.ActivationQuantizer;

/**
 * Quantizers of the two operands of an attention product.
 *
 * @param left queries (signed) or attention probabilities (unsigned, zero point 0)
 * @param right keys or values, signed
 */
public record MatmulQuantizers(ActivationQuantizer left, ActivationQuantizer right) {
    /** @throws IllegalArgumentException if an operand would need a zero-point correction, which the product does not apply */
    public MatmulQuantizers {
        if (left.zeroPoint() != 0 || right.zeroPoint() != 0 || !right.signed()) {
            throw new IllegalArgumentException("attention operands are symmetric and the right one is signed");
        }
    }
}
