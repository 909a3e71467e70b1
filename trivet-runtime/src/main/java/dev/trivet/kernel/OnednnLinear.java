package dev.trivet.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.Objects;
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

    /** For each ending the compiled matmuls but the typical one. */
    private final EnumMap<OnednnMatmul.Ending, CompiledSizes> others = new EnumMap<>(OnednnMatmul.Ending.class);

    private static final int EXPANDED = 8; // slots below belong to DigitProducts, FloatCodes and WindowedLinear

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
        for (OnednnMatmul.Ending ending : OnednnMatmul.Ending.values()) {
            others.put(ending, new CompiledSizes());
        }
        typicalMatmul = kernels.matmul(typical);
        long plain = library.describe(
                typical.weightType(), new long[] {typical.inputs(), typical.outputs()}, new long[] {1, typical.inputs()
                });
        try (Arena scratch = Arena.ofConfined()) {
            MemorySegment blocked =
                    typicalMatmul.pack(NativeMemory.offHeap(weight, scratch), plain, compress ? scratch : arena);
            codes = compress ? PackedCodes.of(blocked, arena).orElse(null) : null;
            packed = codes != null
                    ? MemorySegment.NULL
                    : compress ? arena.allocate(blocked.byteSize(), 64).copyFrom(blocked) : blocked;
        } finally {
            library.freeDescriptor(plain);
        }
    }

    /** The given rows, or whole tiles of them: a ragged last tile costs a product a sixth of its speed (AMX, 197 rows). */
    private int tiled(int rows, OnednnMatmul.Ending ending, MemorySegment in, MemorySegment out) {
        int whole = Math.ceilDiv(rows, ROW_TILE) * ROW_TILE;
        boolean room = (long) whole * typical.inputs() <= in.byteSize()
                && (long) whole * typical.outputs() * ending.bytes <= out.byteSize();
        return kernels.hasTiles && rows > ROW_TILE && room ? whole : rows;
    }

    private OnednnMatmul forRows(int rows, OnednnMatmul.Ending ending) {
        if (rows == typicalMatmul.size && ending == OnednnMatmul.Ending.SUM) {
            return typicalMatmul;
        }
        CompiledSizes sizes = Objects.requireNonNull(others.get(ending));
        OnednnMatmul matmul = sizes.find(rows);
        if (matmul == null) {
            OnednnKernels.LinearKey key = typical.withRows(rows);
            matmul = kernels.matmul(ending == OnednnMatmul.Ending.SUM ? key : key.with(ending));
            sizes.add(matmul);
        }
        return matmul;
    }

    String implementation(int rows) {
        return forRows(rows, OnednnMatmul.Ending.SUM).implementation;
    }

    /** Whether what follows can be left to the product. */
    private boolean ends() {
        return typical.weightType() == OnednnLibrary.S8 && kernels.exactEndings;
    }

    @Override
    public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
        end(workspace, in, rows, OnednnMatmul.Ending.SUM, MemorySegment.NULL, MemorySegment.NULL, out);
    }

    /**
     * The product, ended in one of several ways.
     *
     * @param scale float32 {@code [outputs]}, as {@code offset}; not read where sums are wanted
     */
    void end(
            Workspace workspace,
            MemorySegment in,
            int rows,
            OnednnMatmul.Ending ending,
            MemorySegment scale,
            MemorySegment offset,
            MemorySegment out) {
        if (!arena.scope().isAlive()) {
            throw new IllegalStateException("the model is closed"); // native code would read freed memory
        }
        MemorySegment weights = packed;
        if (codes != null) {
            weights = workspace.scratch(EXPANDED, codes.expandedBytes());
            codes.expand(weights);
        }
        ((OnednnWorkspace) workspace)
                .run(
                        forRows(typical.weightType() == OnednnLibrary.S8 ? tiled(rows, ending, in, out) : rows, ending),
                        in.address(),
                        weights.address(),
                        out.address(),
                        scale.address(),
                        offset.address());
    }

    @Override
    public void addTo(
            Workspace workspace,
            MemorySegment in,
            int rows,
            Product product,
            MemorySegment raw,
            MemorySegment residual) {
        if (ends()) {
            end(workspace, in, rows, OnednnMatmul.Ending.ADDED, product.scale(), product.offset(), residual);
        } else {
            Linear.super.addTo(workspace, in, rows, product, raw, residual);
        }
    }

    @Override
    public void gelu(
            Workspace workspace,
            MemorySegment in,
            int rows,
            Product product,
            Operand operand,
            MemorySegment raw,
            MemorySegment out) {
        if (ends()) {
            end(workspace, in, rows, OnednnMatmul.Ending.VALUE, product.scale(), product.offset(), raw);
            workspace.pointwise().gelu(raw, Math.multiplyExact(rows, product.columns()), operand, out);
        } else {
            Linear.super.gelu(workspace, in, rows, product, operand, raw, out);
        }
    }

    @Override
    public MemorySegment requantize(
            Workspace workspace, MemorySegment in, int rows, Requantization requantization, MemorySegment raw) {
        if (!ends()) {
            return Linear.super.requantize(workspace, in, rows, requantization, raw);
        }
        end(workspace, in, rows, OnednnMatmul.Ending.CODE, requantization.scale(), requantization.offset(), raw);
        return raw;
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
