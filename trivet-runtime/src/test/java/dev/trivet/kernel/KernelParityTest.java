package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Every provider against the scalar reference: integers bit for bit, floats within the budget, at ragged sizes. */
class KernelParityTest {
    private static final ReferenceKernels REFERENCE = new ReferenceKernels();

    record Size(int rows, int outputs, int inputs) {}

    static Stream<Size> sizes() {
        return Stream.of(
                new Size(1, 1, 1),
                new Size(2, 3, 5),
                new Size(4, 32, 16),
                new Size(5, 33, 31),
                new Size(17, 64, 48),
                new Size(7, 10, 511),
                new Size(3, 40, 513),
                new Size(9, 31, 1537),
                new Size(197, 192, 192));
    }

    /** The providers to compare; oneDNN is left out, visibly, where it does not load. */
    static Stream<Kernels> providers() {
        Stream.Builder<Kernels> found = Stream.builder();
        found.add(new VectorKernels());
        try {
            found.add(new OnednnKernels());
        } catch (UnsatisfiedLinkError | UnsupportedOperationException e) {
            System.err.println("oneDNN is not tested on this machine: " + e.getMessage());
        }
        return found.build();
    }

    static MemorySegment randomBytes(Arena arena, SplittableRandom random, long count) {
        MemorySegment s = arena.allocate(count, 64);
        for (long i = 0; i < count; i++) {
            // Extreme codes often, because they are what overflows.
            int choice = random.nextInt(8);
            int code = choice == 0 ? 255 : choice == 1 ? 127 : choice == 2 ? -128 : random.nextInt(256);
            s.set(JAVA_BYTE, i, (byte) code);
        }
        return s;
    }

