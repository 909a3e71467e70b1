package dev.trivet.model;

import dev.trivet.quant.ActivationQuantizer;

/**
 * Quantizers of the two operands of an attention product.
 *
 * @param left queries (signed) or attention weights (unsigned, zero point 0)
 * @param right keys or values, signed
 * @param normalized for attention weights: {@code left} codes softmax's numerators {@code exp(x - max(x))}, and each row of the
 *     product is divided by the sum of its codes; otherwise it codes the probabilities themselves. A row of many small
 *     probabilities then uses all codes, and quantized rows still sum to one
 */
public record MatmulQuantizers(ActivationQuantizer left, ActivationQuantizer right, boolean normalized) {
    /** @throws IllegalArgumentException if an operand would need a zero-point correction, which the product does not apply */
    public MatmulQuantizers {
        if (left.zeroPoint() != 0 || right.zeroPoint() != 0 || !right.signed()) {
            throw new IllegalArgumentException("attention operands are symmetric and the right one is signed");
        }
        if (normalized && left.signed()) {
            throw new IllegalArgumentException("rows of signed codes cannot be normalized");
        }
    }

    /** Without normalized rows. */
    public MatmulQuantizers(ActivationQuantizer left, ActivationQuantizer right) {
        this(left, right, false);
    }
}
