package dev.trivet.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** Weights in oneDNN's blocked layout; the compiled matmuls are shared with all linears of the same shape. */
final class OnednnLinear implements Linear {
    private final OnednnKernels kernels;
    private final OnednnKernels.LinearKey typical;
    private final OnednnMatmul typicalMatmul;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment packed;
    private volatile @Nullable OnednnMatmul lastOther;

    OnednnLinear(OnednnKernels kernels, OnednnLibrary library, OnednnKernels.LinearKey typical, MemorySegment weight) {
        this.kernels = kernels;
        this.typical = typical;
        library.useOneThread();
        typicalMatmul = kernels.matmul(typical);
        long plain = library.describe(
                typical.weightType(), new long[] {typical.inputs(), typical.outputs()}, new long[] {1, typical.inputs()
                });
        try (Arena scratch = Arena.ofConfined()) {
            packed = typicalMatmul.pack(offHeap(weight, scratch), plain, arena);
        } finally {
            library.freeDescriptor(plain);
        }
    }

    private static MemorySegment offHeap(MemorySegment segment, Arena arena) {
        return segment.isNative()
                ? segment
                : arena.allocate(segment.byteSize(), 64).copyFrom(segment);
    }

    private OnednnMatmul forRows(int rows) {
        if (rows == typicalMatmul.size) {
            return typicalMatmul;
        }
        OnednnMatmul matmul = lastOther;
        if (matmul == null || matmul.size != rows) {
            matmul = kernels.matmul(typical.withRows(rows));
            lastOther = matmul;
        }
        return matmul;
    }

    String implementation(int rows) {
        return forRows(rows).implementation;
    }

    @Override
    public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
        if (!packed.scope().isAlive()) {
            throw new IllegalStateException("the model is closed"); // native code would read freed memory
        }
        ((OnednnWorkspace) workspace).run(forRows(rows), in.address(), packed.address(), out.address());
    }

    @Override
    public void close() {
        arena.close();
    }
}
