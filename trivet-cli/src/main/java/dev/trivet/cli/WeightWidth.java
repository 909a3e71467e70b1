package dev.trivet.cli;

import dev.trivet.quant.WeightCoding;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/**
 * What an option says about widths: a number of bits, or {@code ternary}.
 *
 * @param bits 2 if {@code ternary}; else what was typed, checked later with everything else
 */
record WeightWidth(int bits, boolean ternary) {
    static final WeightWidth TERNARY = new WeightWidth(WeightCoding.TERNARY.bits(), true);

    /** Activations that ternary weights meet where nothing else is said. */
    private static final int TERNARY_ACTIVATIONS = 8;

    static WeightWidth of(int bits) {
        return new WeightWidth(bits, false);
    }

    /** Bits of activations where one option gives both. */
    int activations() {
        return ternary ? TERNARY_ACTIVATIONS : bits;
    }

    /** @throws IllegalArgumentException if the width is not known */
    WeightCoding coding() {
        return ternary ? WeightCoding.TERNARY : WeightCoding.ofBits(bits);
    }

    @Override
    public String toString() {
        return ternary ? WeightCoding.TERNARY.toString() : String.valueOf(bits);
    }

    static final class Converter implements ITypeConverter<WeightWidth> {
        @Override
        public WeightWidth convert(String text) {
            if (text.equals(TERNARY.toString())) {
                return TERNARY;
            }
            try {
                return of(Integer.parseInt(text));
            } catch (NumberFormatException e) {
                throw new TypeConversionException("'" + text + "' is neither a number of bits nor ternary");
            }
        }
    }
}
