package dev.trivet.runtime;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.MemorySegment;

/** Other kernels that say how many bytes of sums are best at once. */
record FewSums(Kernels kernels, long sumsAtOnce) implements Kernels {
    @Override
    public String name() {
        return kernels.name();
    }

    @Override
    public String description() {
        return kernels.description();
    }

    @Override
    public Workspace openWorkspace() {
        return kernels.openWorkspace();
    }

    @Override
    public Linear floatLinear(MemorySegment weight, int outputs, int inputs, int typicalRows) {
        return kernels.floatLinear(weight, outputs, inputs, typicalRows);
    }

    @Override
    public Linear integerLinear(MemorySegment codes, int outputs, int inputs, int typicalRows) {
        return kernels.integerLinear(codes, outputs, inputs, typicalRows);
    }

    @Override
    public Matmul floatMatmul(MatmulShape shape) {
        return kernels.floatMatmul(shape);
    }

    @Override
    public Matmul integerMatmul(MatmulShape shape, boolean leftSigned) {
        return kernels.integerMatmul(shape, leftSigned);
    }

    @Override
    public void close() {
        kernels.close();
    }
}
