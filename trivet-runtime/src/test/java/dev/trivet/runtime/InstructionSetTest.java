package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.VitModel;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Integer results do not depend on the instruction set: oneDNN is limited by its own environment variable, in a process of its
 * own, and compared with the reference. Without VNNI, u8 x s8 saturates in 16 bits; the largest codes would show it. A limit
 * above what the CPU has changes nothing.
 */
class InstructionSetTest {
    @ParameterizedTest
    @ValueSource(strings = {"SSE41", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI", "DEFAULT"})
    void everyInstructionSetGivesTheReference(String isa) throws IOException, InterruptedException {
        // What the JVM itself may use, where the flag exists.
        String registers = isa.equals("SSE41") ? "0" : isa.startsWith("AVX2") ? "2" : "3";
        ProcessBuilder builder = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-XX:+IgnoreUnrecognizedVMOptions",
                        "-XX:UseAVX=" + registers,
                        "--enable-native-access=ALL-UNNAMED",
                        "-Xlog:disable",
                        "-Xlog:all=warning:stderr",
                        "--add-modules",
                        "jdk.incubator.vector",
                        "-cp",
                        System.getProperty("java.class.path"),
                        Probe.class.getName(),
                        Fixtures.golden("vit_micro").toString())
                .redirectError(ProcessBuilder.Redirect.INHERIT);
        builder.environment().put("ONEDNN_MAX_CPU_ISA", isa);
        Process process = builder.start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        System.out.println(isa + ": " + output.strip());
        assertThat(process.waitFor()).isZero();
        assertThat(output.lines()).last().isEqualTo("equal");
        boolean limited = isa.equals("SSE41") || isa.equals("AVX2") || isa.equals("AVX512_CORE");
        if (KernelSelection.get().kernels().name().equals("onednn")
                && System.getProperty("os.arch").equals("amd64")) {
            assertThat(output).startsWith("onednn");
            // What is left is the part of the limit that the CPU has: AVX2_VNNI is AVX2 where only AVX-512 has VNNI.
            boolean exact = output.contains("VNNI") || output.contains("AMX");
            assertThat(exact && limited).isFalse();
            assertThat(output.contains("windows of bytes for 8-bit weights: its int8 sums saturate"))
                    .isEqualTo(!exact);
            if (isa.equals("DEFAULT")) {
                assertThat(exact).isEqualTo(hasExactBytes());
            }
        }
    }

    private static boolean hasExactBytes() {
        return !KernelSelection.get().kernels().description().contains("int8 sums saturate");
    }

    /** Compares the selected kernels of a fresh process with the reference. */
    static final class Probe {
        private Probe() {}

        public static void main(String[] args) {
            Kernels kernels = KernelSelection.get().kernels();
            System.out.println(kernels.description());
            Kernels packing = kernels.packingWeights();
            VitModel model = Fixtures.load(Path.of(args[0]));
            // Weights of 7 bits never saturate, so products may end themselves on every instruction set.
            boolean equal = products(kernels)
                    && linear(packing, 5, 96, 513, Codes.NARROW, Codes.FOUR_BITS)
                    && logits(kernels, model, 8)
                    && logits(kernels, model, 7);
            System.out.println(equal ? "equal" : "different");
        }

        private static boolean products(Kernels kernels) {
            boolean equal = true;
            for (int k : new int[] {3, 64, 197, 512, 513, 1100}) {
                for (Codes codes : new Codes[] {Codes.ANY, Codes.EXTREME, Codes.NARROW}) {
                    Codes weights = codes == Codes.NARROW ? Codes.ANY : codes;
                    equal &= linear(kernels, 5, 33, k, codes, weights);
                    equal &= linear(kernels, 5, 33, k, codes, Codes.FOUR_BITS);
                    equal &= matmul(kernels, new MatmulShape(7, 18, k, true), codes, true);
                    equal &= matmul(kernels, new MatmulShape(7, 18, k, false), codes, false);
                }
            }
            return equal;
        }

        private static boolean linear(Kernels kernels, int rows, int outputs, int inputs, Codes codes, Codes weights) {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment in = codes.of(arena, rows * inputs, 1);
                MemorySegment weight = weights.of(arena, outputs * inputs, 2);
                byte[][] sums = new byte[2][];
                Kernels[] both = {kernels, new ReferenceKernels()};
                for (int i = 0; i < 2; i++) {
                    MemorySegment out = arena.allocate(4L * rows * outputs, 64);
                    try (Workspace workspace = both[i].openWorkspace();
                            Linear linear = both[i].integerLinear(weight, outputs, inputs, rows)) {
                        workspace.enter();
                        linear.run(workspace, in, rows, out);
                    }
                    sums[i] = out.toArray(JAVA_BYTE);
                }
                return Arrays.equals(sums[0], sums[1]);
            }
        }

        private static boolean matmul(Kernels kernels, MatmulShape shape, Codes codes, boolean leftSigned) {
            int batch = 2;
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment left = codes.of(arena, batch * shape.m() * shape.k(), 3);
                MemorySegment right = codes.of(arena, batch * shape.n() * shape.k(), 4);
                byte[][] sums = new byte[2][];
                Kernels[] both = {kernels, new ReferenceKernels()};
                for (int i = 0; i < 2; i++) {
                    MemorySegment out = arena.allocate(4L * batch * shape.m() * shape.n(), 64);
                    Matmul matmul = both[i].integerMatmul(shape, leftSigned);
                    try (Workspace workspace = both[i].openWorkspace()) {
                        workspace.enter();
                        matmul.run(workspace, left, right, batch, out);
                    }
                    sums[i] = out.toArray(JAVA_BYTE);
                }
                return Arrays.equals(sums[0], sums[1]);
            }
        }

