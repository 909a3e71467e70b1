package dev.trivet.runtime;

import dev.trivet.kernel.DigitProducts;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Operand;
import dev.trivet.model.MatmulQuantizers;
import java.util.Optional;

/**
 * An attention product made ready to run.
 *
 * @param scale what raw sums are multiplied by
 * @param normalized whether rows are divided by the sum of their left codes
 */
record MatmulOperator(
        String name,
        Operand left,
        Operand right,
        MatmulShape shape,
        Matmul matmul,
        boolean integer,
        float scale,
        boolean normalized) {
    static MatmulOperator compile(
            String name, Optional<MatmulQuantizers> quantizers, MatmulShape shape, float factor, Kernels kernels) {
        return quantizers
                .map(q -> {
                    Operand left = Operand.of(q.left());
                    Operand right = Operand.of(q.right());
                    return new MatmulOperator(
                            name,
                            left,
                            right,
                            shape,
                            DigitProducts.matmul(kernels, shape, left, right),
                            true,
                            (q.normalized() ? 1f : q.left().scale()) * q.right().scale() * factor,
                            q.normalized());
                })
                .orElseGet(() -> new MatmulOperator(
                        name, Operand.FLOAT, Operand.FLOAT, shape, kernels.floatMatmul(shape), false, factor, false));
    }

    /** The same for left operands of another number of rows. */
    MatmulOperator withRows(int rows, Kernels kernels) {
        MatmulShape other = shape.withRows(rows);
        Matmul product = integer ? DigitProducts.matmul(kernels, other, left, right) : kernels.floatMatmul(other);
        return new MatmulOperator(name, left, right, other, product, integer, scale, normalized);
    }
}
