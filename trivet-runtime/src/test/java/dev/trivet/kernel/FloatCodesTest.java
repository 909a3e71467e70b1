package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Products of bytes by float products are those of the reference, on every machine. */
class FloatCodesTest {
    /** Maps of 155 kB go one by one, of 10 kB in tens; 513 and 1,100 terms take two and three blocks. */
    @ParameterizedTest
    @CsvSource({
        "197, 197, 64, true, 7",
        "197, 64, 197, false, 7",
        "49, 49, 32, true, 61",
        "49, 32, 49, false, 61",
        "20, 33, 513, true, 3",
        "20, 33, 513, false, 3",
        "150, 300, 1100, true, 4",
        "150, 300, 1100, false, 4",
        "1, 5, 3, false, 1",
        "1, 5, 3, true, 0"
    })
    void aBatchIsThatOfTheReference(int m, int n, int k, boolean rightTransposed, int batch) {
        MatmulShape shape = new MatmulShape(m, n, k, rightTransposed);
        SplittableRandom random = new SplittableRandom(m + 7L * n + 31L * k);
        Kernels floats = new VectorKernels();
        Kernels reference = new ReferenceKernels();
        for (boolean leftSigned : new boolean[] {false, true}) {
            try (Arena arena = Arena.ofConfined();
                    Workspace workspace = floats.openWorkspace();
                    Workspace scalar = reference.openWorkspace()) {
                MemorySegment left = codes(arena, random, (long) batch * m * k);
                MemorySegment right = codes(arena, random, (long) batch * n * k);
                MemorySegment expected = arena.allocate(4L * batch * m * n + 4, 64);
                MemorySegment actual = arena.allocate(4L * batch * m * n + 4, 64);
                reference.integerMatmul(shape, leftSigned).run(scalar, left, right, batch, expected);
                FloatCodes.matmul(floats, shape, leftSigned).run(workspace, left, right, batch, actual);
                assertThat(actual.mismatch(expected)).isEqualTo(-1);
            }
        }
    }

    private static MemorySegment codes(Arena arena, SplittableRandom random, long count) {
        MemorySegment codes = arena.allocate(count + 1, 64);
        for (long i = 0; i < count; i++) {
            codes.set(JAVA_BYTE, i, (byte) random.nextInt(256));
        }
        return codes;
    }
}
