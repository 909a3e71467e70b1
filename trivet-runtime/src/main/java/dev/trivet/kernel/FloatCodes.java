package dev.trivet.kernel;

import static dev.trivet.kernel.NativeMemory.ALL;
import static dev.trivet.kernel.NativeMemory.ORDER;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Exact products of bytes by float32 products of any provider, for CPUs whose byte products saturate. A float holds every whole
 * number up to 2^24, and a product of two bytes is at most {@code 255 * 128}, so sums over {@value #BLOCK} of them are exact in
 * whatever order they are added; longer sums are cut into blocks, which are added as integers. Weights take four bytes each.
 *
 * <p>With constant weights {@link WindowedLinear} is faster where its product is at hand.
 */
final class FloatCodes {
    static final int BLOCK = VectorKernels.EXACT_BLOCK;

    /** Bytes of sums that items of a batch may have together to be multiplied at once: what is copied for them then stays in the second-level cache. */
    private static final int IN_CACHE = 1 << 18;

    // DigitProducts uses the slots below.
    private static final int LEFT = 5;
    private static final int RIGHT = 6;
    private static final int SUMS = 7;

    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final int L = I.length();
    /** As many bytes as a register holds ints; with fewer than 8 there is no such species, and bytes go one by one. */
    private static final VectorSpecies<Byte> B =
            L < 8 ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(L * 8));

    private FloatCodes() {}

    /** {@link Kernels#integerLinear} by the float products of {@code kernels}. */
    static Linear linear(Kernels kernels, MemorySegment codes, int outputs, int inputs, int typicalRows) {
        Linear[] blocks = new Linear[Math.ceilDiv(inputs, BLOCK)];
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment bytes = NativeMemory.offHeap(codes, arena);
            MemorySegment weight = arena.allocate(4L * outputs * Math.min(BLOCK, inputs), 64);
            for (int b = 0; b < blocks.length; b++) {
                int from = b * BLOCK;
                int count = Math.min(BLOCK, inputs - from);
                widen(bytes, from, outputs, inputs, count, true, weight);
                blocks[b] = kernels.floatLinear(weight, outputs, count, typicalRows);
            }
        }
        return new BlockedLinear(blocks, outputs, inputs);
    }

    /** {@link Kernels#integerMatmul} by the float products of {@code kernels}. */
    static Matmul matmul(Kernels kernels, MatmulShape shape, boolean leftSigned) {
        shape.requireOneBehindTheOther();
        Matmul[] blocks = new Matmul[Math.ceilDiv(shape.k(), BLOCK)];
        for (int b = 0; b < blocks.length; b++) {
            int count = Math.min(BLOCK, shape.k() - b * BLOCK);
            blocks[b] = kernels.floatMatmul(new MatmulShape(shape.m(), shape.n(), count, shape.rightTransposed()));
        }
        return new BlockedMatmul(blocks, shape, leftSigned);
    }

    @SuppressWarnings("ArrayRecordComponent") // parts, never compared
    private record BlockedLinear(Linear[] blocks, int outputs, int inputs) implements Linear {
        @Override
        public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
            long sums = (long) rows * outputs;
            MemorySegment left = workspace.scratch(LEFT, 4L * rows * Math.min(BLOCK, inputs));
            MemorySegment partial = workspace.scratch(SUMS, 4 * sums);
            for (int b = 0; b < blocks.length; b++) {
                int from = b * BLOCK;
                widen(in, from, rows, inputs, Math.min(BLOCK, inputs - from), false, left);
                blocks[b].run(workspace, left, rows, partial);
                take(partial, sums, b > 0, out, 0);
            }
        }

        @Override
        public long weightBytes() {
            return Arrays.stream(blocks).mapToLong(Linear::weightBytes).sum();
        }

        @Override
        public void close() {
            Arrays.stream(blocks).forEach(Linear::close);
        }
    }

    @SuppressWarnings("ArrayRecordComponent") // parts, never compared
    private record BlockedMatmul(Matmul[] blocks, MatmulShape shape, boolean leftSigned) implements Matmul {
        @Override
        public void run(Workspace workspace, MemorySegment left, MemorySegment right, int batch, MemorySegment out) {
            long sums = (long) shape.m() * shape.n();
            int together = Math.clamp(IN_CACHE / (4 * sums + 1), 1, Math.max(1, batch));
            for (int item = 0; item < batch; item += together) {
                run(workspace, left, right, item, Math.min(together, batch - item), out);
            }
        }

        /** Some items of the batch. */
        private void run(
                Workspace workspace, MemorySegment left, MemorySegment right, int first, int items, MemorySegment out) {
            int k = shape.k();
            int most = Math.min(BLOCK, k);
            long leftRows = (long) items * shape.m();
            long rightRows = (long) items * shape.n();
            long sums = leftRows * shape.n();
            MemorySegment leftValues = workspace.scratch(LEFT, 4 * leftRows * most);
            MemorySegment rightValues = workspace.scratch(RIGHT, 4 * rightRows * most);
            MemorySegment partial = workspace.scratch(SUMS, 4 * sums);
            long firstLeft = (long) first * shape.m() * k;
            long firstRight = (long) first * shape.n() * k;
            for (int b = 0; b < blocks.length; b++) {
                int from = b * BLOCK;
                int count = Math.min(BLOCK, k - from);
                widen(left, firstLeft + from, leftRows, k, count, leftSigned, leftValues);
                if (shape.rightTransposed()) {
                    widen(right, firstRight + from, rightRows, k, count, true, rightValues);
                } else {
                    int columns = shape.n();
                    long start = firstRight + (long) from * columns;
                    widen(right, start, items, k * columns, count * columns, true, rightValues);
                }
                blocks[b].run(workspace, leftValues, rightValues, items, partial);
                take(partial, sums, b > 0, out, (long) first * shape.m() * shape.n());
            }
        }
    }

    /**
     * {@code out[r, i] = codes[start + r * stride + i]} as floats.
     *
     * @param count codes of a row
     * @param out float32 {@code [rows, count]}
     */
    private static void widen(
            MemorySegment codes, long start, long rows, int stride, int count, boolean signed, MemorySegment out) {
        if (rows == 0) {
            return;
        }
        long from = NativeMemory.address(codes, start, (rows - 1) * stride + count);
        long to = NativeMemory.target(out, 4 * rows * count);
        boolean joined = stride == count;
        for (long r = 0; r < (joined ? 1 : rows); r++) {
            long values = joined ? rows * count : count;
            if (signed) {
                widenSigned(from + r * stride, values, to + 4 * r * count);
            } else {
                widenUnsigned(from + r * stride, values, to + 4 * r * count);
            }
        }
    }

    private static void widenSigned(long codes, long count, long out) {
        long whole = L < 8 ? 0 : count - count % L;
        for (long i = 0; i < whole; i += L) {
            ByteVector bytes = ByteVector.fromMemorySegment(B, ALL, codes + i, ORDER);
            toFloat(bytes.convertShape(VectorOperators.B2I, I, 0).reinterpretAsInts(), out + 4 * i);
        }
        for (long i = whole; i < count; i++) {
            ALL.set(JAVA_FLOAT, out + 4 * i, ALL.get(JAVA_BYTE, codes + i));
        }
    }

    private static void widenUnsigned(long codes, long count, long out) {
        long whole = L < 8 ? 0 : count - count % L;
        for (long i = 0; i < whole; i += L) {
            ByteVector bytes = ByteVector.fromMemorySegment(B, ALL, codes + i, ORDER);
            toFloat(bytes.convertShape(VectorOperators.ZERO_EXTEND_B2I, I, 0).reinterpretAsInts(), out + 4 * i);
        }
        for (long i = whole; i < count; i++) {
            ALL.set(JAVA_FLOAT, out + 4 * i, ALL.get(JAVA_BYTE, codes + i) & 0xff);
        }
    }

    private static void toFloat(IntVector values, long out) {
        ((FloatVector) values.convert(VectorOperators.I2F, 0)).intoMemorySegment(ALL, out, ORDER);
    }

    /**
     * {@code out = (int) sums}, or {@code out += (int) sums}.
     *
     * @param first the first element of {@code out} that is meant
     */
    private static void take(MemorySegment sums, long count, boolean add, MemorySegment out, long first) {
        long from = NativeMemory.address(sums, 4 * count);
        long to = NativeMemory.target(out, 4 * first, 4 * count);
        long whole = count - count % L;
        for (long i = 0; i < whole; i += L) {
            FloatVector values = FloatVector.fromMemorySegment(F, ALL, from + 4 * i, ORDER);
            IntVector integers = (IntVector) values.convert(VectorOperators.F2I, 0);
            if (add) {
                integers = integers.add(IntVector.fromMemorySegment(I, ALL, to + 4 * i, ORDER));
            }
            integers.intoMemorySegment(ALL, to + 4 * i, ORDER);
        }
        for (long i = whole; i < count; i++) {
            int value = (int) ALL.get(JAVA_FLOAT, from + 4 * i);
            ALL.set(JAVA_INT, to + 4 * i, add ? ALL.get(JAVA_INT, to + 4 * i) + value : value);
        }
    }
}
