package dev.trivet.ptq;

import dev.trivet.quant.WeightCoding;
import java.util.Optional;

/**
 * What is asked of one operator: a linear layer or an attention product.
 *
 * @param operator its name
 * @param weights what its weights become; empty for an attention product, which has none, and for a layer left in float32
 * @param activationBits bits of the input, or of both operands of a product, 2 to 10; {@link #FLOAT} leaves the operator in
 *     float32
 */
public record OperatorPlan(String operator, Optional<WeightCoding> weights, int activationBits) {
    /** Bits of an operator that is excluded. */
    public static final int FLOAT = 32;

    /** @throws IllegalArgumentException if the widths are not known */
    public OperatorPlan {
        boolean excluded = activationBits == FLOAT && weights.isEmpty();
        if (!excluded && !known(activationBits)) {
            throw unknown(operator, weights.map(WeightCoding::toString).orElse("0"), activationBits);
        }
    }

    /** A layer with weights of that coding. */
    public OperatorPlan(String operator, WeightCoding weights, int activationBits) {
        this(operator, Optional.of(weights), activationBits);
    }

    /**
     * An operator whose weights, if any, have a number of bits.
     *
     * @param weightBits 2 to 10; 0 for an attention product; {@link #FLOAT} with as many activation bits leaves it in float32
     * @throws IllegalArgumentException if the widths are not known
     */
    public OperatorPlan(String operator, int weightBits, int activationBits) {
        this(operator, coding(operator, weightBits, activationBits), activationBits);
    }

    private static Optional<WeightCoding> coding(String operator, int weightBits, int activationBits) {
        boolean excluded = activationBits == FLOAT && weightBits == FLOAT;
        if (excluded || weightBits == 0) {
            return Optional.empty();
        }
        if (!known(weightBits)) {
            throw unknown(operator, String.valueOf(weightBits), activationBits);
        }
        return Optional.of(WeightCoding.ofBits(weightBits));
    }

    private static IllegalArgumentException unknown(String operator, String weightBits, int activationBits) {
        return new IllegalArgumentException(operator + " asks for " + weightBits + " weight bits and " + activationBits
                + " activation bits; 2 to 10 are known, and 32 for both leaves it in float");
    }

    private static boolean known(int bits) {
        return bits >= 2 && bits <= 10;
    }

    /** Whether the operator stays in float32. */
    public boolean isFloat() {
        return activationBits == FLOAT;
    }

    /** {@link WeightCoding#bits}; 0 for an attention product, {@link #FLOAT} for a layer left in float. */
    public int weightBits() {
        return weights.map(WeightCoding::bits).orElse(isFloat() && !QuantizationPlan.isProduct(operator) ? FLOAT : 0);
    }

    /** What {@link #weightBits} says, or {@code ternary}. */
    public String weightText() {
        return weights.map(WeightCoding::toString).orElseGet(() -> String.valueOf(weightBits()));
    }

    /** @throws IllegalStateException if there are no weights to be quantized */
    public WeightCoding coding() {
        return weights.orElseThrow(() -> new IllegalStateException(operator + " has no weights to be quantized"));
    }
}
