package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicLong;

/** The vector kernels, counting the bytes of integer weights that are packed and not yet closed. */
final class CountingKernels implements Kernels {
    private final Kernels vector = new VectorKernels();
    private final AtomicLong held = new AtomicLong();
    private final AtomicLong peak = new AtomicLong();

    long held() {
        return held.get();
    }

    long peak() {
        return peak.get();
    }

    @Override
    public String name() {
        return vector.name();
    }

    @Override
    public String description() {
        return vector.description();
    }

    @Override
    public Workspace openWorkspace() {
        return vector.openWorkspace();
    }

    @Override
    public Linear floatLinear(MemorySegment weight, int outputs, int inputs, int typicalRows) {
        return vector.floatLinear(weight, outputs, inputs, typicalRows);
    }

    @Override
    public Linear integerLinear(MemorySegment codes, int outputs, int inputs, int typicalRows) {
        long bytes = (long) outputs * inputs;
        Linear linear = vector.integerLinear(codes, outputs, inputs, typicalRows);
        peak.accumulateAndGet(held.addAndGet(bytes), Math::max);
        return new Linear() {
            @Override
            public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
                linear.run(workspace, in, rows, out);
            }

            @Override
            public long weightBytes() {
                return linear.weightBytes();
            }

            @Override
            public void close() {
                held.addAndGet(-bytes);
                linear.close();
            }
        };
    }

    @Override
    public Matmul floatMatmul(MatmulShape shape) {
        return vector.floatMatmul(shape);
    }

    @Override
    public Matmul integerMatmul(MatmulShape shape, boolean leftSigned) {
        return vector.integerMatmul(shape, leftSigned);
    }

    @Override
    public void close() {
        vector.close();
    }
}
