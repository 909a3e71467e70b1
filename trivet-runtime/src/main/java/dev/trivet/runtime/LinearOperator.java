package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.DigitProducts;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Product;
import dev.trivet.model.LinearLayer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** A linear layer made ready to run: packed weights, the form its input must have, and how its raw sums become values. */
record LinearOperator(String name, Operand input, Linear linear, Product product) implements AutoCloseable {

    /** @param arena owns the constants; outlives the operator */
    static LinearOperator compile(LinearLayer layer, Kernels kernels, int typicalRows, Arena arena) {
        return switch (layer) {
            case LinearLayer.Float32 l -> compileFloat(l, kernels, typicalRows, arena);
            case LinearLayer.Quantized l -> compileQuantized(l, kernels, typicalRows, arena);
        };
    }

    private static LinearOperator compileFloat(
            LinearLayer.Float32 layer, Kernels kernels, int typicalRows, Arena arena) {
        Product product = Product.ofFloats(layer.outputs(), arena.allocateFrom(JAVA_FLOAT, layer.bias()));
        try (Arena scratch = Arena.ofConfined()) {
            MemorySegment weight = scratch.allocateFrom(JAVA_FLOAT, layer.weight());
            return new LinearOperator(
                    layer.name(),
                    Operand.FLOAT,
                    kernels.floatLinear(weight, layer.outputs(), layer.inputs(), typicalRows),
                    product);
        }
    }

    private static LinearOperator compileQuantized(
            LinearLayer.Quantized layer, Kernels kernels, int typicalRows, Arena arena) {
        int[] sums = new int[layer.outputs()];
        float[] scale = new float[layer.outputs()];
        short[] row = new short[layer.inputs()];
        for (int n = 0; n < layer.outputs(); n++) {
            load(layer, n, row);
            int sum = 0;
            long magnitude = 0;
            for (short code : row) {
                sum += code;
                magnitude += Math.abs(code);
            }
            if (magnitude * layer.input().highest() > Integer.MAX_VALUE) {
                throw new IllegalArgumentException("sums of " + layer.name() + " do not fit 32 bits; lower its bits");
            }
            sums[n] = sum;
            scale[n] = layer.input().scale() * layer.scale(n);
        }
        Product product = Product.ofIntegers(layer.input().zeroPoint(), sums, scale, layer.bias(), arena);
        return new LinearOperator(
                layer.name(),
                layer.equalization()
                        .map(change -> Operand.of(layer.input(), change))
                        .orElseGet(() -> Operand.of(layer.input())),
                DigitProducts.linear(
                        kernels,
                        layer.codes(),
                        layer.wide(),
                        layer.outputs(),
                        layer.inputs(),
                        typicalRows,
                        layer.input().wide()),
                product);
    }

    /** The codes of one output channel; copied first, because a loop over an array is compiled sooner and runs faster. */
    private static void load(LinearLayer.Quantized layer, int channel, short[] row) {
        long first = (long) channel * row.length;
        if (layer.wide()) {
            MemorySegment.copy(layer.codes(), LinearLayer.Quantized.CODE, 2 * first, row, 0, row.length);
            return;
        }
        byte[] bytes = new byte[row.length];
        MemorySegment.copy(layer.codes(), JAVA_BYTE, first, bytes, 0, row.length);
        for (int k = 0; k < row.length; k++) {
            row[k] = bytes[k];
        }
    }

    @Override
    public void close() {
        linear.close();
    }
}
