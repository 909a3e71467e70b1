package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Products through oneDNN, which picks AMX, AVX-512 VNNI, AVX2 VNNI or plain SIMD itself. Constant weights are packed once
 * into the layout its implementation prefers. What happens between products is {@link VectorPointwise}.
 *
 * <p>Before VNNI, x86 multiplies u8 by s8 into saturating 16-bit pairs, so sums can be wrong without a sign of it. The
 * constructor multiplies the worst case; where the sum is not exact, products with weights are {@link WindowedLinear} and those of two activations
 * {@link FloatCodes}. Nothing is assumed from CPU names.
 */
public final class OnednnKernels implements Kernels {
    private final OnednnLibrary library;
    private final ConcurrentHashMap<MatmulKey, OnednnMatmul> matmuls = new ConcurrentHashMap<>();
    private final ConcurrentHashMap<LinearKey, OnednnMatmul> linears = new ConcurrentHashMap<>();

    private final ConcurrentHashMap<Slice, Boolean> slices = new ConcurrentHashMap<>();

    private record Slice(LinearKey whole, int outputs) {}

    private record MatmulKey(int batch, MatmulShape shape, int leftType, int rightType, int outType) {}

    /**
     * The layout of packed weights depends on the typical number of rows, so that is part of what identifies a matmul.
     *
     * @param inStride elements from one row of the left operand to the next, {@code outStride} of the result
     */
    record LinearKey(
            int typicalRows,
            int rows,
            int outputs,
            int inputs,
            int inType,
            int weightType,
            int outType,
            OnednnMatmul.Ending ending,
            int inStride,
            int outStride) {
        /** What decides on the layout of the weights: sums of rows that follow each other. */
        static LinearKey typical(int rows, int outputs, int inputs, int inType, int weightType, int outType) {
            return new LinearKey(
                    rows, rows, outputs, inputs, inType, weightType, outType, OnednnMatmul.Ending.SUM, inputs, outputs);
        }

        LinearKey withRows(int other) {
            return new LinearKey(
                    typicalRows, other, outputs, inputs, inType, weightType, outType, ending, inStride, outStride);
        }

        /** Of results that follow each other. */
        LinearKey withOutputs(int other) {
            return new LinearKey(
                    typicalRows, rows, other, inputs, inType, weightType, outType, ending, inStride, other);
        }

        LinearKey with(OnednnMatmul.Ending other) {
            return new LinearKey(
                    typicalRows, rows, outputs, inputs, inType, weightType, other.type, other, inStride, outStride);
        }

        LinearKey withStrides(int in, int out) {
            return new LinearKey(typicalRows, rows, outputs, inputs, inType, weightType, outType, ending, in, out);
        }

        private boolean isTypical() {
            return equals(typical());
        }

        private LinearKey typical() {
            OnednnMatmul.Ending sums = OnednnMatmul.Ending.SUM;
            return typical(typicalRows, outputs, inputs, inType, weightType, ending == sums ? outType : sums.type);
        }
    }

    /** Bits of an instruction set that has tiles of bytes. */
    private static final int AMX = 0xfef;

    /** A prime, so that blocks of a layout that change places do not hold the same; copied because the first image waits for it. */
    private static final int PATTERN = 8191;

    /** Of a row of a tile. */
    private static final int TILE_BYTES = 64;
    /** Bytes of a cache line. */
    private static final int LINE = 64;

    /** Whether byte products do not saturate. */
    private final boolean exactBytes;
    /** Whether they do so only in pairs of neighbouring inputs that leave 16 bits, which {@link WindowedLinear} counts on. */
    private final boolean exactPairs;
    /** Whether products end as the passes over their sums would, bit for bit. */
    final boolean exactEndings;
    /** Whether byte products run on tiles of rows. */
    final boolean hasTiles;
    /** Whether a core's second-level cache has 2 MB or more. */
    private final boolean largeCache;
    /** Whether integer weights of fewer than 8 bits stay packed. */
    private final boolean packing;

    /**
     * @throws UnsatisfiedLinkError if the library does not load here
     * @throws UnsupportedOperationException if the machine's vector registers have an unknown width
     */
    public OnednnKernels() {
        VectorPointwise.requireSupported();
        library = OnednnLibrary.load();
        hasTiles = (library.isa() & AMX) == AMX;
        largeCache = SecondLevelCache.bytes() >= 2 << 20;
        packing = false;
        exactBytes = bytesAreExact();
        exactPairs = !exactBytes && pairsAreExact();
        exactEndings = (exactBytes || exactPairs) && endingsAreExact();
    }

