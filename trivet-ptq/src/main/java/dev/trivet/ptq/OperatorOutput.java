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
     * The left operand of an attention product: for the mixing product the attention map.
     *
     * @param left float32, or codes of one or two bytes, {@code [count / columns, columns]}
     * @param values float32, overwritten
     */
    static void left(
            Optional<MatmulQuantizers> quantizers, MemorySegment left, long count, int columns, MemorySegment values) {
        if (quantizers.isEmpty()) {
            MemorySegment.copy(left, 0, values, 0, 4 * count);
            return;
        }
        ActivationQuantizer quantizer = quantizers.get().left();
        for (long i = 0; i < count; i++) {
            int code = quantizer.wide()
                    ? left.getAtIndex(JAVA_SHORT, i)
                    : quantizer.signed() ? left.get(JAVA_BYTE, i) : left.get(JAVA_BYTE, i) & 0xff;
            values.setAtIndex(JAVA_FLOAT, i, quantizer.dequantize(code));
        }
        if (quantizers.get().normalized()) {
            for (long row = 0; row < count; row += columns) {
                normalize(values, row, columns);
            }
        }
    }

    private static void normalize(MemorySegment values, long from, int count) {
        float sum = 0;
        for (long i = from; i < from + count; i++) {
            sum += values.getAtIndex(JAVA_FLOAT, i);
        }
        for (long i = from; i < from + count; i++) {
            values.setAtIndex(JAVA_FLOAT, i, values.getAtIndex(JAVA_FLOAT, i) / sum);
        }
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
