package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Softmax's numerators as codes, and the factors that make their rows sum to one. */
class NormalizedRowsTest {
    private static final ActivationQuantizer BYTE = new ActivationQuantizer(1f / 255, 0, 0, 255);
    private static final ActivationQuantizer LEVELS = new ActivationQuantizer(
            1f / 255, 0, 0, 255, List.of(0, 1, 2, 3, 5, 8, 12, 17, 24, 34, 48, 67, 93, 130, 182, 255));
    private static final ActivationQuantizer TEN_BITS = new ActivationQuantizer(1f / 1023, 0, 0, 1023);
    /** Clips above 0.6. */
    private static final ActivationQuantizer TWO_BITS = new ActivationQuantizer(0.2f, 0, 0, 3);

    private static final List<ActivationQuantizer> QUANTIZERS = List.of(BYTE, LEVELS, TEN_BITS, TWO_BITS);

    private static int code(MemorySegment codes, long index, ActivationQuantizer quantizer) {
        return quantizer.wide() ? codes.getAtIndex(JAVA_SHORT, index) : codes.get(JAVA_BYTE, index) & 0xff;
    }

    private static int[] codes(Arena arena, float[] row, int rows, ActivationQuantizer quantizer, float[] factors) {
        MemorySegment out = arena.allocate(2L * row.length, 64);
        MemorySegment sums = arena.allocate(4L * rows, 64);
        new ReferencePointwise()
                .softmaxNumerators(
                        arena.allocateFrom(JAVA_FLOAT, row),
                        false,
                        rows,
                        row.length / rows,
                        1f,
                        Operand.of(quantizer),
                        out,
                        sums);
        MemorySegment.copy(sums, JAVA_FLOAT, 0, factors, 0, rows);
        int[] codes = new int[row.length];
        for (int i = 0; i < codes.length; i++) {
            codes[i] = code(out, i, quantizer);
        }
        return codes;
    }

    /** By hand, with steps of a quarter: e^0, e^-ln 2, e^-ln 4 are the codes 4, 2, 1, of sum 7. */
    @Test
    void codesAndFactorsOfSmallRows() {
        float half = (float) Math.log(0.5);
        float[] factors = new float[3];
        try (Arena arena = Arena.ofConfined()) {
            float[] rows = {7, 7 + half, 7 + 2 * half, -5, -5, -5, 0, 20, 0};
            int[] codes = codes(arena, rows, 3, new ActivationQuantizer(0.25f, 0, 0, 15), factors);
            assertThat(codes).containsExactly(4, 2, 1, 4, 4, 4, 0, 4, 0);
            assertThat(factors).containsExactly(1f / 7, 1f / 12, 1f / 4);
            // Of a tenth each; a quarter is 2 or 3 steps, and 2 is in use.
            ActivationQuantizer levels = new ActivationQuantizer(0.1f, 0, 0, 10, List.of(0, 2, 5, 10));
            assertThat(codes(arena, rows, 3, levels, factors)).containsExactly(10, 5, 2, 10, 10, 10, 0, 10, 0);
            assertThat(factors).containsExactly(1f / 17, 1f / 30, 1f / 10);
            assertThat(codes(arena, rows, 3, TEN_BITS, factors)).containsSubsequence(1023, 1023, 1023, 1023, 0, 1023);
            // Clipping shortens the largest.
            assertThat(codes(arena, rows, 3, TWO_BITS, factors)).startsWith(3);
            assertThat(factors).endsWith(1f / 9, 1f / 3);
        }
    }