    private OnednnKernels(OnednnKernels other) {
        library = other.library;
        exactBytes = other.exactBytes;
        exactPairs = other.exactPairs;
        exactEndings = other.exactEndings;
        hasTiles = other.hasTiles;
        largeCache = other.largeCache;
        packing = true;
    }

    /** Weights that are multiplied as floats, see {@link FloatCodes}, are not packed. */
    @Override
    public Kernels packingWeights() {
        return (exactBytes || exactPairs) && !packing ? new OnednnKernels(this) : this;
    }

    /**
     * Tiles are so fast that they wait for the weights, which more rows share: there 4 images of a DeiT-Small and 2 of a DeiT-Base are best. So they are with AVX-512
     * VNNI where a second-level cache of 2 MB holds more of what stands between products.
     */
    @Override
    public long sumsAtOnce(boolean integer) {
        return integer && (hasTiles || (exactBytes && largeCache)) ? 5 << 20 : Kernels.super.sumsAtOnce(integer);
    }

    /** Whole tiles of scores: ragged ones take half as long again (197 tokens). */
    @Override
    public int keyPlaces(int tokens) {
        return hasTiles ? Math.ceilDiv(tokens, Linear.ROW_TILE) * Linear.ROW_TILE : tokens;
    }

    /** From 64 thousand scores on, because operands side by side are those of one image: with fewer, calls for each image would cost more than is won. */
    @Override
    public boolean multipliesSideBySide(long scores) {
        return exactBytes && scores >= 1 << 16;
    }

    private boolean bytesAreExact() {
        int k = 256;
        try (Arena arena = Arena.ofConfined();
                Workspace workspace = openWorkspace()) {
            MemorySegment left = arena.allocate(4L * k, 64).fill((byte) 255);
            MemorySegment right = arena.allocate(16L * k, 64);
            for (int n = 0; n < 16; n++) {
                right.asSlice((long) n * k, k).fill(n % 2 == 0 ? (byte) 127 : (byte) -128);
            }
            MemorySegment out = arena.allocate(4L * 16 * Integer.BYTES, 64);
            try (Linear linear = byteLinear(right, 16, k, 4)) {
                linear.run(workspace, left, 4, out);
            }
            if (!holds(out, 255 * 127 * k, 255 * -128 * k)) {
                return false;
            }
            left.fill((byte) -128);
            byteMatmul(new MatmulShape(4, 16, k, true), true).run(workspace, left, right, 1, out);
            return holds(out, -128 * 127 * k, 128 * 128 * k);
        }
    }

    /** Weights whose pairs (first and second, third and fourth) just stay within 16 bits, but would not if inputs were paired otherwise. */
    private boolean pairsAreExact() {
        int[][] narrow = {{127, 1, 1, 127}, {1, 127, 127, 1}, {-128, 0, 0, -128}, {0, -128, -128, 0}, {64, 64, 64, 64}};
        int[][] wide = {{-128, -128, -128, -128}, {127, 127, 127, 127}, {127, -128, -128, 127}};
        for (int inputs : new int[] {256, 255, 64, 3}) {
            for (int rows : new int[] {1, 4, 21}) {
                if (!isExact(rows, inputs, 255, narrow) || !isExact(rows, inputs, 128, wide)) {
                    return false;
                }
            }
        }
        return true;
    }

    /** Whether a product of equal codes has the right sums; each output's weights repeat four numbers. */
    private boolean isExact(int rows, int inputs, int code, int[][] weights) {
        int outputs = 4 * weights.length;
        try (Arena arena = Arena.ofConfined();
                Workspace workspace = openWorkspace()) {
            MemorySegment left = arena.allocate((long) rows * inputs, 64).fill((byte) code);
            MemorySegment right = arena.allocate((long) outputs * inputs, 64);
            int[] sums = new int[outputs];
            for (int n = 0; n < outputs; n++) {
                for (int k = 0; k < inputs; k++) {
                    int weight = weights[n % weights.length][k % 4];
                    right.set(JAVA_BYTE, (long) n * inputs + k, (byte) weight);
                    sums[n] += code * weight;
                }
            }
            MemorySegment out = arena.allocate(4L * rows * outputs, 64);
            try (Linear linear = byteLinear(right, outputs, inputs, rows)) {
                linear.run(workspace, left, rows, out);
            }
            for (int i = 0; i < rows * outputs; i++) {
                if (out.getAtIndex(JAVA_INT, i) != sums[i % outputs]) {
                    return false;
                }
            }
            return true;
        }
    }

