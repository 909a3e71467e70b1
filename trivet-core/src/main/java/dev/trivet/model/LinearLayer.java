package dev.trivet.model;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import dev.trivet.quant.WeightCoding;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;

/** One linear layer with its parameters, float or quantized. Arrays are shared, not copied; nobody writes to them. */
public sealed interface LinearLayer {
    /** timm's name of the layer, without {@code .weight}. */
    String name();

    /** Rows of the weight matrix. */
    int outputs();

    /** Columns of the weight matrix. */
    int inputs();

    /** {@code [outputs]}; zeros where the checkpoint has no bias. */
    float[] bias();

    /**
     * Float weights.
     *
     * @param weight {@code [outputs, inputs]}
     */
    @SuppressWarnings("ArrayRecordComponent") // parameters, never compared
    record Float32(String name, int outputs, int inputs, float[] weight, float[] bias) implements LinearLayer {
        /** @throws IllegalArgumentException if an array does not have the length that {@code outputs} and {@code inputs} ask for */
        public Float32 {
            check(outputs, inputs, weight.length, bias.length);
        }
    }

    /**
     * Integer weights: {@code weight[n, k] = code[n, k] * scale[n]}.
     *
     * @param coding what the codes are; ternary ones are -1, 0 and 1
     * @param codes signed {@code [outputs, inputs]}: bytes, or two bytes each in native order if the coding is wide
     * @param scales {@code [outputs]}, or one value for the whole tensor
     * @param input quantizer of the layer's input, unsigned codes
     * @param equalization what happens to the input before it is quantized; the weights are for the result. Only a patch
     *     embedding may have it: everywhere else what comes before can do it for nothing
     */
    @SuppressWarnings("ArrayRecordComponent") // parameters, never compared
    record Quantized(
            String name,
            int outputs,
            int inputs,
            WeightCoding coding,
            MemorySegment codes,
            float[] scales,
            float[] bias,
            ActivationQuantizer input,
            Optional<ChannelAffine> equalization)
            implements LinearLayer {
        /** Heap segments over bytes are not aligned for more. */
        public static final ValueLayout.OfShort CODE = ValueLayout.JAVA_SHORT_UNALIGNED;

        /**
         * @throws IllegalArgumentException if codes, scales, bias or equalization do not have the length that {@code outputs} and
         * {@code inputs} ask for, or the input's codes are signed
         */
        public Quantized {
            check(outputs, inputs, codes.byteSize() / (coding.wide() ? 2 : 1), bias.length);
            if (scales.length != 1 && scales.length != outputs) {
                throw new IllegalArgumentException(scales.length + " scales for " + outputs + " channels");
            }
            if (input.signed()) {
                throw new IllegalArgumentException("the input of a linear layer has unsigned codes");
            }
            int channels = equalization.map(ChannelAffine::channels).orElse(inputs);
            if (channels != inputs) {
                throw new IllegalArgumentException(channels + " equalized channels for " + inputs + " inputs");
            }
        }

        /** A layer that reads its input as it is. */
        public Quantized(
                String name,
                int outputs,
                int inputs,
                WeightCoding coding,
                MemorySegment codes,
                float[] scales,
                float[] bias,
                ActivationQuantizer input) {
            this(name, outputs, inputs, coding, codes, scales, bias, input, Optional.empty());
        }

        /** A layer that reads its input as it is, with codes of 2 to 10 bits. */
        public Quantized(
                String name,
                int outputs,
                int inputs,
                int bits,
                MemorySegment codes,
                float[] scales,
                float[] bias,
                ActivationQuantizer input) {
            this(name, outputs, inputs, WeightCoding.ofBits(bits), codes, scales, bias, input);
        }

        /** Bits of {@link WeightCoding#bits}: 2 where weights are ternary. */
        public int bits() {
            return coding.bits();
        }

        /** Whether codes are -1, 0 and 1, five to a byte in a file. */
        public boolean isTernary() {
            return coding == WeightCoding.TERNARY;
        }

        /** Whether each output has a scale of its own. */
        public boolean perChannel() {
            return scales.length > 1;
        }

        /** Whether a code takes two bytes. */
        public boolean wide() {
            return coding.wide();
        }

        /** The code at {@code index} of {@code [outputs, inputs]}. */
        public int code(long index) {
            return wide() ? codes.get(CODE, 2 * index) : codes.get(JAVA_BYTE, index);
        }

        /** Weight scale of output channel {@code n}. */
        public float scale(int n) {
            return scales[scales.length == 1 ? 0 : n];
        }
    }

    private static void check(int outputs, int inputs, long weights, int biases) {
        if (weights != (long) outputs * inputs || biases != outputs) {
            throw new IllegalArgumentException(
                    weights + " weights and " + biases + " biases for " + outputs + " x " + inputs);
        }
    }
}
