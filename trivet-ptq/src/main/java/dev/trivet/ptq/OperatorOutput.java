package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/** Values that an observer's raw buffers stand for, whether the operator is float or quantized. Stateless. */
final class OperatorOutput {
    private OperatorOutput() {}

    /**
     * A layer's output with its bias.
     *
     * @param raw {@code [rows, outputs]}, float32 without bias, or int32 sums
     * @param values float32 {@code [rows, outputs]}, overwritten
     */
    static void linear(LinearLayer layer, MemorySegment raw, int rows, MemorySegment values) {
        int outputs = layer.outputs();
        float[] scale = new float[outputs];
        int[] correction = new int[outputs];
        if (layer instanceof LinearLayer.Quantized quantized) {
            for (int n = 0; n < outputs; n++) {
                scale[n] = quantized.scale(n) * quantized.input().scale();
                for (int c = 0; c < layer.inputs(); c++) {
                    correction[n] += quantized.code((long) n * layer.inputs() + c);
                }
                correction[n] *= quantized.input().zeroPoint();
            }
        }
        boolean integer = layer instanceof LinearLayer.Quantized;
        float[] bias = layer.bias();
        for (int r = 0; r < rows; r++) {
            for (int n = 0; n < outputs; n++) {
                long i = (long) r * outputs + n;
                float product = integer
                        ? (raw.getAtIndex(JAVA_INT, i) - correction[n]) * scale[n]
                        : raw.getAtIndex(JAVA_FLOAT, i);
                values.setAtIndex(JAVA_FLOAT, i, product + bias[n]);
            }
        }
    }

    /**
     * The attention map, which the mixing product reads as its left operand.
     *
     * @param left {@code [rows, tokens]}, float32, or codes of one or two bytes
     * @param values float32 {@code [rows, tokens]}, overwritten
     */
    static void map(
            Optional<MatmulQuantizers> quantizers, MemorySegment left, long rows, int tokens, MemorySegment values) {
        if (quantizers.isEmpty()) {
            MemorySegment.copy(left, 0, values, 0, 4 * rows * tokens);
            return;
        }
        ActivationQuantizer quantizer = quantizers.get().left();
        for (long r = 0; r < rows; r++) {
            long sum = 0;
            for (long i = r * tokens; i < (r + 1) * tokens; i++) {
                sum += code(quantizer, left, i);
            }
            float unit = quantizers.get().normalized() ? 1f / sum : quantizer.scale();
            for (long i = r * tokens; i < (r + 1) * tokens; i++) {
                values.setAtIndex(JAVA_FLOAT, i, code(quantizer, left, i) * unit);
            }
        }
    }

    private static int code(ActivationQuantizer quantizer, MemorySegment codes, long index) {
        return quantizer.wide()
                ? codes.getAtIndex(JAVA_SHORT, index)
                : quantizer.signed() ? codes.get(JAVA_BYTE, index) : codes.get(JAVA_BYTE, index) & 0xff;
    }

    /** {@code ||a - b||^2}. */
    static double squaredDistance(MemorySegment a, MemorySegment b, long count) {
        double sum = 0;
        for (long i = 0; i < count; i++) {
            double d = (double) a.getAtIndex(JAVA_FLOAT, i) - b.getAtIndex(JAVA_FLOAT, i);
            sum += d * d;
        }
        return sum;
    }
}
