package dev.trivet.kernel;

import static dev.trivet.kernel.KernelParityTest.randomFloats;
import static dev.trivet.kernel.KernelParityTest.same;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Passes over windows of tokens: worked by hand, and the vector ones against the reference, bit for bit. */
class WindowPassesTest {
    /** Windows of 1 to 49 tokens, some positions padded; the second and fourth window are masked. */
    @ParameterizedTest
    @CsvSource({"1, 3", "4, 1", "9, 8", "16, 16", "16, 24", "17, 32", "33, 5", "49, 32"})
    @SuppressWarnings("ReferenceEquality") // which of the two it is
    void windowsEqualTheReferenceBitForBit(int windowTokens, int headWidth) {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(windowTokens);
            WindowShape shape = windows(random, windowTokens, headWidth);
            int elements = shape.images() * shape.tokens() * shape.width();
            int padded = shape.endProduct() * windowTokens * headWidth;
            int scores = shape.endProduct() * windowTokens * windowTokens;
            MemorySegment floats = randomFloats(arena, random, Math.max(3L * elements, Math.max(padded, scores)), 6);
            MemorySegment sums = arena.allocate(floats.byteSize(), 64);
            for (long i = 0; i < floats.byteSize() / 4; i++) {
                sums.setAtIndex(JAVA_INT, i, random.nextInt(-200_000, 200_000));
            }
            MemorySegment bias = randomFloats(arena, random, 3L * shape.width(), 1);
            MemorySegment scale = randomFloats(arena, random, 3L * shape.width(), 1e-4);
            MemorySegment offset = randomFloats(arena, random, 3L * shape.width(), 1);
            ScoreBias added = new ScoreBias(
                    randomFloats(arena, random, (long) shape.heads() * windowTokens * windowTokens, 4),
                    randomFloats(arena, random, (long) shape.windows() * windowTokens * windowTokens, 200),
                    new boolean[] {false, true, false, true});
            Operand signed = Operand.of(new ActivationQuantizer(0.02f, 0, -128, 127));
            Operand code = Operand.of(new ActivationQuantizer(0.03f, 99, 0, 255));
            Operand probability = Operand.of(new ActivationQuantizer(1f / 255, 0, 0, 255));
            Operand levels =
                    Operand.of(new ActivationQuantizer(1f / 255, 0, 0, 255, List.of(0, 1, 3, 8, 17, 34, 67, 130, 255)));
            Pointwise reference = new ReferencePointwise();
            Pointwise vector = new VectorPointwise();
            for (boolean integer : new boolean[] {true, false}) {
                MemorySegment raw = integer ? sums : floats;
                Product product = new Product(integer, 3 * shape.width(), scale, offset, bias);
                AttentionOperands operands = integer
                        ? new AttentionOperands(signed, signed, Operand.FLOAT)
                        : new AttentionOperands(Operand.FLOAT, signed, signed);
                MemorySegment[] a = heads(arena, padded);
                MemorySegment[] b = heads(arena, padded);
                reference.splitWindows(raw, shape, product, operands, a[0], a[1], a[2]);
                vector.splitWindows(raw, shape, product, operands, b[0], b[1], b[2]);
                for (int i = 0; i < 3; i++) {
                    assertThat(b[i].toArray(JAVA_BYTE)).isEqualTo(a[i].toArray(JAVA_BYTE));
                }
                float factor = integer ? 3e-5f : 0.7f;
                for (Operand operand : new Operand[] {Operand.FLOAT, probability}) {
                    same(
                            arena,
                            scores,
                            operand,
                            (p, out) -> p.softmaxWindows(
                                    raw, integer, shape, factor, added, operand, out, MemorySegment.NULL),
                            reference,
                            vector);
                }
                MemorySegment rowFactors = arena.allocate(4L * shape.endProduct() * windowTokens, 64);
                MemorySegment sameFactors = arena.allocate(rowFactors.byteSize(), 64);
                for (Operand operand : new Operand[] {levels, probability}) {
                    same(
                            arena,
                            scores,
                            operand,
                            (p, out) -> p.softmaxWindows(
                                    raw,
                                    integer,
                                    shape,
                                    factor,
                                    added,
                                    operand,
                                    out,
                                    p == reference ? rowFactors : sameFactors),
                            reference,
                            vector);
                    assertThat(sameFactors.toArray(JAVA_BYTE)).isEqualTo(rowFactors.toArray(JAVA_BYTE));
                }
                for (Operand operand : new Operand[] {Operand.FLOAT, code}) {
                    same(
                            arena,
                            elements,
                            operand,
                            (p, out) -> p.mergeWindows(raw, integer, shape, factor, MemorySegment.NULL, operand, out),
                            reference,
                            vector);
                    same(
                            arena,
                            elements,
                            operand,
                            (p, out) -> p.mergeWindows(raw, integer, shape, 9f, rowFactors, operand, out),
                            reference,
                            vector);
                }
            }
        }
    }

    /** Two images of four windows and three heads; the last third of the last window is padding. */
    static WindowShape windows(SplittableRandom random, int windowTokens, int headWidth) {
        int tokens = 4 * windowTokens - windowTokens / 3;
        int[] source = new int[4 * windowTokens];
        for (int i = 0; i < source.length; i++) {
            int other = random.nextInt(i + 1);
            source[i] = source[other];
            source[other] = i < tokens ? i : -1;
        }
        return new WindowShape(2, tokens, 3, headWidth, 4, windowTokens, source);
    }

    /** Parts of an image's rows and products, put together, are the whole: with ragged parts, in both implementations. */
    @ParameterizedTest
    @CsvSource({"4, 1", "9, 8", "16, 24", "17, 8", "49, 32"})
    void partsOfWindowsMakeUpTheWhole(int windowTokens, int headWidth) {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(windowTokens);
            WindowShape two = windows(random, windowTokens, headWidth);
            WindowShape whole = new WindowShape(1, two.tokens(), 3, headWidth, 4, windowTokens, two.source());
            int width = whole.width();
            int tokens = whole.tokens();
            int padded = 4 * windowTokens * width;
            int scores = 12 * windowTokens * windowTokens;
            MemorySegment raw = randomFloats(arena, random, Math.max(3L * padded, scores), 6);
            MemorySegment sums = arena.allocate(4L * scores, 64);
            for (long i = 0; i < scores; i++) {
                sums.setAtIndex(JAVA_INT, i, random.nextInt(-200_000, 200_000));
            }
            MemorySegment bias = randomFloats(arena, random, 3L * width, 1);
            Product product = Product.ofFloats(3 * width, bias);
            ScoreBias added = new ScoreBias(
                    randomFloats(arena, random, 3L * windowTokens * windowTokens, 4),
                    randomFloats(arena, random, 4L * windowTokens * windowTokens, 200),
                    new boolean[] {false, true, false, true});
            Operand codes = Operand.of(new ActivationQuantizer(1f / 255, 0, 0, 255));
            int[] rows = {0, 0, 1, tokens / 2 + 1, tokens};
            int[] products = {0, 1, 5, 5, 12};
            for (Pointwise pointwise : List.of(new ReferencePointwise(), new VectorPointwise())) {
                MemorySegment[] expected = heads(arena, padded);
                MemorySegment[] actual = heads(arena, padded);
                MemorySegment maps = arena.allocate(scores, 64);
                MemorySegment mapParts = arena.allocate(scores, 64);
                MemorySegment factors = arena.allocate(48L * windowTokens, 64);
                MemorySegment factorParts = arena.allocate(48L * windowTokens, 64);
                MemorySegment integerMaps = arena.allocate(scores, 64);
                MemorySegment integerMapParts = arena.allocate(scores, 64);
                MemorySegment integerFactors = arena.allocate(48L * windowTokens, 64);
                MemorySegment integerFactorParts = arena.allocate(48L * windowTokens, 64);
                MemorySegment merged = arena.allocate(4L * tokens * width, 64);
                MemorySegment mergedParts = arena.allocate(4L * tokens * width, 64);
                AttentionOperands floats = AttentionOperands.FLOAT;
                pointwise.splitWindows(raw, whole, product, floats, expected[0], expected[1], expected[2]);
                pointwise.softmaxWindows(raw, false, whole, 0.5f, added, codes, maps, factors);
                pointwise.softmaxWindows(sums, true, whole, 3e-5f, added, codes, integerMaps, integerFactors);
                pointwise.mergeWindows(raw, false, whole, 2f, factors, Operand.FLOAT, merged);
                for (int p = 0; p < 4; p++) {
                    WindowShape part = whole.part(rows[p], rows[p + 1], products[p], products[p + 1]);
                    MemorySegment own = raw.asSlice(12L * rows[p] * width);
                    pointwise.splitWindows(own, part, product, floats, actual[0], actual[1], actual[2]);
                    long map = (long) products[p] * windowTokens;
                    pointwise.softmaxWindows(
                            raw.asSlice(4 * map * windowTokens),
                            false,
                            part,
                            0.5f,
                            added,
                            codes,
                            mapParts.asSlice(map * windowTokens),
                            factorParts.asSlice(4 * map));
                    pointwise.softmaxWindows(
                            sums.asSlice(4 * map * windowTokens),
                            true,
                            part,
                            3e-5f,
                            added,
                            codes,
                            integerMapParts.asSlice(map * windowTokens),
                            integerFactorParts.asSlice(4 * map));
                    MemorySegment out = mergedParts.asSlice(4L * rows[p] * width);
                    pointwise.mergeWindows(raw, false, part, 2f, factors, Operand.FLOAT, out);
                }
                for (int i = 0; i < 3; i++) {
                    assertThat(actual[i].toArray(JAVA_FLOAT)).isEqualTo(expected[i].toArray(JAVA_FLOAT));
                }
                assertThat(mapParts.toArray(JAVA_BYTE)).isEqualTo(maps.toArray(JAVA_BYTE));
                assertThat(factorParts.toArray(JAVA_FLOAT)).isEqualTo(factors.toArray(JAVA_FLOAT));
                assertThat(integerMapParts.toArray(JAVA_BYTE)).isEqualTo(integerMaps.toArray(JAVA_BYTE));
                assertThat(integerFactorParts.toArray(JAVA_FLOAT)).isEqualTo(integerFactors.toArray(JAVA_FLOAT));
                assertThat(mergedParts.toArray(JAVA_FLOAT)).isEqualTo(merged.toArray(JAVA_FLOAT));
            }
        }
    }

    /** By hand: the second of two rows, one head of one channel; keys and values have room for both. */
    @Test
    void rowsOfAnImageAreSplitBesideTheOthers() {
        AttentionShape second = new AttentionShape(1, 1, 2, 2, 1);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment raw = arena.allocateFrom(JAVA_FLOAT, 1, 2, 3, 4, 5, 6);
            MemorySegment bias = arena.allocate(24, 64);
            Product product = Product.ofFloats(6, bias);
            for (Pointwise pointwise : List.of(new ReferencePointwise(), new VectorPointwise())) {
                MemorySegment[] heads = heads(arena, 4);
                pointwise.splitHeads(
                        raw,
                        second,
                        product,
                        AttentionOperands.FLOAT,
                        heads[0],
                        heads[1].asSlice(4),
                        heads[2].asSlice(4));
                assertThat(heads[0].toArray(JAVA_FLOAT)).containsExactly(1, 2, 0, 0);
                assertThat(heads[1].toArray(JAVA_FLOAT)).containsExactly(0, 3, 0, 4);
                assertThat(heads[2].toArray(JAVA_FLOAT)).containsExactly(0, 5, 0, 6);
            }
        }
    }

    private static MemorySegment[] heads(Arena arena, int elements) {
        return new MemorySegment[] {
            arena.allocate(4L * elements, 64), arena.allocate(4L * elements, 64), arena.allocate(4L * elements, 64)
        };
    }

    /** By hand: one head, one channel, two windows of two positions, the last of them padding. */
    @Test
    void windowsAreSplitAndMergedByTheTable() {
        WindowShape shape = new WindowShape(1, 3, 1, 1, 2, 2, new int[] {2, 0, 1, -1});
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment raw = arena.allocateFrom(JAVA_FLOAT, 1, 2, 3, 4, 5, 6, 7, 8, 9);
            MemorySegment bias = arena.allocateFrom(JAVA_FLOAT, 0.5f, 0.25f, 0.125f);
            MemorySegment[] heads = heads(arena, 4);
            MemorySegment out = arena.allocate(12, 64);
            Pointwise reference = new ReferencePointwise();
            Product product = Product.ofFloats(3, bias);
            reference.splitWindows(raw, shape, product, AttentionOperands.FLOAT, heads[0], heads[1], heads[2]);
            assertThat(heads[0].toArray(JAVA_FLOAT)).containsExactly(7.5f, 1.5f, 4.5f, 0.5f);
            assertThat(heads[1].toArray(JAVA_FLOAT)).containsExactly(8.25f, 2.25f, 5.25f, 0.25f);
            assertThat(heads[2].toArray(JAVA_FLOAT)).containsExactly(9.125f, 3.125f, 6.125f, 0.125f);
            reference.mergeWindows(heads[0], false, shape, 2f, MemorySegment.NULL, Operand.FLOAT, out);
            assertThat(out.toArray(JAVA_FLOAT)).containsExactly(3f, 9f, 15f);
            MemorySegment factors = arena.allocateFrom(JAVA_FLOAT, 1, 10, 100, 1000);
            reference.mergeWindows(heads[0], false, shape, 2f, factors, Operand.FLOAT, out);
            assertThat(out.toArray(JAVA_FLOAT)).containsExactly(30f, 900f, 15f);
        }
    }

    /** By hand: scores 1 and 3 doubled plus biases 4 and 0 are equal; with the mask only the first is left. */
    @Test
    void biasAndMaskAreAddedBeforeTheSoftmax() {
        WindowShape shape = new WindowShape(1, 4, 1, 1, 2, 2, new int[] {0, 1, 2, 3});
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment raw = arena.allocateFrom(JAVA_FLOAT, 1, 3, 1, 3, 1, 3, 1, 3);
            ScoreBias bias = new ScoreBias(
                    arena.allocateFrom(JAVA_FLOAT, 4, 0, 4, 0),
                    arena.allocateFrom(JAVA_FLOAT, 0, 0, 0, 0, 0, -100, -100, 0),
                    new boolean[] {false, true});
            MemorySegment out = arena.allocate(32, 64);
            new ReferencePointwise()
                    .softmaxWindows(raw, false, shape, 2f, bias, Operand.FLOAT, out, MemorySegment.NULL);
            // A masked probability is e^-87, the least that the kernels' exponential gives.
            assertThat(out.toArray(JAVA_FLOAT))
                    .containsExactly(new float[] {0.5f, 0.5f, 0.5f, 0.5f, 1, 0, 0, 1}, within(1e-37f));
        }
    }

    /** By hand: scores 2 ln 2 + ln 2 apart give numerators 1 and 1/8, codes 240 and 30; what is masked has the code 0. */
    @Test
    void numeratorsOfWindowsReachTheHighestCodeAndSumToOne() {
        WindowShape shape = new WindowShape(1, 4, 1, 1, 2, 2, new int[] {0, 1, 2, 3});
        try (Arena arena = Arena.ofConfined()) {
            float ln2 = (float) Math.log(2);
            MemorySegment raw = arena.allocateFrom(JAVA_FLOAT, ln2, 0, 0, 0, ln2, 0, 0, 0);
            ScoreBias bias = new ScoreBias(
                    arena.allocateFrom(JAVA_FLOAT, ln2, 0, 0, ln2),
                    arena.allocateFrom(JAVA_FLOAT, 0, 0, 0, 0, 0, -100, -100, 0),
                    new boolean[] {false, true});
            Operand codes = Operand.of(new ActivationQuantizer(1f / 240, 0, 0, 255));
            MemorySegment out = arena.allocate(8, 64);
            MemorySegment factors = arena.allocate(16, 64);
            new ReferencePointwise().softmaxWindows(raw, false, shape, 2f, bias, codes, out, factors);
            assertThat(out.toArray(JAVA_BYTE))
                    .containsExactly(
                            (byte) 240, (byte) 30, (byte) 120, (byte) 240, (byte) 240, (byte) 0, (byte) 0, (byte) 240);
            assertThat(factors.toArray(JAVA_FLOAT)).containsExactly(1f / 270, 1f / 360, 1f / 240, 1f / 240);
        }
    }
}
