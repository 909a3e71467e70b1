package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;

/**
 * Portable SIMD products: one float micro-kernel ({@link VectorGemm}) serves both element types.
 *
 * <p>Why integers run as floats: HotSpot has no pattern for an int8 dot product, while a float fused multiply-add is one
 * instruction everywhere. It is exact for our codes: |u8 * s8| is at most 255 * 128 = 32,640 and the sum of 512 such products
 * stays below 2^24, where float32 still holds every integer. The summed dimension is therefore cut into blocks of 512, each
 * block is summed in float32 and added to the int32 result.
 */
public final class VectorKernels implements Kernels {
    /** Longest sum of u8 x s8 products that float32 holds exactly. */
    static final int EXACT_BLOCK = 512;

    /** @throws UnsupportedOperationException if the machine's vectors cannot reproduce the reference's order of sums */
    public VectorKernels() {
        VectorPointwise.requireSupported();
    }

    @Override
    public String name() {
        return "vector";
    }

    @Override
    public String description() {
        return "vector (Vector API, " + VectorGemm.L * Float.SIZE + " bit)";
    }

    /** Of products, too, which have no other form here. */
    @Override
    public boolean needsWarmUp() {
        return true;
    }

    @Override
    public Workspace openWorkspace() {
        return new VectorWorkspace();
    }

    @Override
    public Linear floatLinear(MemorySegment weight, int outputs, int inputs, int typicalRows) {
        return packed(weight, outputs, inputs, false);
    }

    @Override
    public Linear integerLinear(MemorySegment codes, int outputs, int inputs, int typicalRows) {
        return packed(codes, outputs, inputs, true);
    }

    private static Linear packed(MemorySegment weight, int outputs, int inputs, boolean integer) {
        float[] values = new float[Math.multiplyExact(outputs, inputs)];
        load(weight, 0, values.length, integer, true, new byte[integer ? values.length : 0], values);
        float[] packed = new float[VectorGemm.packedLength(outputs, inputs)];
        VectorGemm.pack(packed, outputs, inputs, values, inputs, 1);
        return new PackedLinear(packed, outputs, inputs, integer);
    }

    /** Codes are kept as floats. */
    @Override
    public long packedBytes(int outputs, int inputs) {
        return (long) Float.BYTES * VectorGemm.packedLength(outputs, inputs);
    }

    @Override
    public Matmul floatMatmul(MatmulShape shape) {
        return new PackingMatmul(shape, false, false);
    }

    @Override
    public Matmul integerMatmul(MatmulShape shape, boolean leftSigned) {
        shape.requireOneBehindTheOther();
        return new PackingMatmul(shape, true, leftSigned);
    }

    @Override
    public void close() {}

    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record PackedLinear(float[] packed, int outputs, int inputs, boolean integer) implements Linear {
        @Override
        public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
            VectorWorkspace scratch = (VectorWorkspace) workspace;
            float[] left = scratch.left(Math.multiplyExact(rows, inputs));
            load(in, 0, rows * inputs, integer, false, scratch.bytes(rows * inputs), left);
            scratch.gemm().run(left, rows, packed, outputs, inputs, out, 0, integer);
        }

        @Override
        public long weightBytes() {
            return (long) Float.BYTES * packed.length;
        }

        @Override
        public void close() {}
    }

    private record PackingMatmul(MatmulShape shape, boolean integer, boolean leftSigned) implements Matmul {
        @Override
        public void run(Workspace workspace, MemorySegment left, MemorySegment right, int batch, MemorySegment out) {
            VectorWorkspace scratch = (VectorWorkspace) workspace;
            int m = shape.m();
            int n = shape.n();
            int k = shape.k();
            float[] leftValues = scratch.left(m * k);
            float[] rightValues = scratch.right(n * k);
            float[] packed = scratch.packed(VectorGemm.packedLength(n, k));
            byte[] bytes = scratch.bytes(Math.max(m, n) * k);
            for (int b = 0; b < batch; b++) {
                load(left, (long) b * m * k, m * k, integer, leftSigned, bytes, leftValues);
                load(right, (long) b * n * k, n * k, integer, true, bytes, rightValues);
                int columnStride = shape.rightTransposed() ? k : 1;
                VectorGemm.pack(packed, n, k, rightValues, columnStride, shape.rightTransposed() ? 1 : n);
                scratch.gemm().run(leftValues, m, packed, n, k, out, (long) b * m * n, integer);
            }
        }
    }

    /**
     * Copies floats, or widens codes to floats.
     *
     * @param bytes scratch for the codes: loops over arrays become SIMD, those over segments check each access
     */
    private static void load(
            MemorySegment from, long start, int count, boolean integer, boolean signed, byte[] bytes, float[] to) {
        if (!integer) {
            MemorySegment.copy(from, JAVA_FLOAT, 4 * start, to, 0, count);
            return;
        }
        MemorySegment.copy(from, JAVA_BYTE, start, bytes, 0, count);
        if (signed) {
            widenSigned(bytes, count, to);
        } else {
            widenUnsigned(bytes, count, to);
        }
    }

    private static void widenSigned(byte[] bytes, int count, float[] to) {
        for (int i = 0; i < count; i++) {
            to[i] = bytes[i];
        }
    }

    private static void widenUnsigned(byte[] bytes, int count, float[] to) {
        for (int i = 0; i < count; i++) {
            to[i] = bytes[i] & 0xff;
        }
    }

    static final class VectorWorkspace implements Workspace {
        private final Pointwise pointwise = new VectorPointwise();
        private final VectorGemm gemm = new VectorGemm();
        private final ScratchMemory scratch = new ScratchMemory();
        private float[] left = new float[0];
        private float[] right = new float[0];
        private float[] packed = new float[0];
        private byte[] bytes = new byte[0];

        @Override
        public Pointwise pointwise() {
            return pointwise;
        }

        @Override
        public MemorySegment scratch(int slot, long bytes) {
            return scratch.get(slot, bytes);
        }

        VectorGemm gemm() {
            return gemm;
        }

        float[] left(int length) {
            if (left.length < length) {
                left = new float[length];
            }
            return left;
        }

        float[] right(int length) {
            if (right.length < length) {
                right = new float[length];
            }
            return right;
        }

        byte[] bytes(int length) {
            if (bytes.length < length) {
                bytes = new byte[length];
            }
            return bytes;
        }

        float[] packed(int length) {
            if (packed.length < length) {
                packed = new float[length];
            }
            return packed;
        }

        @Override
        public void close() {
            scratch.close();
        }
    }
}
