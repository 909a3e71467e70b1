package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.lang.classfile.Attributes;
import java.lang.classfile.ClassFile;
import java.lang.classfile.MethodModel;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Sums by a product that saturates as {@code vpmaddubsw} does, so on every machine. */
class WindowedLinearTest {
    /** Bytecodes beyond which HotSpot inlines no method, however hot ({@code -XX:FreqInlineSize}). */
    private static final int INLINED = 325;

    /**
     * Were {@code correct} inlined where the product is called, HotSpot would come to the most nodes of a method in the middle of it and make objects of
     * registers from there on. Whether it does depends on what else the process runs, so what is tested is what keeps it from being inlined.
     */
    @Test
    void correctionsAreTooLargeToBeInlined() throws IOException {
        byte[] file;
        try (InputStream in = WindowedLinear.class.getResourceAsStream("WindowedLinear.class")) {
            file = Objects.requireNonNull(in).readAllBytes();
        }
        MethodModel correct = ClassFile.of().parse(file).methods().stream()
                .filter(method -> method.methodName().equalsString("correct"))
                .findFirst()
                .orElseThrow();
        assertThat(correct.findAttribute(Attributes.code()).orElseThrow().codeLength())
                .isGreaterThan(INLINED);
    }

    /** Products of two neighbouring inputs are added in 16 bits, and those sums in 32. */
    private static final class SaturatingLinear implements Linear {
        private final byte[] weight;
        private final int outputs;
        private final int inputs;
        private int runs;
        private boolean saturated;
        private boolean closed;

        SaturatingLinear(MemorySegment weight, int outputs, int inputs) {
            this.weight = weight.toArray(JAVA_BYTE);
            this.outputs = outputs;
            this.inputs = inputs;
        }

        @Override
        public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
            runs++;
            for (int m = 0; m < rows; m++) {
                for (int n = 0; n < outputs; n++) {
                    int sum = 0;
                    for (int k = 0; k < inputs; k += 2) {
                        int pair = term(in, m, n, k) + (k + 1 < inputs ? term(in, m, n, k + 1) : 0);
                        saturated |= pair != (short) pair;
                        sum += Math.clamp(pair, Short.MIN_VALUE, Short.MAX_VALUE);
                    }
                    out.setAtIndex(JAVA_INT, (long) m * outputs + n, sum);
                }
            }
        }

        private int term(MemorySegment in, int m, int n, int k) {
            return (in.get(JAVA_BYTE, (long) m * inputs + k) & 0xff) * weight[n * inputs + k];
        }

        @Override
        public long weightBytes() {
            return weight.length;
        }

