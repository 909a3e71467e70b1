package dev.trivet.ptq;

/**
 * What is asked of one operator: a linear layer or an attention product.
 *
 * @param operator its name
 * @param weightBits bits of a weight, 2 to 10; 0 for an attention product, which has none
 * @param activationBits bits of the input, or of both operands of a product, 2 to 10; {@link #FLOAT} leaves the operator in
 *     float32
 */
public record OperatorPlan(String operator, int weightBits, int activationBits) {
    /** Bits of an operator that is excluded. */
    public static final int FLOAT = 32;

    /** @throws IllegalArgumentException if the widths are not known */
    public OperatorPlan {
        boolean excluded = activationBits == FLOAT && (weightBits == FLOAT || weightBits == 0);
        if (!excluded && (!known(activationBits) || (weightBits != 0 && !known(weightBits)))) {
            throw new IllegalArgumentException(operator + " asks for " + weightBits + " weight bits and "
                    + activationBits + " activation bits; 2 to 10 are known, and 32 for both leaves it in float");
        }
    }

    private static boolean known(int bits) {
        return bits >= 2 && bits <= 10;
    }

    public boolean isFloat() {
        return activationBits == FLOAT;
    }
}