    /** Whether scale and offset are applied by a multiplication and an addition; a fused one differs in some of so many results. */
    private boolean endingsAreExact() {
        int rows = 16;
        int n = 64;
        int k = 64;
        java.util.SplittableRandom random = new java.util.SplittableRandom(1);
        try (Arena arena = Arena.ofConfined();
                Workspace workspace = openWorkspace()) {
            MemorySegment in = arena.allocate((long) rows * Math.max(n, k), 64);
            MemorySegment weight = arena.allocate((long) n * k, 64);
            for (int i = 0; i < n * k; i++) {
                // Pairs that just stay within 16 bits, and would not if inputs were paired otherwise.
                boolean large = i % 4 == 0 || i % 4 == 3;
                weight.set(JAVA_BYTE, i, (byte) (large ? random.nextInt(255) - 127 : random.nextInt(3) - 1));
                in.set(JAVA_BYTE, i % (rows * k), (byte) random.nextInt(256));
            }
            float[] scale = new float[n];
            float[] bias = new float[n];
            for (int i = 0; i < n; i++) {
                scale[i] = 1e-4f + 1e-4f * (float) random.nextDouble();
                bias[i] = (float) random.nextDouble() - 0.5f;
            }
            Product product = Product.ofIntegers(0, new int[n], scale, bias, arena);
            long bytes = 4L * rows * n;
            MemorySegment sums = arena.allocate(bytes, 64);
            MemorySegment expected = arena.allocate(bytes, 64);
            MemorySegment actual = arena.allocate(bytes, 64);
            try (OnednnLinear linear = byteLinear(weight, n, k, rows)) {
                linear.run(workspace, in, rows, sums);
                Pointwise scalar = new ReferencePointwise();
                scalar.decode(sums, rows, product, expected);
                linear.end(
                        workspace, in, rows, OnednnMatmul.Ending.VALUE, product.scale(), product.offset(), actual, n);
                boolean equal = actual.mismatch(expected) < 0;
                scalar.addTo(sums, rows, product, expected);
                linear.end(
                        workspace, in, rows, OnednnMatmul.Ending.ADDED, product.scale(), product.offset(), actual, n);
                equal &= actual.mismatch(expected) < 0;
                float[] steps = new float[n];
                java.util.Arrays.fill(steps, 2e-3f);
                Product wide = Product.ofIntegers(0, new int[n], steps, bias, arena);
                Requantization codes = new Requantization(n, wide.scale(), wide.offset());
                scalar.requantize(sums, rows, codes, expected);
                linear.end(workspace, in, rows, OnednnMatmul.Ending.CODE, codes.scale(), codes.offset(), actual, n);
                long count = (long) rows * n;
                return equal && actual.asSlice(0, count).mismatch(expected.asSlice(0, count)) < 0;
            }
        }
    }

    private static boolean holds(MemorySegment out, int even, int odd) {
        for (int i = 0; i < 4 * 16; i++) {
            if (out.getAtIndex(JAVA_INT, i) != (i % 2 == 0 ? even : odd)) {
                return false;
            }
        }
        return true;
    }

    @Override
    public String name() {
        return "onednn";
    }

    @Override
    public String description() {
        String way = exactPairs ? "windows of bytes for 8-bit weights" : "bytes as float32";
        String note = exactBytes ? "" : ", " + way + ": its int8 sums saturate";
        return "onednn (" + isaName() + note + (packing ? ", weights packed" : "") + ")";
    }

    private String isaName() {
        int isa = library.isa();
        if ((isa & AMX) == AMX) {
            return "AMX";
        }
        if ((isa & 103) == 103) {
            return "AVX-512 VNNI";
        }
        if ((isa & 39) == 39) {
            return "AVX-512";
        }
        if ((isa & 15) == 15) {
            return "AVX2 VNNI";
        }
        return (isa & 7) == 7 ? "AVX2" : "ISA " + isa;
    }

    @Override
    public Workspace openWorkspace() {
        return new OnednnWorkspace(library, new VectorPointwise());
    }