        private enum Codes {
            ANY,
            /** Only those of the largest magnitude: 255 or -128 or 127, as they are read. */
            EXTREME,
            /** As activations are, most of them within a part of the range. */
            NARROW,
            /** As weights may be. */
            FOUR_BITS;

            MemorySegment of(Arena arena, int count, long seed) {
                SplittableRandom random = new SplittableRandom(seed);
                MemorySegment codes = arena.allocate(count, 64);
                byte[] largest = {(byte) 255, (byte) -128, 127};
                for (int i = 0; i < count; i++) {
                    int code = switch (this) {
                        case ANY -> random.nextInt(256);
                        case EXTREME -> largest[random.nextInt(3)];
                        case NARROW -> random.nextInt(20) > 0 ? random.nextInt(100, 160) : random.nextInt(256);
                        case FOUR_BITS -> random.nextInt(-8, 8);
                    };
                    codes.set(JAVA_BYTE, i, (byte) code);
                }
                return codes;
            }
        }

        private static boolean logits(Kernels kernels, VitModel model, int bits) {
            int values = 3 * model.vit().imageSize() * model.vit().imageSize();
            float[] noise = new float[values];
            SplittableRandom random = new SplittableRandom(5);
            for (int i = 0; i < values; i++) {
                noise[i] = (float) random.nextGaussian();
            }
            VitModel quantized = MaxScaling.quantize(model, noise, bits, false, true);
            float[][] logits = new float[2][];
            Kernels[] both = {kernels, new ReferenceKernels()};
            for (int i = 0; i < 2; i++) {
                try (ModelExecutor executor = ModelExecutor.compile(quantized, both[i], 1);
                        ModelSession session = executor.openSession()) {
                    MemorySegment input = session.allocateInput();
                    MemorySegment out = session.allocateLogits();
                    MemorySegment.copy(noise, 0, input, JAVA_FLOAT, 0, values);
                    session.run(input, 1, out, Optional.empty());
                    logits[i] = out.toArray(JAVA_FLOAT);
                }
            }
            return Arrays.equals(logits[0], logits[1]);
        }
    }
}
