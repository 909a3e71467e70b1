package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;

/**
 * A product with constant weights, packed once: {@code out[m, n] = sum_k in[m, k] * weight[n, k]}. Float: float32 in and
 * out. Integer: unsigned bytes in, signed bytes as weights, exact int32 sums out. Safe to run from several threads, each
 * with its own workspace.
 *
 * <p>What follows a product is a pass of {@link Pointwise} over its raw sums, or part of the product where a provider can do that with the same bits:
 * {@link #addTo}, {@link #gelu} and {@link #requantize} leave the choice to it.
 *
 * <p>Whole tiles of rows are fastest ({@link #ROW_TILE}). Where {@code in} and the segment that is written both reach further than the given rows, a
 * provider may compute the rest of the last tile from whatever stands there: nothing that is needed may follow the given rows in a segment that
 * is written.
 */
public interface Linear extends AutoCloseable {
    /** Rows of a tile of AMX; buffers with room for so many rows less one behind the last are used best. */
    int ROW_TILE = 16;

    /** Elements between rows of values that {@link #gelu} puts into {@code raw}, if it has room for them: rows stand as far apart as is best then. */
    int STRIDE_ROOM = 16;

    /**
     * @param in {@code [rows, inputs]}
     * @param out {@code [rows, outputs]}, overwritten
     */
    void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out);

    /**
     * How many elements apart {@link #addTo}, {@link #gelu} and {@link #requantize} read the rows of {@code in}; 0 where rows follow each other, as
     * {@link #run} reads them.
     */
    default int inputStride() {
        return 0;
    }

    /**
     * {@code residual += value}.
     *
     * @param in {@code [rows, inputs]}, {@link #inputStride} apart
     * @param raw room for {@code [rows, outputs]} sums
     * @param residual float32 {@code [rows, stride]}, of which {@code outputs} are added to
     * @param stride elements from one row of {@code residual} to the next
     */
    default void addTo(
            Workspace workspace,
            MemorySegment in,
            int rows,
            Product product,
            MemorySegment raw,
            MemorySegment residual,
            int stride) {
        run(workspace, in, rows, raw);
        workspace.pointwise().addTo(raw, rows, product, residual, stride);
    }

    /**
     * {@code out = GELU(value)}.
     *
     * @param in {@code [rows, inputs]}, {@link #inputStride} apart
     * @param raw room for {@code [rows, outputs]} sums, best with {@link #STRIDE_ROOM} more a row
     * @param out {@code [rows, outputs]} in the operand's form and as far apart as it says; may be {@code in}, which costs a copy where outputs come in turns
     */
    default void gelu(
            Workspace workspace,
            MemorySegment in,
            int rows,
            Product product,
            Operand operand,
            MemorySegment raw,
            MemorySegment out) {
        run(workspace, in, rows, raw);
        workspace.pointwise().gelu(raw, rows, product, operand, out);
    }

    /**
     * The product as signed bytes {@code [rows, outputs]}, {@link Requantization#stride} apart.
     *
     * @param in {@code [rows, inputs]}, {@link #inputStride} apart, with room for these bytes; its contents are lost
     * @param raw room for {@code [rows, outputs]} sums
     * @return where the codes are: {@code in} or {@code raw}
     */
    default MemorySegment requantize(
            Workspace workspace, MemorySegment in, int rows, Requantization requantization, MemorySegment raw) {
        run(workspace, in, rows, raw);
        workspace.pointwise().requantize(raw, rows, requantization, in);
        return in;
    }

    /** Bytes of memory that the weights take from run to run. */
    long weightBytes();

    @Override
    void close();
}
