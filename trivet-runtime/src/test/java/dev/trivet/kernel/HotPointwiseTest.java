package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** The compiler may not change a bit: a pass gives the reference's result when first run and after thousands of runs. */
class HotPointwiseTest {
    private static final int RUNS = 20_000;
    private static final int ROWS = 4;
    private static final int WIDTH = 41;
    /** Of a pass's output: room for float32 {@code [ROWS, WIDTH]}. */
    private static final long BYTES = 4L * ROWS * WIDTH;

    @FunctionalInterface
    private interface Pass {
        void run(Pointwise pointwise, MemorySegment out);
    }

    @Test
    void everyPassStaysTheReference() {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        try (Arena arena = Arena.ofConfined()) {
            Map<String, Pass> passes = passes(arena);
            MemorySegment expected = arena.allocate(BYTES, 64);
            MemorySegment actual = arena.allocate(BYTES, 64);
            passes.forEach((name, pass) -> {
                pass.run(new ReferencePointwise(), expected.fill((byte) 0));
                byte[] bytes = expected.toArray(JAVA_BYTE);
                Pointwise vector = new VectorPointwise();
                for (int run = 1; run <= RUNS; run++) {
                    pass.run(vector, actual.fill((byte) 0));
                    // The first runs are interpreted, the next compiled in two stages; after that it stays as it is.
                    if (run <= 3 || run % 500 == 0) {
                        assertThat(Arrays.mismatch(actual.toArray(JAVA_BYTE), bytes))
                                .as(name + ", run " + run)
                                .isEqualTo(-1);
                    }
                }
            });
        }
    }

    private static Map<String, Pass> passes(Arena arena) {
        SplittableRandom random = new SplittableRandom(5);
        int count = ROWS * WIDTH;
        MemorySegment x = KernelParityTest.randomFloats(arena, random, count, 8);
        MemorySegment gamma = KernelParityTest.randomFloats(arena, random, WIDTH, 3);
        MemorySegment beta = KernelParityTest.randomFloats(arena, random, WIDTH, 3);
        MemorySegment scale = KernelParityTest.randomFloats(arena, random, WIDTH, 1e-4);
        MemorySegment sums = arena.allocate(4L * count, 64);
        MemorySegment offset = KernelParityTest.randomFloats(arena, random, WIDTH, 2);
        for (int i = 0; i < count; i++) {
            sums.setAtIndex(JAVA_INT, i, random.nextInt(-200_000, 200_000));
        }
        Product integer = new Product(true, WIDTH, scale, offset, beta);
        Operand code = Operand.of(new ActivationQuantizer(0.03f, 117, 0, 255));
        Operand signed = Operand.of(new ActivationQuantizer(0.02f, 0, -128, 127));
        Operand probability = Operand.of(new ActivationQuantizer(1f / 255, 0, 0, 255));
        // Two images of two tokens and one head.
        AttentionShape shape = new AttentionShape(2, 2, 1, WIDTH);
        AttentionShape third = new AttentionShape(2, 2, 1, WIDTH / 3);
        Product split = new Product(true, WIDTH / 3 * 3, scale, offset, beta);
        MemorySegment key = arena.allocate(BYTES, 64);
        MemorySegment value = arena.allocate(BYTES, 64);
        AttentionOperands operands = new AttentionOperands(signed, signed, signed);
        Map<String, Pass> passes = new LinkedHashMap<>();
        passes.put("encode", (p, out) -> p.encode(x, count, code, out));
        passes.put("layerNorm", (p, out) -> p.layerNorm(x, ROWS, WIDTH, gamma, beta, 1e-6f, code, out));
        passes.put(
                "layerNorm to float", (p, out) -> p.layerNorm(x, ROWS, WIDTH, gamma, beta, 1e-6f, Operand.FLOAT, out));
        passes.put("softmax", (p, out) -> p.softmax(sums, true, ROWS, WIDTH, 3e-5f, probability, out));
        passes.put("softmax to float", (p, out) -> p.softmax(x, false, ROWS, WIDTH, 0.7f, Operand.FLOAT, out));
        passes.put("gelu", (p, out) -> p.gelu(sums, ROWS, integer, code, out));
        float[] factors = new float[WIDTH];
        for (int c = 0; c < WIDTH; c++) {
            factors[c] = 0.5f + c % 7;
        }
        Operand equalized = Operand.of(
                new ActivationQuantizer(0.03f, 117, 0, 255), new ChannelAffine(factors, beta.toArray(JAVA_FLOAT)));
        passes.put("encode equalized", (p, out) -> p.encode(x, count, equalized, out));
        passes.put("gelu to float", (p, out) -> p.gelu(sums, ROWS, integer, Operand.FLOAT, out));
        passes.put("decode", (p, out) -> p.decode(sums, ROWS, integer, out));
        passes.put("addTo", (p, out) -> {
            out.copyFrom(x);
            p.addTo(sums, ROWS, integer, out);
        });
        passes.put("splitHeads", (p, out) -> p.splitHeads(sums, third, split, operands, out, key, value));
        // The factors stand behind the codes.
        passes.put(
                "softmaxNumerators",
                (p, out) -> p.softmaxNumerators(
                        sums, true, ROWS, WIDTH, 3e-5f, probability, out, out.asSlice(3L * ROWS * WIDTH)));
        passes.put("mergeNormalizedHeads", (p, out) -> p.mergeNormalizedHeads(sums, shape, 1e-3f, beta, code, out));
        passes.put("mergeHeads", (p, out) -> p.mergeHeads(sums, true, shape, 1e-5f, code, out));
        // One image of one window of two positions, of which one is padding; then two heads' scores of four positions.
        WindowShape one = new WindowShape(1, 1, 1, WIDTH / 3, 1, 2, new int[] {0, -1});
        WindowShape back = new WindowShape(1, ROWS, 1, WIDTH, 1, ROWS, new int[] {2, 0, 3, 1});
        WindowShape scores = new WindowShape(1, 9, 2, 1, 1, 9, new int[] {0, 1, 2, 3, 4, 5, 6, 7, 8});
        ScoreBias bias = new ScoreBias(x, x, new boolean[] {true});
        passes.put("splitWindows", (p, out) -> p.splitWindows(sums, one, split, operands, out, key, value));
        passes.put(
                "softmaxWindows",
                (p, out) -> p.softmaxWindows(sums, true, scores, 3e-5f, bias, probability, out, MemorySegment.NULL));
        passes.put(
                "numerators of windows",
                (p, out) -> p.softmaxWindows(sums, true, scores, 3e-5f, bias, probability, out, out.asSlice(164)));
        passes.put("mergeWindows", (p, out) -> p.mergeWindows(sums, true, back, 1e-5f, MemorySegment.NULL, code, out));
        passes.put("normalized mergeWindows", (p, out) -> p.mergeWindows(sums, true, back, 1e-3f, beta, code, out));
        passes.put("meanRows", (p, out) -> p.meanRows(x, ROWS, WIDTH, out));
        return passes;
    }
}
