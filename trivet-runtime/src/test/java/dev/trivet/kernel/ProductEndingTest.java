package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What follows a product gives the reference's bits, whether a provider leaves it to the product or not. */
class ProductEndingTest {
    private static final Operand SIGNED = Operand.of(new ActivationQuantizer(0.02f, 0, -128, 127));
    private static final Operand HIDDEN = Operand.of(new ActivationQuantizer(0.013f, 17, 0, 255));
    private static final Operand FINE = Operand.of(new ActivationQuantizer(0.002f, 117, 0, 255));

    @ParameterizedTest
    @CsvSource({
        "1, 48, 16",
        "5, 33, 24",
        "7, 96, 40",
        "64, 144, 48",
        "197, 192, 64",
        "3, 9, 5",
        "290, 1024, 64",
        "17, 96, 128",
        "197, 384, 256"
    })
    void everyProviderEndsProductsAsTheReferenceDoes(int rows, int outputs, int inputs) {
        try (Arena arena = Arena.ofConfined();
                Kernels reference = new ReferenceKernels()) {
            SplittableRandom random = new SplittableRandom(rows);
            byte[] codes = new byte[outputs * inputs];
            random.nextBytes(codes);
            byte[] input = new byte[rows * Math.max(inputs, outputs)];
            random.nextBytes(input);
            int[] sums = new int[outputs];
            float[] scale = new float[outputs];
            float[] bias = new float[outputs];
            for (int n = 0; n < outputs; n++) {
                scale[n] = (float) (1e-4 * (0.5 + random.nextDouble()));
                bias[n] = (float) (random.nextDouble() - 0.5);
                for (int k = 0; k < inputs; k++) {
                    sums[n] += codes[n * inputs + k];
                }
            }
            Product product = Product.ofIntegers(117, sums, scale, bias, arena);
            List<byte[]> expected = ended(reference, product, codes, input, rows, 0, 0, outputs, inputs);
            for (Kernels kernels : KernelParityTest.providers().toList()) {
                for (Kernels form : List.of(kernels, kernels.packingWeights())) {
                    for (int room : new int[] {0, Linear.ROW_TILE - 1}) {
                        for (int gap : new int[] {0, 64}) {
                            List<byte[]> actual = ended(form, product, codes, input, rows, room, gap, outputs, inputs);
                            for (int i = 0; i < expected.size(); i++) {
                                assertThat(actual.get(i))
                                        .as(form.description() + ", room for " + room + " rows more, rows " + gap
                                                + " apart, ending " + i)
                                        .isEqualTo(expected.get(i));
                            }
                        }
                    }
                }
            }
        }
    }

    /**
     * What each ending writes, in rows that follow each other.
     *
     * @param room rows for which there is memory behind those that are computed
     * @param gap elements between the rows that are written
     */
    private static List<byte[]> ended(
            Kernels kernels,
            Product product,
            byte[] codes,
            byte[] input,
            int rows,
            int room,
            int gap,
            int outputs,
            int inputs) {
        try (Arena arena = Arena.ofConfined();
                Workspace workspace = kernels.openWorkspace();
                Linear linear = kernels.integerLinear(arena.allocateFrom(JAVA_BYTE, codes), outputs, inputs, rows)) {
            workspace.enter();
            int count = rows * outputs;
            int inStride = Math.max(inputs, linear.inputStride());
            int outStride = outputs + gap;
            long more = (long) room * Math.max(inStride, outputs);
            // Room for rows apart, or just enough.
            MemorySegment raw =
                    arena.allocate(4 * (count + more + (long) Math.min(gap, Linear.STRIDE_ROOM) * (rows + room)), 64);
            MemorySegment residual = arena.allocate(4 * ((long) rows * outStride + more), 64);
            for (int i = 0; i < count; i++) {
                residual.setAtIndex(JAVA_FLOAT, i / outputs * outStride + i % outputs, i % 13 - 6.3f);
            }
            MemorySegment in = arena.allocate((long) rows * Math.max(inStride, outStride) + more, 64);
            for (int r = 0; r < rows; r++) {
                MemorySegment.copy(input, r * inputs, in, JAVA_BYTE, (long) r * inStride, inputs);
            }
            linear.addTo(workspace, in, rows, product, raw, residual, outStride);
            MemorySegment hidden = arena.allocate((long) rows * outStride, 64);
            MemorySegment fine = arena.allocate((long) rows * outStride, 64);
            linear.gelu(workspace, in, rows, product, HIDDEN.withStride(outStride), raw, hidden);
            linear.gelu(workspace, in, rows, product, FINE.withStride(outStride), raw, fine);
            byte[] split = {};
            if (outputs % 3 == 0) {
                AttentionOperands operands = new AttentionOperands(SIGNED, SIGNED, SIGNED);
                Requantization requantization =
                        Requantization.of(product, operands, arena).orElseThrow();
                split = rows(
                        linear.requantize(workspace, in, rows, requantization.withStride(outStride), raw),
                        rows,
                        outputs,
                        outStride);
            }
            return List.of(
                    rows(residual, rows, 4 * outputs, 4 * outStride),
                    rows(hidden, rows, outputs, outStride),
                    rows(fine, rows, outputs, outStride),
                    split);
        }
    }