    static MemorySegment randomFloats(Arena arena, SplittableRandom random, long count, double spread) {
        MemorySegment s = arena.allocate(4 * count, 64);
        for (long i = 0; i < count; i++) {
            s.setAtIndex(JAVA_FLOAT, i, (float) ((random.nextDouble() - 0.5) * spread));
        }
        return s;
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void integerLinearIsExact(Size size) {
        for (Kernels kernels : providers().toList()) {
            try (Arena arena = Arena.ofConfined();
                    Workspace reference = REFERENCE.openWorkspace();
                    Workspace workspace = kernels.openWorkspace()) {
                SplittableRandom random = new SplittableRandom(7);
                MemorySegment in = randomBytes(arena, random, (long) size.rows * size.inputs);
                MemorySegment weight = randomBytes(arena, random, (long) size.outputs * size.inputs);
                MemorySegment expected = arena.allocate(4L * size.rows * size.outputs, 64);
                MemorySegment actual = arena.allocate(4L * size.rows * size.outputs, 64);
                try (Linear a = REFERENCE.integerLinear(weight, size.outputs, size.inputs, size.rows);
                        // Packed for another number of rows: any number must work.
                        Linear b = kernels.integerLinear(weight, size.outputs, size.inputs, size.rows + 3)) {
                    a.run(reference, in, size.rows, expected);
                    b.run(workspace, in, size.rows, actual);
                }
                assertThat(actual.toArray(JAVA_INT)).as(kernels.name()).isEqualTo(expected.toArray(JAVA_INT));
            }
        }
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void integerMatmulIsExact(Size size) {
        int batch = 3;
        for (Kernels kernels : providers().toList()) {
            for (boolean transposed : new boolean[] {true, false}) {
                for (boolean signed : new boolean[] {true, false}) {
                    try (Arena arena = Arena.ofConfined();
                            Workspace reference = REFERENCE.openWorkspace();
                            Workspace workspace = kernels.openWorkspace()) {
                        SplittableRandom random = new SplittableRandom(11);
                        MemorySegment left = randomBytes(arena, random, (long) batch * size.rows * size.inputs);
                        MemorySegment right = randomBytes(arena, random, (long) batch * size.outputs * size.inputs);
                        MemorySegment expected = arena.allocate(4L * batch * size.rows * size.outputs, 64);
                        MemorySegment actual = arena.allocate(4L * batch * size.rows * size.outputs, 64);
                        MatmulShape shape = new MatmulShape(size.rows, size.outputs, size.inputs, transposed);
                        REFERENCE.integerMatmul(shape, signed).run(reference, left, right, batch, expected);
                        kernels.integerMatmul(shape, signed).run(workspace, left, right, batch, actual);
                        assertThat(actual.toArray(JAVA_INT))
                                .as(kernels.name() + " transposed " + transposed + " signed " + signed)
                                .isEqualTo(expected.toArray(JAVA_INT));
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void floatProductsStayWithinTheBudget(Size size) {
        for (Kernels kernels : providers().toList()) {
            try (Arena arena = Arena.ofConfined();
                    Workspace reference = REFERENCE.openWorkspace();
                    Workspace workspace = kernels.openWorkspace()) {
                SplittableRandom random = new SplittableRandom(13);
                MemorySegment in = randomFloats(arena, random, (long) size.rows * size.inputs, 2);
                MemorySegment weight = randomFloats(arena, random, (long) size.outputs * size.inputs, 2);
                MemorySegment expected = arena.allocate(4L * size.rows * size.outputs, 64);
                MemorySegment linear = arena.allocate(4L * size.rows * size.outputs, 64);
                MemorySegment matmul = arena.allocate(4L * size.rows * size.outputs, 64);
                try (Linear a = REFERENCE.floatLinear(weight, size.outputs, size.inputs, size.rows);
                        Linear b = kernels.floatLinear(weight, size.outputs, size.inputs, size.rows)) {
                    a.run(reference, in, size.rows, expected);
                    b.run(workspace, in, size.rows, linear);
                }
                MatmulShape shape = new MatmulShape(size.rows, size.outputs, size.inputs, true);
                kernels.floatMatmul(shape).run(workspace, in, weight, 1, matmul);
                float budget = Kernels.FLOAT_BUDGET * size.inputs;
                for (long i = 0; i < (long) size.rows * size.outputs; i++) {
                    float e = expected.getAtIndex(JAVA_FLOAT, i);
                    assertThat(Math.abs(linear.getAtIndex(JAVA_FLOAT, i) - e)).isLessThanOrEqualTo(budget);
                    assertThat(Math.abs(matmul.getAtIndex(JAVA_FLOAT, i) - e)).isLessThanOrEqualTo(budget);
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 8, 15, 16, 17, 31, 48, 64, 197, 250})
    void pointwiseEqualsTheReferenceBitForBit(int width) {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        int rows = 5;
        Operand[] operands = {
            Operand.FLOAT,
            Operand.of(new ActivationQuantizer(0.013f, 117, 0, 255)),
            Operand.of(new ActivationQuantizer(0.02f, 0, -128, 127)),
            Operand.of(new ActivationQuantizer(1f / 255, 0, 0, 255))
        };
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(width);
            MemorySegment x = randomFloats(arena, random, (long) rows * width, 8);
            MemorySegment sums = arena.allocate(4L * rows * width, 64);
            for (long i = 0; i < (long) rows * width; i++) {
                sums.setAtIndex(JAVA_INT, i, random.nextInt(-200_000, 200_000));
            }
            MemorySegment gamma = randomFloats(arena, random, width, 3);
            MemorySegment beta = randomFloats(arena, random, width, 3);
            MemorySegment scale = randomFloats(arena, random, width, 1e-4);
            MemorySegment offset = randomFloats(arena, random, width, 2);
            Product[] products = {new Product(true, width, scale, offset, beta), Product.ofFloats(width, beta)};
            Pointwise reference = new ReferencePointwise();
            Pointwise vector = new VectorPointwise();
            for (Operand operand : equalized(operands[1], width)) {
                same(
                        arena,
                        rows * width,
                        operand,
                        (p, out) -> p.encode(x, rows * width, operand, out),
                        reference,
                        vector);
            }
            for (Operand operand : operands) {
                same(
                        arena,
                        rows * width,
                        operand,
                        (p, out) -> p.encode(x, rows * width, operand, out),
                        reference,
                        vector);
                same(
                        arena,
                        rows * width,
                        operand,
                        (p, out) -> p.layerNorm(x, rows, width, gamma, beta, 1e-6f, operand, out),
                        reference,
                        vector);
                same(
                        arena,
                        rows * width,
                        operand,
                        (p, out) -> p.softmax(sums, true, rows, width, 3e-5f, operand, out),
                        reference,
                        vector);
                same(
                        arena,
                        rows * width,
                        operand,
                        (p, out) -> p.softmax(x, false, rows, width, 0.7f, operand, out),
                        reference,
                        vector);
                for (Product product : products) {
                    MemorySegment raw = product.integer() ? sums : x;
                    same(
                            arena,
                            rows * width,
                            operand,
                            (p, out) -> p.gelu(raw, rows, product, operand, out),
                            reference,
                            vector);
                }
            }
            for (Product product : products) {
                MemorySegment raw = product.integer() ? sums : x;
                same(
                        arena,
                        rows * width,
                        Operand.FLOAT,
                        (p, out) -> p.decode(raw, rows, product, out),
                        reference,
                        vector);
                same(
                        arena,
                        rows * width,
                        Operand.FLOAT,
                        (p, out) -> {
                            out.copyFrom(x);
                            p.addTo(raw, rows, product, out);
                        },
                        reference,
                        vector);
            }
            same(arena, width, Operand.FLOAT, (p, out) -> p.meanRows(x, rows, width, out), reference, vector);
        }
    }

    /** The operand with a factor and an offset of its own for each channel, as bytes and as two bytes. */
    private static Operand[] equalized(Operand operand, int channels) {
        float[] factor = new float[channels];
        float[] offset = new float[channels];
        for (int c = 0; c < channels; c++) {
            factor[c] = 0.3f + 0.1f * (c % 13);
            offset[c] = 0.07f * (c % 11) - 0.3f;
        }
        ChannelAffine change = new ChannelAffine(factor, offset);
        return new Operand[] {
            Operand.of(operand.quantizer().orElseThrow(), change),
            Operand.of(new ActivationQuantizer(0.01f, 400, 0, 1023), change)
        };
    }

    /** Worked by hand: (x * factor + offset) / 0.5 + 10, channel by channel. */
    @Test
    void channelsAreEqualizedBeforeTheyAreQuantized() {
        Operand operand = Operand.of(
                new ActivationQuantizer(0.5f, 10, 0, 255),
                new ChannelAffine(new float[] {1, 2, 0.5f}, new float[] {0, -1, 3}));
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment x = arena.allocateFrom(JAVA_FLOAT, 4, 4, 4, 0, 10, 10);
            MemorySegment codes = arena.allocate(6);
            for (Pointwise pointwise : List.of(new ReferencePointwise(), new VectorPointwise())) {
                pointwise.encode(x, 6, operand, codes);
                assertThat(codes.toArray(JAVA_BYTE)).containsExactly(18, 24, 20, 10, 48, 26);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 4, 16, 24, 32})
    void headsSplitAndMergeAsTheReferenceDoes(int headWidth) {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        AttentionShape shape = new AttentionShape(2, 5, 3, headWidth);
        int elements = 2 * 5 * shape.width();
        Operand code = Operand.of(new ActivationQuantizer(0.02f, 0, -128, 127));
        Operand unsigned = Operand.of(new ActivationQuantizer(0.03f, 99, 0, 255));
        AttentionOperands operands = new AttentionOperands(code, Operand.FLOAT, code);
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(3);
            MemorySegment raw = randomFloats(arena, random, 3L * elements, 6);
            MemorySegment bias = randomFloats(arena, random, 3L * shape.width(), 1);
            Product product = Product.ofFloats(3 * shape.width(), bias);
            Pointwise reference = new ReferencePointwise();
            Pointwise vector = new VectorPointwise();
            MemorySegment[] a = new MemorySegment[3];
            MemorySegment[] b = new MemorySegment[3];
            for (int i = 0; i < 3; i++) {
                a[i] = arena.allocate(4L * elements, 64);
                b[i] = arena.allocate(4L * elements, 64);
            }
            reference.splitHeads(raw, shape, product, operands, a[0], a[1], a[2]);
            vector.splitHeads(raw, shape, product, operands, b[0], b[1], b[2]);
            for (int i = 0; i < 3; i++) {
                assertThat(b[i].toArray(JAVA_BYTE)).isEqualTo(a[i].toArray(JAVA_BYTE));
            }
            same(
                    arena,
                    elements,
                    unsigned,
                    (p, out) -> p.mergeHeads(raw, false, shape, 1f, unsigned, out),
                    reference,
                    vector);
        }
    }

    @FunctionalInterface
    interface Step {
        void run(Pointwise pointwise, MemorySegment out);
    }

    static void same(Arena arena, int elements, Operand operand, Step step, Pointwise reference, Pointwise vector) {
        MemorySegment expected = arena.allocate((long) elements * operand.bytes(), 64);
        MemorySegment actual = arena.allocate((long) elements * operand.bytes(), 64);
        step.run(reference, expected);
        step.run(vector, actual);
        assertThat(actual.toArray(JAVA_BYTE)).isEqualTo(expected.toArray(JAVA_BYTE));
    }
}