    /** By hand: two tokens, two heads of one channel; sums stand head by head, the result token by token. */
    @Test
    void headsAreJoinedWithTheirRowsFactors() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment raw = arena.allocateFrom(JAVA_INT, 10, 20, -30, 40);
            MemorySegment factors = arena.allocateFrom(JAVA_FLOAT, 0.5f, 0.25f, 0.125f, 0.0625f);
            MemorySegment out = arena.allocate(16, 64);
            AttentionShape shape = new AttentionShape(1, 2, 2, 1);
            new ReferencePointwise().mergeNormalizedHeads(raw, shape, 2f, factors, Operand.FLOAT, out);
            assertThat(out.toArray(JAVA_FLOAT)).containsExactly(10f, -7.5f, 10f, 5f);
            Operand bytes = Operand.of(new ActivationQuantizer(2.5f, 100, 0, 255));
            new ReferencePointwise().mergeNormalizedHeads(raw, shape, 2f, factors, bytes, out);
            assertThat(out.asSlice(0, 4).toArray(JAVA_BYTE)).containsExactly(104, 97, 104, 102);
        }
    }

    /** However coarse the codes, however the row is spread: what multiplies the values sums to one. */
    @ParameterizedTest
    @ValueSource(floats = {1e-7f, 1e-5f, 3e-5f, 1e-3f})
    void quantizedRowsSumToOne(float scale) {
        int rows = 20;
        int columns = 197;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment sums = sums(arena, new SplittableRandom(2), rows * columns);
            MemorySegment out = arena.allocate(2L * rows * columns, 64);
            MemorySegment factors = arena.allocate(4L * rows, 64);
            for (ActivationQuantizer quantizer : QUANTIZERS) {
                new ReferencePointwise()
                        .softmaxNumerators(sums, true, rows, columns, scale, Operand.of(quantizer), out, factors);
                for (int r = 0; r < rows; r++) {
                    double total = 0;
                    int most = 0;
                    for (int c = 0; c < columns; c++) {
                        int code = code(out, (long) r * columns + c, quantizer);
                        most = Math.max(most, code);
                        total += code * (double) factors.getAtIndex(JAVA_FLOAT, r);
                    }
                    assertThat(total).isCloseTo(1, within(1e-6));
                    assertThat(most).as("each row reaches up").isEqualTo(quantizer.highest());
                }
            }
        }
    }

    private static MemorySegment sums(Arena arena, SplittableRandom random, int count) {
        return sums(arena, random, count, 200_000);
    }

    private static MemorySegment sums(Arena arena, SplittableRandom random, int count, int largest) {
        MemorySegment sums = arena.allocate(4L * count, 64);
        for (long i = 0; i < count; i++) {
            sums.setAtIndex(JAVA_INT, i, random.nextInt(-largest, largest));
        }
        return sums;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 7, 8, 9, 15, 16, 17, 31, 48, 64, 197, 250})
    void numeratorsEqualTheReferenceBitForBit(int columns) {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        for (int rows : new int[] {0, 1, 5}) {
            numeratorsEqualTheReference(rows, columns, 200_000, 3e-5f);
        }
        // All of int32's range, where floats do not hold sums exactly.
        numeratorsEqualTheReference(3, columns, Integer.MAX_VALUE, 3e-9f);
    }

    private static void numeratorsEqualTheReference(int rows, int columns, int largest, float scale) {
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(columns);
            MemorySegment sums = sums(arena, random, rows * columns, largest);
            MemorySegment floats = KernelParityTest.randomFloats(arena, random, (long) rows * columns, 8);
            for (ActivationQuantizer quantizer : QUANTIZERS) {
                for (boolean integer : new boolean[] {true, false}) {
                    byte[][] results = new byte[2][];
                    byte[][] factors = new byte[2][];
                    Pointwise[] both = {new ReferencePointwise(), new VectorPointwise()};
                    for (int i = 0; i < 2; i++) {
                        MemorySegment out = arena.allocate((quantizer.wide() ? 2L : 1L) * rows * columns, 64);
                        MemorySegment f = arena.allocate(4L * rows, 64);
                        both[i].softmaxNumerators(
                                integer ? sums : floats,
                                integer,
                                rows,
                                columns,
                                integer ? scale : 0.7f,
                                Operand.of(quantizer),
                                out,
                                f);
                        results[i] = out.toArray(JAVA_BYTE);
                        factors[i] = f.toArray(JAVA_BYTE);
                    }
                    assertThat(results[1]).as("codes of " + quantizer).isEqualTo(results[0]);
                    assertThat(factors[1]).as("factors of " + quantizer).isEqualTo(factors[0]);
                }
            }
        }
    }

    /** With room behind each row, which is not read and becomes zero. */
    @ParameterizedTest
    @ValueSource(ints = {1, 7, 16, 17, 49, 197})
    void roomBehindRowsChangesNothing(int columns) {
        int rows = 5;
        int stride = columns + 11;
        SplittableRandom random = new SplittableRandom(columns);
        List<Pointwise> all = VectorPointwise.SUPPORTED
                ? List.of(new ReferencePointwise(), new VectorPointwise())
                : List.of(new ReferencePointwise());
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment wide = sums(arena, random, rows * stride, 200_000);
            MemorySegment dense = arena.allocate(4L * rows * columns, 64);
            for (int r = 0; r < rows; r++) {
                MemorySegment.copy(wide, 4L * r * stride, dense, 4L * r * columns, 4L * columns);
            }
            for (ActivationQuantizer quantizer : QUANTIZERS) {
                Operand operand = Operand.of(quantizer);
                long size = operand.bytes();
                MemorySegment expected = arena.allocate(size * rows * columns, 64);
                MemorySegment expectedFactors = arena.allocate(4L * rows, 64);
                MemorySegment factors = arena.allocate(4L * rows, 64);
                for (boolean numerators : new boolean[] {true, false}) {
                    Pointwise reference = all.getFirst();
                    if (numerators) {
                        reference.softmaxNumerators(
                                dense, true, rows, columns, 3e-5f, operand, expected, expectedFactors);
                    } else {
                        reference.softmax(dense, true, rows, columns, 3e-5f, operand, expected);
                    }
                    for (Pointwise pointwise : all) {
                        MemorySegment out =
                                arena.allocate(size * rows * stride, 64).fill((byte) 99);
                        if (numerators) {
                            pointwise.softmaxNumerators(
                                    wide, true, rows, columns, stride, 3e-5f, operand, out, factors);
                            assertThat(factors.mismatch(expectedFactors)).isEqualTo(-1);
                        } else {
                            pointwise.softmax(wide, true, rows, columns, stride, 3e-5f, operand, out);
                        }
                        for (int r = 0; r < rows; r++) {
                            byte[] row = out.asSlice(size * r * stride, size * stride)
                                    .toArray(JAVA_BYTE);
                            assertThat(Arrays.copyOf(row, (int) size * columns))
                                    .isEqualTo(expected.asSlice(size * r * columns, size * columns)
                                            .toArray(JAVA_BYTE));
                            assertThat(Arrays.copyOfRange(row, (int) size * columns, row.length))
                                    .containsOnly(0);
                        }
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "3, 2", "8, 3", "9, 1", "16, 3", "17, 2", "24, 2", "31, 1", "64, 3"})
    void mergingEqualsTheReferenceBitForBit(int headWidth, int heads) {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        AttentionShape shape = new AttentionShape(2, 5, heads, headWidth);
        int elements = 2 * 5 * shape.width();
        Operand[] operands = {
            Operand.FLOAT,
            Operand.of(new ActivationQuantizer(0.03f, 99, 0, 255)),
            Operand.of(new ActivationQuantizer(0.01f, 500, 0, 1023)),
            Operand.of(new ActivationQuantizer(0.05f, 99, 0, 255, List.of(0, 50, 90, 99, 101, 120, 200, 255)))
        };
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(headWidth);
            MemorySegment raw = sums(arena, random, elements);
            MemorySegment factors = KernelParityTest.randomFloats(arena, random, 2L * 5 * heads, 1e-2);
            for (Operand operand : operands) {
                MemorySegment expected = arena.allocate((long) operand.bytes() * elements, 64);
                MemorySegment actual = arena.allocate((long) operand.bytes() * elements, 64);
                new ReferencePointwise().mergeNormalizedHeads(raw, shape, 0.013f, factors, operand, expected);
                new VectorPointwise().mergeNormalizedHeads(raw, shape, 0.013f, factors, operand, actual);
                assertThat(actual.toArray(JAVA_BYTE)).as(operand.toString()).isEqualTo(expected.toArray(JAVA_BYTE));
            }
        }
    }
}
