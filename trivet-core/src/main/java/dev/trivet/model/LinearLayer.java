package dev.trivet.model;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;

/** One linear layer with its parameters, float or quantized. Arrays are shared, not copied; nobody writes to them. */
public sealed interface LinearLayer {
    String name();

    int outputs();

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
        public Float32 {
            check(outputs, inputs, weight.length, bias.length);
        }
    }

    /**
     * Integer weights: {@code weight[n, k] = code[n, k] * scale[n]}.
     *
     * @param bits bits that the codes need, 2 to 8
     * @param codes signed bytes {@code [outputs, inputs]}
     * @param scales {@code [outputs]}, or one value for the whole tensor
     * @param input quantizer of the layer's input, unsigned codes
     */
    @SuppressWarnings("ArrayRecordComponent") // parameters, never compared
    record Quantized(
            String name,
            int outputs,
            int inputs,
            int bits,
            MemorySegment codes,
            float[] scales,
            float[] bias,
            ActivationQuantizer input)
            implements LinearLayer {
        public Quantized {
            check(outputs, inputs, codes.byteSize(), bias.length);
            if (scales.length != 1 && scales.length != outputs) {
                throw new IllegalArgumentException(scales.length + " scales for " + outputs + " channels");
            }
            if (input.signed()) {
                throw new IllegalArgumentException("the input of a linear layer has unsigned codes");
            }
        }

        public boolean perChannel() {
            return scales.length > 1;
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
