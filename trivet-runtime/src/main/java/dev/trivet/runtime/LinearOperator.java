package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.DigitProducts;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Product;
import dev.trivet.model.LinearLayer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A linear layer made ready to run: packed weights, the form its input must have, and how its raw sums become values.
 *
 * @param input of {@link Linear#run}
 * @param fusedInput of the methods of {@link Linear} that do what follows the product, too: the same codes, in rows {@link Linear#inputStride} apart
 */
record LinearOperator(String name, Operand input, Operand fusedInput, Linear linear, Product product)
        implements AutoCloseable {
    private LinearOperator(String name, Operand input, Linear linear, Product product) {
        this(name, input, input.withStride(linear.inputStride()), linear, product);
    }

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
        float[] scale = new float[layer.outputs()];
        for (int n = 0; n < scale.length; n++) {
            scale[n] = layer.input().scale() * layer.scale(n);
        }
        Product product = Product.ofIntegers(layer.input().zeroPoint(), CodeSums.of(layer), scale, layer.bias(), arena);
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

    @Override
    public void close() {
        linear.close();
    }
}
