package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.quant.ActivationQuantizer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;
import jdk.incubator.vector.FloatVector;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** GELU of values that become bytes: by hand, and the vector pass against the reference, bit for bit. */
class ByteGeluTest {
    private static final List<ActivationQuantizer> QUANTIZERS = List.of(
            new ActivationQuantizer(0.03f, 6, 0, 255),
            // Cuts at both ends: GELU reaches down to -0.17.
            new ActivationQuantizer(0.004f, 30, 10, 120),
            new ActivationQuantizer(0.05f, -100, -128, 127),
            new ActivationQuantizer(3e-7f, 117, 0, 255),
            new ActivationQuantizer(40f, 0, 0, 15),
            new ActivationQuantizer(0.03f, 6, 0, 255, List.of(0, 3, 6, 7, 9, 15, 30, 100, 200, 255)));

    /** What a pass must not touch. */
    private static final byte GUARD = 77;

    /** By hand, in steps of a tenth from 20: GELU(-3) = -0.004, (-1) = -0.159, (0) = 0, (0.5) = 0.346, (2) = 1.954; 100 is cut. */
    @Test
    void codesOfKnownValues() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocateFrom(JAVA_FLOAT, -3, -1, 0, 0.5f, 2, 100, -1e30f, 1e30f);
            MemorySegment out = arena.allocate(8);
            new ReferencePointwise().gelu(values, 8, Operand.of(new ActivationQuantizer(0.1f, 20, 0, 255)), out);
            assertThat(out.toArray(JAVA_BYTE)).containsExactly(20, 18, 20, 23, 40, (byte) 255, 20, (byte) 255);
        }
    }

    /** Columns of wider rows; what stands beside them stays. */
    @ParameterizedTest
    @ValueSource(ints = {1, 8, 9, 16, 48, 64, 100, 1100})
    void columnsOfWiderRowsAreThoseOfRowsAlone(int columns) {
        int rows = 5;
        int first = 3;
        int stride = columns + 7;
        int valueStride = columns + 5;
        SplittableRandom random = new SplittableRandom(columns);
        List<Pointwise> all = VectorPointwise.SUPPORTED
                ? List.of(new ReferencePointwise(), new VectorPointwise())
                : List.of(new ReferencePointwise());
        try (Arena arena = Arena.ofConfined()) {
            // The last row ends with what is read of it.
            int count = (rows - 1) * valueStride + columns;
            MemorySegment values = arena.allocate(4L * count, 64);
            for (int i = 0; i < count; i++) {
                values.setAtIndex(JAVA_FLOAT, i, value(random));
            }
            for (ActivationQuantizer quantizer : QUANTIZERS) {
                Operand operand = Operand.of(quantizer);
                MemorySegment expected = arena.allocate((long) rows * stride).fill(GUARD);
                MemorySegment row = arena.allocate(columns);
                for (int r = 0; r < rows; r++) {
                    new ReferencePointwise()
                            .gelu(values.asSlice(4L * r * valueStride, 4L * columns), columns, operand, row);
                    MemorySegment.copy(row, 0, expected, (long) r * stride + first, columns);
                }
                for (Pointwise pointwise : all) {
                    MemorySegment out = arena.allocate((long) rows * stride).fill(GUARD);
                    pointwise.gelu(values, valueStride, rows, columns, operand, out, first, stride);
                    assertThat(out.toArray(JAVA_BYTE)).as(quantizer.toString()).isEqualTo(expected.toArray(JAVA_BYTE));
                    pointwise.gelu(values, valueStride, 0, columns, operand, out, first, stride);
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 7, 8, 9, 15, 16, 17, 31, 64, 200, 1500})
    void codesEqualTheReferenceBitForBit(int count) {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        SplittableRandom random = new SplittableRandom(count);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocate(4L * count, 64);
            for (ActivationQuantizer quantizer : QUANTIZERS) {
                for (int i = 0; i < count; i++) {
                    values.setAtIndex(JAVA_FLOAT, i, value(random));
                }
                byte[][] codes = new byte[2][];
                Pointwise[] both = {new ReferencePointwise(), new VectorPointwise()};
                for (int i = 0; i < 2; i++) {
                    MemorySegment out = arena.allocate(count + 128L).fill(GUARD);
                    both[i].gelu(values, count, Operand.of(quantizer), out.asSlice(64));
                    codes[i] = out.toArray(JAVA_BYTE);
                    assertThat(out.asSlice(0, 64).toArray(JAVA_BYTE)).containsOnly(GUARD);
                    assertThat(out.asSlice(64L + count).toArray(JAVA_BYTE)).containsOnly(GUARD);
                }
                assertThat(codes[1]).as(quantizer.toString()).isEqualTo(codes[0]);
            }
        }
    }

    /** Registers of 4 floats look coefficients up in two of them; a JVM of its own is held to such registers. */
    @Test
    void codesEqualTheReferenceInRegistersOfFour() throws IOException, InterruptedException {
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-XX:+IgnoreUnrecognizedVMOptions",
                        "-XX:MaxVectorSize=16",
                        "--add-modules",
                        "jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "-cp",
                        System.getProperty("java.class.path"),
                        RegistersOfFour.class.getName())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).isZero();
        assertThat(output.strip()).isEqualTo("4 floats: equal");
    }

    /** Says how many floats a register has, once all codes were equal. */
    static final class RegistersOfFour {
        private RegistersOfFour() {}

        public static void main(String[] args) {
            for (int count : new int[] {1, 3, 4, 5, 64, 1500}) {
                new ByteGeluTest().codesEqualTheReferenceBitForBit(count);
            }
            System.out.println(FloatVector.SPECIES_PREFERRED.length() + " floats: equal");
        }
    }

    /** Ordinary ones, borders of pieces and of the range, zeros, infinities, what no float32 activation should be. */
    private static float value(SplittableRandom random) {
        float sign = random.nextBoolean() ? 1 : -1;
        return sign
                * switch (random.nextInt(8)) {
                    case 0 -> (random.nextInt(8) + 0.5f) / 1.5f + random.nextInt(-2, 3) * 1e-7f;
                    case 1 -> 4.99f + random.nextInt(-2, 3) * 5e-7f;
                    case 2 -> 0f;
                    case 3 -> Float.POSITIVE_INFINITY;
                    case 4 -> (float) Math.exp(random.nextDouble(-90, 88));
                    default -> (float) random.nextDouble(0, 6);
                };
    }

    /** One workspace serves layers with operands of their own. */
    @Test
    void operandsMayAlternate() {
        Assumptions.assumeTrue(VectorPointwise.SUPPORTED);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = KernelParityTest.randomFloats(arena, new SplittableRandom(1), 100, 3);
            Pointwise reference = new ReferencePointwise();
            Pointwise vector = new VectorPointwise();
            for (int turn = 0; turn < 3; turn++) {
                for (ActivationQuantizer quantizer : QUANTIZERS) {
                    Operand operand = Operand.of(quantizer);
                    MemorySegment a = arena.allocate(100);
                    MemorySegment b = arena.allocate(100);
                    reference.gelu(values, 100, operand, a);
                    vector.gelu(values, 100, operand, b);
                    assertThat(b.mismatch(a)).isEqualTo(-1);
                }
            }
        }
    }
}