    private static byte[] rows(MemorySegment bytes, int rows, int columns, int stride) {
        byte[] dense = new byte[rows * columns];
        for (int r = 0; r < rows; r++) {
            MemorySegment.copy(bytes, JAVA_BYTE, (long) r * stride, dense, r * columns, columns);
        }
        return dense;
    }

    /** GELU may write over the rows that its product reads, also where outputs come in turns (1.2 MB of values). */
    @ParameterizedTest
    @ValueSource(ints = {255, 1023}) // codes of one byte and of two
    void geluMayWriteOverItsInput(int high) {
        int rows = 290;
        int outputs = 1024;
        int inputs = 64;
        Operand form = Operand.of(new ActivationQuantizer(0.002f, 0, 0, high));
        SplittableRandom random = new SplittableRandom(high);
        byte[] codes = new byte[outputs * inputs];
        random.nextBytes(codes);
        byte[] input = new byte[rows * inputs];
        random.nextBytes(input);
        float[] scale = new float[outputs];
        Arrays.fill(scale, 2e-4f);
        int written = rows * outputs * form.bytes();
        try (Arena arena = Arena.ofConfined()) {
            Product product = Product.ofIntegers(0, new int[outputs], scale, new float[outputs], arena);
            MemorySegment raw = arena.allocate(4L * rows * outputs, 64);
            MemorySegment memory = arena.allocate(2L * written, 64);
            for (Kernels kernels : KernelParityTest.providers().toList()) {
                try (Workspace workspace = kernels.openWorkspace();
                        Linear linear =
                                kernels.integerLinear(arena.allocateFrom(JAVA_BYTE, codes), outputs, inputs, rows)) {
                    workspace.enter();
                    byte[] expected = {};
                    // Behind what is written; then within, at its begin, its middle, and behind as many bytes as there
                    // are codes.
                    for (int at : new int[] {written, 0, rows * outputs / 2, rows * outputs}) {
                        MemorySegment in = memory.asSlice(at);
                        in.copyFrom(MemorySegment.ofArray(input));
                        linear.gelu(workspace, in, rows, product, form, raw, memory);
                        byte[] actual = memory.asSlice(0, written).toArray(JAVA_BYTE);
                        if (expected.length == 0) {
                            expected = actual;
                        }
                        assertThat(Arrays.equals(actual, expected))
                                .as(kernels.name() + ", rows at " + at)
                                .isTrue();
                    }
                }
            }
        }
    }

    /** 6 * 0.5 - 1 = 2 of steps of 0.02, and so on; the zero point 10 of the input takes 10 * 3 * 0.5 from the second column. */
    @Test
    void valuesAndCodesWorkedByHand() {
        try (Arena arena = Arena.ofConfined()) {
            Product product = Product.ofIntegers(
                    10, new int[] {0, 3, 0}, new float[] {0.5f, 0.5f, 0.01f}, new float[] {-1, 1, 0}, arena);
            MemorySegment raw = arena.allocateFrom(JAVA_INT, 6, 30, -100, 5, 36, 1000);
            Operand half = Operand.of(new ActivationQuantizer(0.5f, 0, -128, 127));
            Operand tenth = Operand.of(new ActivationQuantizer(0.0625f, 0, -128, 127));
            Requantization codes = Requantization.of(product, new AttentionOperands(half, half, tenth), arena)
                    .orElseThrow();
            for (Pointwise pointwise : List.of(new ReferencePointwise(), new VectorPointwise())) {
                MemorySegment values = arena.allocate(24, 64);
                pointwise.decode(raw, 2, product, values);
                assertThat(values.toArray(JAVA_FLOAT)).containsExactly(2, 1, -1, 1.5f, 4, 10);
                MemorySegment bytes = arena.allocate(6, 64);
                pointwise.requantize(raw, 2, codes, bytes);
                assertThat(bytes.toArray(JAVA_BYTE)).containsExactly(4, 2, -16, 3, 8, 127);
            }
        }
    }

