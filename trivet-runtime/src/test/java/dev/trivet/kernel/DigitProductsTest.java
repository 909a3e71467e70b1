package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Products of nine and ten bits against sums in plain 64-bit arithmetic, extreme codes included. */
class DigitProductsTest {
    private static final int ROWS = 5;
    private static final int OUTPUTS = 33;
    private static final int INPUTS = 47;

    private static Stream<Kernels> providers() {
        return Stream.concat(Stream.of(new ReferenceKernels()), KernelParityTest.providers());
    }

    private static int[] codes(SplittableRandom random, int count, int lowest, int highest) {
        return random.ints(count, 0, 10)
                .map(choice -> choice == 0 ? lowest : choice == 1 ? highest : random.nextInt(lowest, highest + 1))
                .toArray();
    }

    private static MemorySegment store(Arena arena, int[] codes, boolean wide) {
        MemorySegment s = arena.allocate((wide ? 2L : 1L) * codes.length, 64);
        for (int i = 0; i < codes.length; i++) {
            if (wide) {
                s.setAtIndex(JAVA_SHORT, i, (short) codes[i]);
            } else {
                s.set(JAVA_BYTE, i, (byte) codes[i]);
            }
        }
        return s;
    }

    @ParameterizedTest
    @CsvSource({"8, 8", "8, 10", "10, 8", "9, 9", "10, 10", "4, 10", "10, 2"})
    void linearIsExact(int weightBits, int inputBits) {
        SplittableRandom random = new SplittableRandom(3);
        int half = 1 << (weightBits - 1);
        int[] w = codes(random, OUTPUTS * INPUTS, -half, half - 1);
        int[] x = codes(random, ROWS * INPUTS, 0, (1 << inputBits) - 1);
        int[] expected = new int[ROWS * OUTPUTS];
        for (int m = 0; m < ROWS; m++) {
            for (int n = 0; n < OUTPUTS; n++) {
                long sum = 0;
                for (int k = 0; k < INPUTS; k++) {
                    sum += (long) x[m * INPUTS + k] * w[n * INPUTS + k];
                }
                expected[m * OUTPUTS + n] = Math.toIntExact(sum);
            }
        }
        for (Kernels kernels : providers().toList()) {
            try (Arena arena = Arena.ofConfined();
                    Workspace workspace = kernels.openWorkspace();
                    Linear linear = DigitProducts.linear(
                            kernels,
                            store(arena, w, weightBits > 8),
                            weightBits > 8,
                            OUTPUTS,
                            INPUTS,
                            ROWS,
                            inputBits > 8)) {
                MemorySegment out = arena.allocate(4L * expected.length, 64);
                linear.run(workspace, store(arena, x, inputBits > 8), ROWS, out);
                assertThat(out.toArray(JAVA_INT)).as(kernels.name()).isEqualTo(expected);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"8, 8, true", "8, 10, true", "10, 8, true", "10, 10, true", "9, 10, false", "10, 7, false"})
    void matmulIsExact(int leftBits, int rightBits, boolean leftSigned) {
        SplittableRandom random = new SplittableRandom(4);
        int batch = 2;
        int leftHalf = 1 << (leftBits - 1);
        ActivationQuantizer left = leftSigned
                ? new ActivationQuantizer(1, 0, -leftHalf, leftHalf - 1)
                : new ActivationQuantizer(1, 0, 0, 2 * leftHalf - 1);
        int rightHalf = 1 << (rightBits - 1);
        ActivationQuantizer right = new ActivationQuantizer(1, 0, -rightHalf, rightHalf - 1);
        int[] a = codes(random, batch * ROWS * INPUTS, left.lowest(), left.highest());
        int[] b = codes(random, batch * OUTPUTS * INPUTS, right.lowest(), right.highest());
        int[] expected = new int[batch * ROWS * OUTPUTS];
        for (int i = 0; i < expected.length; i++) {
            int n = i % OUTPUTS;
            int m = i / OUTPUTS % ROWS;
            int g = i / OUTPUTS / ROWS;
            long sum = 0;
            for (int k = 0; k < INPUTS; k++) {
                sum += (long) a[(g * ROWS + m) * INPUTS + k] * b[(g * OUTPUTS + n) * INPUTS + k];
            }
            expected[i] = Math.toIntExact(sum);
        }
        for (Kernels kernels : providers().toList()) {
            try (Arena arena = Arena.ofConfined();
                    Workspace workspace = kernels.openWorkspace()) {
                MemorySegment out = arena.allocate(4L * expected.length, 64);
                MatmulShape shape = new MatmulShape(ROWS, OUTPUTS, INPUTS, true);
                DigitProducts.matmul(kernels, shape, Operand.of(left), Operand.of(right))
                        .run(workspace, store(arena, a, left.wide()), store(arena, b, right.wide()), batch, out);
                assertThat(out.toArray(JAVA_INT)).as(kernels.name()).isEqualTo(expected);
            }
        }
    }
}