    @Override
    public Workspace openColdWorkspace() {
        return new OnednnWorkspace(library, new ReferencePointwise());
    }

    @Override
    public boolean needsWarmUp() {
        return true;
    }

    @Override
    public Linear floatLinear(MemorySegment weight, int outputs, int inputs, int typicalRows) {
        int f32 = OnednnLibrary.F32;
        return new OnednnLinear(
                this, library, LinearKey.typical(typicalRows, outputs, inputs, f32, f32, f32), weight, false);
    }

    @Override
    public Linear integerLinear(MemorySegment codes, int outputs, int inputs, int typicalRows) {
        if (exactBytes) {
            return byteLinear(codes, outputs, inputs, typicalRows);
        }
        return exactPairs
                ? WindowedLinear.of(byteLinear(codes, outputs, inputs, typicalRows), codes, outputs, inputs)
                : FloatCodes.linear(this, codes, outputs, inputs, typicalRows);
    }

    @Override
    public long packedBytes(int outputs, int inputs) {
        return (exactBytes ? 1L : exactPairs ? 2 : Float.BYTES) * outputs * inputs;
    }

    private OnednnLinear byteLinear(MemorySegment codes, int outputs, int inputs, int typicalRows) {
        return new OnednnLinear(
                this,
                library,
                LinearKey.typical(typicalRows, outputs, inputs, OnednnLibrary.U8, OnednnLibrary.S8, OnednnLibrary.S32),
                codes,
                packing);
    }

    OnednnMatmul matmul(LinearKey key) {
        OnednnMatmul known = linears.get(key);
        if (known != null) {
            return known;
        }
        if (key.isTypical()) {
            return linears.computeIfAbsent(
                    key, k -> create(k, library.describeAny(k.weightType(), k.inputs(), k.outputs())));
        }
        OnednnMatmul typical = matmul(key.typical());
        return linears.computeIfAbsent(key, k -> create(k, library.cloneDescriptor(typical.right)));
    }

    /**
     * Rows of a tile that are an even number of cache lines apart share a few sets of the first-level cache, and products wait for them; an odd number of
     * lines spreads them over all ({@code docs/decisions.md}, "Rows an odd number of lines apart").
     */
    @Override
    public int rowBytes(int bytes) {
        return hasTiles && exactEndings && bytes % (2 * LINE) == 0 ? bytes + LINE : bytes;
    }

    /** Bytes of values between a product and GELU that stay in the second-level cache, with all else. */
    long valuesAtOnce() {
        return 1 << 20;
    }

    /** Whether the packed weights of some outputs are a part of those of all; found with other weights, once. */
    boolean slicesWeights(LinearKey whole, int outputs) {
        return slices.computeIfAbsent(new Slice(whole.typical(), outputs), this::isPart);
    }

