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

    /** For each number of rows the product of some or all outputs that GELU follows; its values stand as far apart as is best, or follow each other. */
    private final CompiledSizes slices = new CompiledSizes();

    private final CompiledSizes denseSlices = new CompiledSizes();

    private static final int EXPANDED = 8; // slots below belong to DigitProducts, FloatCodes and WindowedLinear
    private static final int SLICED = 9;
    /** Outputs of a block of packed weights; a slice of them is looked at before it is used. */
    private static final int WEIGHT_BLOCK = 64;

    private static final int LEAST_SLICE = 256;

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
    private int tiled(int rows, OnednnMatmul.Ending ending, int outStride, MemorySegment in, MemorySegment out) {
        int whole = Math.ceilDiv(rows, ROW_TILE) * ROW_TILE;
        boolean room = (long) whole * inStride(ending) <= in.byteSize()
                && (long) whole * outStride * ending.bytes <= out.byteSize();
        return kernels.hasTiles && rows > ROW_TILE && room ? whole : rows;
    }

    private OnednnMatmul forRows(int rows, OnednnMatmul.Ending ending, int outStride) {
        if (rows == typicalMatmul.size && ending == OnednnMatmul.Ending.SUM) {
            return typicalMatmul;
        }
        CompiledSizes sizes = Objects.requireNonNull(others.get(ending));
        OnednnMatmul matmul = sizes.find(rows, outStride);
        if (matmul == null) {
            OnednnKernels.LinearKey key = typical.withRows(rows);
            matmul = kernels.matmul(
                    ending == OnednnMatmul.Ending.SUM
                            ? key
                            : key.with(ending).withStrides(inStride(ending), outStride));
            sizes.add(matmul);
        }
        return matmul;
    }

    @Override
    public int inputStride() {
        int stride = inStride(OnednnMatmul.Ending.VALUE);
        return stride == typical.inputs() ? 0 : stride;
    }

    /** Sums are of rows that follow each other, as {@link #run} reads them. */
    private int inStride(OnednnMatmul.Ending ending) {
        return ending == OnednnMatmul.Ending.SUM || !ends() ? typical.inputs() : kernels.rowBytes(typical.inputs());
    }

    String implementation(int rows) {
        return forRows(rows, OnednnMatmul.Ending.SUM, typical.outputs()).implementation;
    }

    /** Whether what follows can be left to the product. */
    private boolean ends() {
        return typical.weightType() == OnednnLibrary.S8 && kernels.exactEndings;
    }

    @Override
    public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
        end(
                workspace,
                in,
                rows,
                OnednnMatmul.Ending.SUM,
                MemorySegment.NULL,
                MemorySegment.NULL,
                out,
                typical.outputs());
    }

    /**
     * The product, ended in one of several ways.
     *
     * @param scale float32 {@code [outputs]}, as {@code offset}; not read where sums are wanted
     * @param outStride elements from one row of {@code out} to the next; those of sums follow each other
     */
    void end(
            Workspace workspace,
            MemorySegment in,
            int rows,
            OnednnMatmul.Ending ending,
            MemorySegment scale,
            MemorySegment offset,
            MemorySegment out,
            int outStride) {
        MemorySegment weights = weights(workspace);
        int run = typical.weightType() == OnednnLibrary.S8 ? tiled(rows, ending, outStride, in, out) : rows;
        ((OnednnWorkspace) workspace)
                .run(
                        forRows(run, ending, outStride),
                        in.address(),
                        weights.address(),
                        out.address(),
                        scale.address(),
                        offset.address());
    }

    /** As oneDNN reads them. */
    private MemorySegment weights(Workspace workspace) {
        if (!arena.scope().isAlive()) {
            throw new IllegalStateException("the model is closed"); // native code would read freed memory
        }
        if (codes == null) {
            return packed;
        }
        MemorySegment expanded = workspace.scratch(EXPANDED, codes.expandedBytes());
        codes.expand(expanded);
        return expanded;
    }

    @Override
    public void addTo(
            Workspace workspace,
            MemorySegment in,
            int rows,
            Product product,
            MemorySegment raw,
            MemorySegment residual,
            int stride) {
        if (ends()) {
            end(workspace, in, rows, OnednnMatmul.Ending.ADDED, product.scale(), product.offset(), residual, stride);
        } else {
            Linear.super.addTo(workspace, in, rows, product, raw, residual, stride);
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
            endInSlices(workspace, in, rows, product, operand, raw, out);
        } else {
            Linear.super.gelu(workspace, in, rows, product, operand, raw, out);
        }
    }

    /**
     * Some outputs after the others, so that GELU reads values where they are still in the second-level cache: those of two images of a DeiT-Base are 4.8 MB. The weights
     * of some outputs are a part of the packed ones. Not named after GELU: {@code bench} tells by names of methods what time is spent on.
     */
    private void endInSlices(
            Workspace workspace,
            MemorySegment in,
            int rows,
            Product product,
            Operand operand,
            MemorySegment raw,
            MemorySegment out) {
        int inputs = typical.inputs();
        int outputs = typical.outputs();
        int stride = operand.stride(outputs);
        int tiled = tiled(rows, OnednnMatmul.Ending.VALUE, outputs, in, raw);
        OnednnMatmul slice = slice(tiled, raw.byteSize());
        MemorySegment read = in;
        long readBytes = (tiled - 1L) * inStride(OnednnMatmul.Ending.VALUE) + inputs;
        long written = out.address() + (long) rows * stride * operand.bytes();
        boolean apart = written <= in.address() || in.address() + readBytes <= out.address();
        if (slice.columns < outputs && !apart) {
            // What is written must not overtake what is still to be read.
            read = workspace.scratch(SLICED, readBytes);
            MemorySegment.copy(in, 0, read, 0, readBytes);
        }
        long weights = weights(workspace).address();
        for (int first = 0; first < outputs; first += slice.columns) {
            ((OnednnWorkspace) workspace)
                    .run(
                            slice,
                            read.address(),
                            weights + (long) first * inputs,
                            raw.address(),
                            product.scale().address() + (long) Float.BYTES * first,
                            product.offset().address() + (long) Float.BYTES * first);
            workspace.pointwise().gelu(raw, slice.stride, rows, slice.columns, operand, out, first, stride);
        }
    }

    /** The product of as many outputs as leave no more values than fit the cache, and are whole blocks of weights. */
    private OnednnMatmul slice(int rows, long rawBytes) {
        OnednnMatmul matmul = slices.find(rows);
        if (matmul == null) {
            int columns = sliceColumns(rows);
            matmul = slice(rows, columns, kernels.rowBytes(Float.BYTES * columns) / Float.BYTES);
            slices.add(matmul);
        }
        if ((long) rows * matmul.stride * Float.BYTES <= rawBytes) {
            return matmul;
        }
        OnednnMatmul dense = denseSlices.find(rows);
        if (dense == null) {
            dense = slice(rows, matmul.columns, matmul.columns);
            denseSlices.add(dense);
        }
        return dense;
    }

    private OnednnMatmul slice(int rows, int columns, int stride) {
        return kernels.matmul(typical.withOutputs(columns)
                .withRows(rows)
                .with(OnednnMatmul.Ending.VALUE)
                .withStrides(inStride(OnednnMatmul.Ending.VALUE), stride));
    }

    private int sliceColumns(int rows) {
        int outputs = typical.outputs();
        if ((long) rows * outputs * Float.BYTES <= kernels.valuesAtOnce()) {
            return outputs;
        }
        for (int count = 2; outputs / count >= LEAST_SLICE; count++) {
            int columns = outputs / count;
            boolean blocks = outputs % count == 0 && columns % WEIGHT_BLOCK == 0;
            if (blocks && (long) rows * columns * Float.BYTES <= kernels.valuesAtOnce()) {
                return kernels.slicesWeights(typical, columns) ? columns : outputs;
            }
        }
        return outputs;
    }

    @Override
    public MemorySegment requantize(
            Workspace workspace, MemorySegment in, int rows, Requantization requantization, MemorySegment raw) {
        if (!ends()) {
            return Linear.super.requantize(workspace, in, rows, requantization, raw);
        }
        end(
                workspace,
                in,
                rows,
                OnednnMatmul.Ending.CODE,
                requantization.scale(),
                requantization.offset(),
                raw,
                requantization.stride());
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
