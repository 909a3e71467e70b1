package dev.trivet.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Weights in oneDNN's blocked layout, or that layout's bytes at their true width; the compiled matmuls are shared with all linears of
 * the same shape.
 */
final class OnednnLinear implements Linear {
    private final OnednnKernels kernels;
    private final OnednnKernels.LinearKey typical;
    private final OnednnMatmul typicalMatmul;
    private final Arena arena = Arena.ofShared();
    /** In oneDNN's layout; empty where {@link #codes} stand for them. */
    private final MemorySegment packed;
    /** Weights of few bits, expanded for each run; null where they are kept as oneDNN reads them. */
    private final @Nullable PackedCodes codes;

    private final CompiledSizes others = new CompiledSizes();

    private static final int EXPANDED = 8; // slots below belong to DigitProducts and FloatCodes

    /** @param compress whether weights of fewer than 8 bits are kept packed */
    OnednnLinear(
            OnednnKernels kernels,
            OnednnLibrary library,
            OnednnKernels.LinearKey typical,
            MemorySegment weight,
            boolean compress) {
        this.kernels = kernels;
        this.typical = typical;
        library.useOneThread();
        typicalMatmul = kernels.matmul(typical);
        long plain = library.describe(
                typical.weightType(), new long[] {typical.inputs(), typical.outputs()}, new long[] {1, typical.inputs()
                });
        try (Arena scratch = Arena.ofConfined()) {
            MemorySegment blocked = typicalMatmul.pack(offHeap(weight, scratch), plain, compress ? scratch : arena);
            codes = compress ? PackedCodes.of(blocked, arena).orElse(null) : null;
            packed = codes != null
                    ? MemorySegment.NULL
                    : compress ? arena.allocate(blocked.byteSize(), 64).copyFrom(blocked) : blocked;
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
        OnednnMatmul matmul = others.find(rows);
        if (matmul == null) {
            matmul = kernels.matmul(typical.withRows(rows));
            others.add(matmul);
        }
        return matmul;
    }

    String implementation(int rows) {
        return forRows(rows).implementation;
    }

    @Override
    public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
        if (!arena.scope().isAlive()) {
            throw new IllegalStateException("the model is closed"); // native code would read freed memory
        }
        MemorySegment weights = packed;
        if (codes != null) {
            weights = workspace.scratch(EXPANDED, codes.expandedBytes());
            codes.expand(weights);
        }
        ((OnednnWorkspace) workspace).run(forRows(rows), in.address(), weights.address(), out.address());
    }

    @Override
    public long weightBytes() {
        return codes != null ? codes.bytes() : packed.byteSize();
    }

    @Override
    public void close() {
        arena.close();
    }
}