        @Override
        public void close() {
            closed = true;
        }
    }

    /** Left codes around a middle, and now and then any. */
    private static MemorySegment codes(Arena arena, SplittableRandom random, int count, int middle, double any) {
        MemorySegment codes = arena.allocate(count, 64);
        for (int i = 0; i < count; i++) {
            boolean far = random.nextDouble() < any;
            int code = far ? random.nextInt(256) : middle + random.nextInt(-30, 31);
            codes.set(JAVA_BYTE, i, (byte) Math.clamp(code, 0, 255));
        }
        return codes;
    }

    private static MemorySegment weights(Arena arena, SplittableRandom random, int count, int lowest, int highest) {
        MemorySegment codes = arena.allocate(count, 64);
        for (int i = 0; i < count; i++) {
            codes.set(JAVA_BYTE, i, (byte) random.nextInt(lowest, highest + 1));
        }
        return codes;
    }

    @ParameterizedTest
    @CsvSource({
        // middle, share of any code, least and largest weight, products of a run
        "20, 0.05, -128, 127, 1",
        "128, 0.05, -128, 127, 1",
        "250, 0.05, -128, 127, 1",
        "128, 0, -128, 127, 1",
        "128, 0.1, -100, 127, 1",
        "128, 0.1, -128, -128, 1",
        "128, 0.6, -128, 127, 2",
        "128, 1, -128, 127, 2",
        "128, 1, -128, -128, 2",
        "128, 1, 127, 127, 2",
        "128, 1, -64, 64, 1",
        "128, 1, -1, 1, 1",
        "128, 1, 0, 0, 1"
    })
    void sumsAreExactAndNothingSaturates(int middle, double any, int lowest, int highest, int products) {
        SplittableRandom random = new SplittableRandom(middle + 7L * lowest);
        for (int inputs : new int[] {1, 2, 31, 64, 65, 200}) {
            for (int outputs : new int[] {1, 8, 33, 216}) { // four registers, one, and less
                for (int rows : new int[] {1, 40}) {
                    try (Arena arena = Arena.ofConfined();
                            Workspace workspace = new ReferenceKernels().openWorkspace()) {
                        MemorySegment in = codes(arena, random, rows * inputs, middle, any);
                        MemorySegment weight = weights(arena, random, outputs * inputs, lowest, highest);
                        MemorySegment expected = arena.allocate(4L * rows * outputs, 64);
                        MemorySegment actual = arena.allocate(4L * rows * outputs, 64);
                        try (Linear exact = new ReferenceKernels().integerLinear(weight, outputs, inputs, rows)) {
                            exact.run(workspace, in, rows, expected);
                        }
                        SaturatingLinear saturating = new SaturatingLinear(weight, outputs, inputs);
                        try (Linear windowed = WindowedLinear.of(saturating, weight, outputs, inputs)) {
                            windowed.run(workspace, in, rows, actual);
                            assertThat(actual.mismatch(expected)).isEqualTo(-1);
                            assertThat(saturating.saturated).isFalse();
                            if (inputs * rows > 1000
                                    && outputs > 8) { // few samples may look different, few weights have no large pairs
                                assertThat(saturating.runs).isEqualTo(products);
                            }
                        }
                        assertThat(saturating.closed).isTrue();
                    }
                }
            }
        }
    }

    /** The stub does saturate: 255 * 127 twice is 64,770, and 32,767 is what is left of it. */
    @Test
    void theProductAloneSaturates() {
        try (Arena arena = Arena.ofConfined();
                Workspace workspace = new ReferenceKernels().openWorkspace()) {
            MemorySegment in = arena.allocate(2).fill((byte) 255);
            MemorySegment weight = arena.allocate(2).fill((byte) 127);
            MemorySegment out = arena.allocate(4, 4);
            SaturatingLinear saturating = new SaturatingLinear(weight, 1, 2);
            saturating.run(workspace, in, 1, out);
            assertThat(out.get(JAVA_INT, 0)).isEqualTo(32767);
            try (Linear windowed = WindowedLinear.of(saturating, weight, 1, 2)) {
                windowed.run(workspace, in, 1, out);
            }
            assertThat(out.get(JAVA_INT, 0)).isEqualTo(64770);
        }
    }

    /** Both products at the very end of 16 bits: T is 127, what is cut is 128, and 128 * -128 twice is -32,768. */
    @Test
    void theSecondProductJustFits() {
        try (Arena arena = Arena.ofConfined();
                Workspace workspace = new ReferenceKernels().openWorkspace()) {
            MemorySegment in = arena.allocate(64);
            for (int i = 0; i < 64; i++) {
                in.set(JAVA_BYTE, i, i < 32 ? (byte) 0 : (byte) 255);
            }
            MemorySegment weight = arena.allocate(64).fill((byte) -128);
            MemorySegment out = arena.allocate(4, 4);
            SaturatingLinear saturating = new SaturatingLinear(weight, 1, 64);
            try (Linear windowed = WindowedLinear.of(saturating, weight, 1, 64)) {
                windowed.run(workspace, in, 1, out);
            }
            assertThat(out.get(JAVA_INT, 0)).isEqualTo(32 * 255 * -128);
            assertThat(saturating.runs).isEqualTo(2);
            assertThat(saturating.saturated).isFalse();
        }
    }

    /** Codes of 7 bits cannot saturate, so nothing is put before the product and nothing kept. */
    @Test
    void narrowWeightsNeedNothing() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment weight = arena.allocate(64).fill((byte) -64);
            SaturatingLinear saturating = new SaturatingLinear(weight, 1, 64);
            assertThat(WindowedLinear.of(saturating, weight, 1, 64)).isSameAs(saturating);
            weight.set(JAVA_BYTE, 5, (byte) -65);
            try (Linear windowed = WindowedLinear.of(saturating, weight, 1, 64)) {
                assertThat(windowed.weightBytes()).isEqualTo(64 + 64 + 4);
            }
        }
    }
}
