package dev.trivet.kernel;

import static dev.trivet.kernel.KernelParityTest.randomFloats;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.kernel.KernelParityTest.Step;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Rows that do not follow each other hold what they hold where they do, and nothing is written between them. */
class StridedRowsTest {
    private static final byte GUARD = 0x5a;
    private static final int GAP = 9;

    private static final List<Operand> OPERANDS = List.of(
            Operand.FLOAT,
            Operand.of(new ActivationQuantizer(0.013f, 117, 0, 255)),
            Operand.of(new ActivationQuantizer(0.02f, 0, -128, 127)),
            Operand.of(new ActivationQuantizer(1f / 255, 0, 0, 255, List.of(0, 1, 3, 8, 17, 34, 67, 130, 255))),
            Operand.of(new ActivationQuantizer(0.01f, 400, 0, 1023)));

    private static List<Pointwise> all() {
        return VectorPointwise.SUPPORTED
                ? List.of(new ReferencePointwise(), new VectorPointwise())
                : List.of(new ReferencePointwise());
    }

    @ParameterizedTest
    @ValueSource(ints = {3, 8, 16, 17, 48, 64, 128, 250})
    void passesOverRows(int width) {
        int rows = 6; // not a multiple of the rows that are taken side by side
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(width);
            MemorySegment x = randomFloats(arena, random, (long) rows * width, 8);
            MemorySegment sums = sums(arena, random, rows * width);
            MemorySegment gamma = randomFloats(arena, random, width, 3);
            MemorySegment beta = randomFloats(arena, random, width, 3);
            MemorySegment scale = randomFloats(arena, random, width, 1e-4);
            Product integer = new Product(true, width, scale, gamma, beta);
            Product floats = Product.ofFloats(width, beta);
            for (Operand operand : OPERANDS) {
                same(
                        arena,
                        rows,
                        width,
                        operand,
                        form -> (p, out) -> p.layerNorm(x, rows, width, gamma, beta, 1e-6f, form, out));
                same(arena, rows, width, operand, form -> (p, out) -> p.gelu(sums, rows, integer, form, out));
                same(arena, rows, width, operand, form -> (p, out) -> p.gelu(x, rows, floats, form, out));
            }
            // Read, and added to, in rows apart.
            MemorySegment apart = arena.allocate(4L * ((rows - 1) * (width + GAP) + width), 64);
            for (int r = 0; r < rows; r++) {
                MemorySegment.copy(x, 4L * r * width, apart, 4L * r * (width + GAP), 4L * width);
            }
            Operand bytes = OPERANDS.get(1);
            same(
                    arena,
                    rows,
                    width,
                    bytes,
                    form -> (p, out) -> p.layerNorm(
                            form == bytes ? x : apart, form.stride(width), rows, width, gamma, beta, 1e-6f, form, out));
            same(arena, rows, width, Operand.FLOAT, form -> (p, out) -> {
                for (int r = 0; r < rows; r++) {
                    MemorySegment.copy(x, 4L * r * width, out, 4L * r * form.stride(width), 4L * width);
                }
                p.addTo(sums, rows, integer, out, form.stride(width));
            });
            same(
                    arena,
                    1,
                    width,
                    Operand.FLOAT,
                    form -> (p, out) ->
                            p.meanRows(form.stride(width) == width ? x : apart, form.stride(width), rows, width, out));
            Requantization codes = new Requantization(width, scale, gamma);
            Operand signed = OPERANDS.get(2);
            same(
                    arena,
                    rows,
                    width,
                    signed,
                    form -> (p, out) -> p.requantize(sums, rows, codes.withStride(form.stride(width)), out));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {3, 16, 24, 32, 64})
    void joinedHeads(int headWidth) {
        AttentionShape shape = new AttentionShape(2, 5, 3, headWidth);
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(headWidth);
            WindowShape windows = WindowPassesTest.windows(random, 9, headWidth);
            int elements =
                    Math.max(10 * shape.width(), windows.endProduct() * windows.windowTokens() * windows.headWidth());
            MemorySegment x = randomFloats(arena, random, elements, 6);
            MemorySegment sums = sums(arena, random, elements);
            MemorySegment factors = randomFloats(arena, random, elements, 1);
            int tokens = windows.images() * windows.tokens();
            MemorySegment none = MemorySegment.NULL;
            for (Operand operand : OPERANDS) {
                same(
                        arena,
                        10,
                        shape.width(),
                        operand,
                        form -> (p, out) -> p.mergeHeads(x, false, shape, 1f, form, out));
                same(
                        arena,
                        10,
                        shape.width(),
                        operand,
                        form -> (p, out) -> p.mergeHeads(sums, true, shape, 1e-5f, form, out));
                same(
                        arena,
                        10,
                        shape.width(),
                        operand,
                        form -> (p, out) -> p.mergeNormalizedHeads(sums, shape, 1e-3f, factors, form, out));
                same(
                        arena,
                        tokens,
                        windows.width(),
                        operand,
                        form -> (p, out) -> p.mergeWindows(sums, true, windows, 1e-3f, factors, form, out));
                same(
                        arena,
                        tokens,
                        windows.width(),
                        operand,
                        form -> (p, out) -> p.mergeWindows(x, false, windows, 1f, none, form, out));
            }
        }
    }

    /** Whole lines, an odd number of them, and no more than half as much again. */
    @Test
    void rowsAreSpreadOverTheSetsOfACache() {
        for (Kernels kernels : KernelParityTest.providers().toList()) {
            for (int bytes = 1; bytes <= 4096; bytes++) {
                int apart = kernels.rowBytes(bytes);
                if (apart != bytes) {
                    assertThat(apart).isBetween(bytes, bytes + bytes / 2);
                    assertThat(apart % 128).isEqualTo(64);
                }
            }
        }
    }

    /** A layer says 0 where it reads rows that follow each other, and else how far apart the kernels want them. */
    @Test
    void layersSayHowFarApartTheyReadRows() {
        for (Kernels kernels : KernelParityTest.providers().toList()) {
            for (int inputs : new int[] {24, 64, 128, 192, 256, 768}) {
                try (Arena arena = Arena.ofConfined();
                        Linear linear = kernels.integerLinear(arena.allocate(16L * inputs, 64), 16, inputs, 32)) {
                    int apart = kernels.rowBytes(inputs);
                    assertThat(linear.inputStride()).as(kernels.description()).isEqualTo(apart == inputs ? 0 : apart);
                }
            }
        }
    }

    private static MemorySegment sums(Arena arena, SplittableRandom random, int count) {
        MemorySegment sums = arena.allocate(4L * count, 64);
        for (int i = 0; i < count; i++) {
            sums.setAtIndex(JAVA_INT, i, random.nextInt(-200_000, 200_000));
        }
        return sums;
    }

    /** @param step for an operand's form, that writes rows as far apart as it says */
    private static void same(Arena arena, int rows, int columns, Operand operand, Function<Operand, Step> step) {
        int stride = columns + GAP;
        int bytes = operand.bytes();
        MemorySegment dense = arena.allocate((long) bytes * rows * columns, 64);
        step.apply(operand).run(new ReferencePointwise(), dense);
        MemorySegment expected = arena.allocate((long) bytes * ((rows - 1) * stride + columns), 64)
                .fill(GUARD);
        for (int r = 0; r < rows; r++) {
            MemorySegment.copy(
                    dense, (long) bytes * r * columns, expected, (long) bytes * r * stride, (long) bytes * columns);
        }
        for (Pointwise pointwise : all()) {
            // Ends with the last row, so that writing behind it fails.
            MemorySegment actual = arena.allocate(expected.byteSize(), 64).fill(GUARD);
            step.apply(operand.withStride(stride)).run(pointwise, actual);
            assertThat(actual.toArray(JAVA_BYTE)).as(operand.toString()).isEqualTo(expected.toArray(JAVA_BYTE));
        }
    }
}