    private boolean isPart(Slice slice) {
        LinearKey key = slice.whole();
        long part = (long) slice.outputs() * key.inputs();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment weight = arena.allocate((long) key.outputs() * key.inputs(), 64);
            byte[] pattern = new byte[PATTERN];
            new SplittableRandom(1).nextBytes(pattern);
            for (long i = 0; i < weight.byteSize(); i += PATTERN) {
                MemorySegment.copy(pattern, 0, weight, JAVA_BYTE, i, (int) Math.min(PATTERN, weight.byteSize() - i));
            }
            MemorySegment whole = packed(key, weight, arena);
            for (long first = 0; first < weight.byteSize(); first += part) {
                MemorySegment some = packed(key.withOutputs(slice.outputs()), weight.asSlice(first, part), arena);
                if (whole.byteSize() != weight.byteSize()
                        || whole.asSlice(first, part).mismatch(some) >= 0) {
                    return false;
                }
            }
            return true;
        }
    }

    private MemorySegment packed(LinearKey key, MemorySegment weight, Arena arena) {
        long plain = library.describe(
                key.weightType(), new long[] {key.inputs(), key.outputs()}, new long[] {1, key.inputs()});
        try {
            return matmul(key).pack(weight, plain, arena);
        } finally {
            library.freeDescriptor(plain);
        }
    }

    private OnednnMatmul create(LinearKey key, long weights) {
        long in = library.describe(key.inType(), new long[] {key.rows(), key.inputs()}, new long[] {key.inStride(), 1});
        long out = library.describe(
                key.outType(), new long[] {key.rows(), key.outputs()}, new long[] {key.outStride(), 1});
        return new OnednnMatmul(library, key.rows(), key.outputs(), key.outStride(), in, weights, out, key.ending());
    }

    @Override
    public Matmul floatMatmul(MatmulShape shape) {
        return matmul(shape, OnednnLibrary.F32, OnednnLibrary.F32, OnednnLibrary.F32);
    }

    @Override
    public Matmul integerMatmul(MatmulShape shape, boolean leftSigned) {
        return exactBytes ? byteMatmul(shape, leftSigned) : FloatCodes.matmul(this, shape, leftSigned);
    }

    private Matmul byteMatmul(MatmulShape shape, boolean leftSigned) {
        int left = leftSigned ? OnednnLibrary.S8 : OnednnLibrary.U8;
        return matmul(shape, left, OnednnLibrary.S8, OnednnLibrary.S32);
    }

    private Matmul matmul(MatmulShape shape, int leftType, int rightType, int outType) {
        return new BatchedMatmul(this, shape, leftType, rightType, outType);
    }

    /** A product of two activations; the compiled matmuls of its batch sizes are at hand. */
    private static final class BatchedMatmul implements Matmul {
        private final OnednnKernels kernels;
        private final MatmulShape shape;
        private final int leftType;
        private final int rightType;
        private final int outType;
        private final CompiledSizes compiled = new CompiledSizes();

        BatchedMatmul(OnednnKernels kernels, MatmulShape shape, int leftType, int rightType, int outType) {
            this.kernels = kernels;
            this.shape = shape;
            this.leftType = leftType;
            this.rightType = rightType;
            this.outType = outType;
        }

        @Override
        public void run(Workspace workspace, MemorySegment left, MemorySegment right, int batch, MemorySegment out) {
            OnednnMatmul matmul = compiled.find(batch);
            if (matmul == null) {
                matmul = kernels.matmul(new MatmulKey(batch, shape, leftType, rightType, outType));
                compiled.add(matmul);
            }
            ((OnednnWorkspace) workspace).run(matmul, left.address(), right.address(), out.address());
        }
    }

    private OnednnMatmul matmul(MatmulKey key) {
        OnednnMatmul known = matmuls.get(key);
        return known != null ? known : matmuls.computeIfAbsent(key, this::createMatmul);
    }

    private OnednnMatmul createMatmul(MatmulKey key) {
        MatmulShape s = key.shape();
        long left = library.describe(
                key.leftType(), new long[] {key.batch(), s.m(), s.k()}, new long[] {s.leftRow(1, 0), s.leftRow(0, 1), 1
                });
        long[] rightStrides = s.rightTransposed()
                ? new long[] {s.rightRow(1, 0), 1, s.rightRow(0, 1)}
                : new long[] {s.rightRow(1, 0), s.rightRow(0, 1), 1};
        long right = library.describe(key.rightType(), new long[] {key.batch(), s.k(), s.n()}, rightStrides);
        long out = library.describe(
                key.outType(), new long[] {key.batch(), s.m(), s.n()}, new long[] {(long) s.m() * s.n(), s.n(), 1});
        return new OnednnMatmul(library, key.batch(), left, right, out, readsBehind(key));
    }

    /**
     * Whether oneDNN reads scratch memory that it has not written: with tiles it copies a right operand into whole ones, multiplies them whole, and leaves
     * what stands behind the last rows as it was (3.11; found are products that sum over more than a tile, {@code docs/decisions.md}).
     */
    private boolean readsBehind(MatmulKey key) {
        return hasTiles && key.rightType() == OnednnLibrary.S8 && key.shape().k() % TILE_BYTES != 0;
    }

    /** Frees the compiled matmuls; no linear or workspace may be used afterwards. */
    @Override
    public void close() {
        matmuls.values().forEach(OnednnMatmul::close);
        linears.values().forEach(OnednnMatmul::close);
        matmuls.clear();
        linears.clear();
    }

    /** For tests and reports: the implementation that a constant product of this shape runs on. */
    String integerLinearImplementation(int rows, int outputs, int inputs) {
        try (Arena arena = Arena.ofConfined();
                OnednnLinear linear =
                        byteLinear(arena.allocate(JAVA_BYTE, (long) outputs * inputs), outputs, inputs, rows)) {
            return linear.implementation(rows);
        }
    }
}
