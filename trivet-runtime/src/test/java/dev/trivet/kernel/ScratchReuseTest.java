package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Products share a workspace's scratch memory, and must not see what others left there. With AMX, oneDNN 3.11 multiplies what stands behind a right operand's last
 * rows in its scratch copy, where the summed dimension is over 64 and ends within a tile.
 */
class ScratchReuseTest {
    private static final ReferenceKernels REFERENCE = new ReferenceKernels();
    private static final int BATCH = 3;

    /** Heads side by side, as DeiT's queries, keys and values stand; on AMX with places for whole tiles of keys. */
    @ParameterizedTest
    @CsvSource({"3, 197, 208, 64", "2, 197, 197, 64", "2, 104, 112, 32", "4, 65, 80, 64"})
    void headsSideBySideAreMultipliedInPlace(int heads, int tokens, int keys, int width) {
        int stride = 3 * heads * width;
        for (Kernels kernels : KernelParityTest.providers().toList()) {
            if (!kernels.multipliesSideBySide(1 << 20)) {
                continue;
            }
            try (Arena arena = Arena.ofConfined();
                    Workspace reference = REFERENCE.openWorkspace();
                    Workspace workspace = kernels.openWorkspace()) {
                SplittableRandom random = new SplittableRandom(6);
                MemorySegment codes = KernelParityTest.randomBytes(arena, random, (long) keys * stride);
                MemorySegment numerators = KernelParityTest.randomBytes(arena, random, (long) heads * tokens * keys);
                MatmulShape scores = new MatmulShape(tokens, keys, width, true, stride, stride);
                MatmulShape mixing = new MatmulShape(tokens, width, keys, false, 0, stride);
                MemorySegment expected = arena.allocate(4L * heads * tokens * keys, 64);
                MemorySegment actual = arena.allocate(4L * heads * tokens * keys, 64);
                MemorySegment key = codes.asSlice((long) heads * width);
                MemorySegment value = codes.asSlice(2L * heads * width);
                for (int again = 0; again < 2; again++) {
                    REFERENCE.integerMatmul(scores, true).run(reference, codes, key, heads, expected);
                    kernels.integerMatmul(scores, true).run(workspace, codes, key, heads, actual);
                    assertThat(actual.mismatch(expected)).isEqualTo(-1);
                    REFERENCE.integerMatmul(mixing, false).run(reference, numerators, value, heads, expected);
                    kernels.integerMatmul(mixing, false).run(workspace, numerators, value, heads, actual);
                    assertThat(actual.mismatch(expected)).isEqualTo(-1);
                }
                // Head 1, query 2, key 3, by hand.
                REFERENCE.integerMatmul(scores, true).run(reference, codes, key, heads, expected);
                int sum = 0;
                for (int k = 0; k < width; k++) {
                    sum += codes.get(JAVA_BYTE, 2L * stride + width + k)
                            * codes.get(JAVA_BYTE, 3L * stride + (long) heads * width + width + k);
                }
                assertThat(expected.getAtIndex(JAVA_INT, ((long) tokens + 2) * keys + 3))
                        .isEqualTo(sum);
            }
        }
    }

    @Test
    void whoDoesNotMultiplySideBySideRefusesTo() {
        MatmulShape scores = new MatmulShape(3, 4, 8, true, 48, 48);
        try (Kernels vector = new VectorKernels()) {
            assertThatThrownBy(() -> vector.integerMatmul(scores, true)).isInstanceOf(IllegalArgumentException.class);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "197, 64, 197, false",
        "197, 64, 197, true",
        "64, 48, 65, false",
        "104, 64, 577, false",
        "208, 197, 64, true",
        "49, 32, 49, false",
        "49, 49, 32, true"
    })
    void productDoesNotSeeWhatAnotherLeft(int m, int n, int k, boolean transposed) {
        for (Kernels kernels : KernelParityTest.providers().toList()) {
            try (Arena arena = Arena.ofConfined();
                    Workspace reference = REFERENCE.openWorkspace();
                    Workspace workspace = kernels.openWorkspace()) {
                SplittableRandom random = new SplittableRandom(5);
                MatmulShape shape = new MatmulShape(m, n, k, transposed);
                MemorySegment left = KernelParityTest.randomBytes(arena, random, (long) BATCH * m * k);
                MemorySegment right = KernelParityTest.randomBytes(arena, random, (long) BATCH * n * k);
                MemorySegment expected = arena.allocate(4L * BATCH * m * n, 64);
                MemorySegment actual = arena.allocate(4L * BATCH * m * n, 64);
                REFERENCE.integerMatmul(shape, false).run(reference, left, right, BATCH, expected);
                Matmul product = kernels.integerMatmul(shape, false);
                product.run(workspace, left, right, BATCH, actual);

                // Whole tiles of another product, so that scratch memory is full of its codes.
                int whole = Math.ceilDiv(k, 64) * 64;
                MatmulShape other = new MatmulShape(m, n, whole, transposed);
                MemorySegment otherLeft = KernelParityTest.randomBytes(arena, random, (long) BATCH * m * whole);
                MemorySegment otherRight = KernelParityTest.randomBytes(arena, random, (long) BATCH * n * whole);
                MemorySegment otherOut = arena.allocate(4L * BATCH * m * n, 64);
                kernels.integerMatmul(other, false).run(workspace, otherLeft, otherRight, BATCH, otherOut);

                for (int again = 0; again < 2; again++) {
                    product.run(workspace, left, right, BATCH, actual);
                    assertThat(actual.mismatch(expected)).as(kernels.name()).isEqualTo(-1);
                }
            }
        }
    }
}