    @Test
    void onlyWholeSignedBytesAreRequantizedAtOnce() {
        try (Arena arena = Arena.ofConfined()) {
            Product product = Product.ofIntegers(0, new int[3], new float[] {1, 1, 1}, new float[] {0, 0, 0}, arena);
            Operand six = Operand.of(new ActivationQuantizer(0.02f, 0, -32, 31));
            Operand ten = Operand.of(new ActivationQuantizer(0.02f, 0, -512, 511));
            for (Operand other : List.of(six, ten, HIDDEN, Operand.FLOAT)) {
                assertThat(Requantization.of(product, new AttentionOperands(SIGNED, other, SIGNED), arena))
                        .isEmpty();
            }
            Product floats = Product.ofFloats(3, product.bias());
            assertThat(Requantization.of(floats, new AttentionOperands(SIGNED, SIGNED, SIGNED), arena))
                    .isEmpty();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {5, 16, 24, 32, 48, 64, 80, 115})
    void integersAndCodesSplitAndJoinAsTheReferenceDoes(int headWidth) {
        AttentionShape shape = new AttentionShape(2, 5, 3, headWidth);
        // Four windows of two positions: one token is padding, tokens are out of order.
        WindowShape windows = new WindowShape(2, 7, 3, headWidth, 4, 2, new int[] {6, 2, 0, -1, 4, 1, 3, 5});
        try (Arena arena = Arena.ofConfined()) {
            SplittableRandom random = new SplittableRandom(headWidth);
            int width = shape.width();
            int[] sums = random.ints(2L * 7 * 3 * width, -200_000, 200_000).toArray();
            float[] scale = new float[3 * width];
            Arrays.fill(scale, 2e-5f);
            float[] bias = new float[3 * width];
            for (int i = 0; i < bias.length; i++) {
                bias[i] = i % 11 * 0.1f - 0.4f;
            }
            Product product = Product.ofIntegers(3, new int[3 * width], scale, bias, arena);
            MemorySegment raw = arena.allocateFrom(JAVA_INT, sums);
            byte[] bytes = new byte[sums.length];
            random.nextBytes(bytes);
            MemorySegment codes = arena.allocateFrom(JAVA_BYTE, bytes);
            Operand picked = Operand.of(new ActivationQuantizer(0.01f, 0, -70, 90, List.of(-70, -5, 0, 90)));
            MemorySegment factors = arena.allocateFrom(JAVA_FLOAT, factors(2 * 4 * 2 * 3));
            Operand joined = Operand.of(new ActivationQuantizer(0.03f, 99, 0, 255));
            for (AttentionOperands operands : List.of(
                    new AttentionOperands(SIGNED, HIDDEN, SIGNED), new AttentionOperands(picked, SIGNED, HIDDEN))) {
                sameParts(
                        arena,
                        windows,
                        (p, out) -> p.splitHeads(raw, shape, product, operands, out[0], out[1], out[2]));
                sameParts(
                        arena,
                        windows,
                        (p, out) -> p.splitWindows(raw, windows, product, operands, out[0], out[1], out[2]));
                sameParts(
                        arena,
                        windows,
                        (p, out) -> p.splitWindowCodes(codes, windows, product, operands, out[0], out[1], out[2]));
            }
            sameParts(arena, windows, (p, out) -> p.splitHeads(codes, shape, out[0], out[1], out[2]));
            sameParts(arena, windows, (p, out) -> p.mergeHeads(raw, true, shape, 1e-5f, joined, out[0]));
            sameParts(arena, windows, (p, out) -> p.mergeNormalizedHeads(raw, shape, 1e-3f, factors, joined, out[0]));
            sameParts(arena, windows, (p, out) -> p.mergeWindows(raw, true, windows, 1e-3f, factors, joined, out[0]));
            sameParts(
                    arena,
                    windows,
                    (p, out) -> p.mergeWindows(raw, true, windows, 1e-5f, MemorySegment.NULL, joined, out[0]));
        }
    }

    private static float[] factors(int count) {
        float[] factors = new float[count];
        for (int i = 0; i < count; i++) {
            factors[i] = 0.001f * (i % 9 + 1);
        }
        return factors;
    }

    @FunctionalInterface
    private interface Parts {
        void run(Pointwise pointwise, MemorySegment[] out);
    }

    private static void sameParts(Arena arena, WindowShape shape, Parts parts) {
        long bytes = 2L * 4 * 2 * shape.width();
        MemorySegment[][] outs = new MemorySegment[2][3];
        for (MemorySegment[] out : outs) {
            Arrays.setAll(out, i -> arena.allocate(bytes, 64));
        }
        parts.run(new ReferencePointwise(), outs[0]);
        parts.run(new VectorPointwise(), outs[1]);
        for (int i = 0; i < 3; i++) {
            assertThat(outs[1][i].toArray(JAVA_BYTE)).isEqualTo(outs[0][i].toArray(JAVA_BYTE));
        }
    }
}
