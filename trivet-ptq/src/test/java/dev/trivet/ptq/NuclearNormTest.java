package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.BadInputException;
import java.lang.foreign.Arena;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class NuclearNormTest {
    private static float[] noise(int count, long seed) {
        Random random = new Random(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    private static double frobenius(float[] matrix) {
        double squares = 0;
        for (float value : matrix) {
            squares += (double) value * value;
        }
        return Math.sqrt(squares);
    }

    /** A'A = [[25, 20], [20, 25]] has the eigenvalues 45 and 5. */
    @Test
    void handWorkedMatrix() {
        assertThat(NuclearNorm.of(new float[] {3, 0, 4, 5}, 2, 2))
                .isCloseTo(3 * Math.sqrt(5) + Math.sqrt(5), within(1e-9));
    }

    @Test
    void diagonalCountsMagnitudes() {
        assertThat(NuclearNorm.of(new float[] {2, 0, 0, 0, -3, 0, 0, 0, 0.5f}, 3, 3))
                .isCloseTo(5.5, within(1e-9));
        assertThat(NuclearNorm.of(new float[6], 2, 3)).isZero();
        assertThat(NuclearNorm.of(new float[] {-7}, 1, 1)).isEqualTo(7);
    }

    /** |u| |v| = 3 * 5 for u = (1, 2, 2), v = (3, 0, 4, 0). */
    @Test
    void rankOneIsTheProductOfTheLengths() {
        float[] matrix = {3, 0, 4, 0, 6, 0, 8, 0, 6, 0, 8, 0};
        assertThat(NuclearNorm.of(matrix, 3, 4)).isCloseTo(15, within(1e-9));
    }

    /** Attention that looks at every token alike: 1/n everywhere, whose one singular value is 1; at one token only: n. */
    @Test
    void attentionMaps() {
        int tokens = 197;
        float[] uniform = new float[tokens * tokens];
        float[] identity = new float[tokens * tokens];
        for (int i = 0; i < uniform.length; i++) {
            uniform[i] = 1f / tokens;
            identity[i] = i % (tokens + 1) == 0 ? 1 : 0;
        }
        assertThat(NuclearNorm.of(uniform, tokens, tokens)).isCloseTo(1, within(1e-6));
        assertThat(NuclearNorm.of(identity, tokens, tokens)).isCloseTo(tokens, within(1e-9));
    }

    /** A rotation by 0.3 in one plane, a swap of signs in the third direction, times 4. */
    @Test
    void orthogonalMatrixHasOneSingularValue() {
        float c = 4 * (float) Math.cos(0.3);
        float s = 4 * (float) Math.sin(0.3);
        assertThat(NuclearNorm.of(new float[] {c, -s, 0, s, c, 0, 0, 0, -4}, 3, 3))
                .isCloseTo(12, within(1e-6));
    }

    /** (s1 + s2)^2 = s1^2 + s2^2 + 2 s1 s2 = |A|_F^2 + 2 |det A|. */
    @Property(tries = 200)
    void closedFormOfTwoRows(@ForAll long seed) {
        float[] a = noise(4, seed);
        double det = (double) a[0] * a[3] - (double) a[1] * a[2];
        double expected = Math.sqrt(frobenius(a) * frobenius(a) + 2 * Math.abs(det));
        assertThat(NuclearNorm.of(a, 2, 2)).isCloseTo(expected, within(1e-9 * (1 + expected)));
    }

    @Property(tries = 100)
    void liesBetweenItsBoundsAndIgnoresTransposition(
            @ForAll long seed,
            @ForAll @IntRange(min = 1, max = 40) int rows,
            @ForAll @IntRange(min = 1, max = 40) int columns) {
        float[] matrix = noise(rows * columns, seed);
        float[] transposed = new float[matrix.length];
        for (int i = 0; i < matrix.length; i++) {
            transposed[i % columns * rows + i / columns] = matrix[i];
        }
        double norm = NuclearNorm.of(matrix, rows, columns);
        assertThat(norm).isGreaterThanOrEqualTo(frobenius(matrix) * (1 - 1e-12));
        assertThat(norm).isLessThanOrEqualTo(Math.sqrt(Math.min(rows, columns)) * frobenius(matrix) * (1 + 1e-12));
        assertThat(NuclearNorm.of(transposed, columns, rows)).isCloseTo(norm, within(1e-9 * norm));
    }

    /** A product of n x r and r x n noise has rank r, whatever its size. */
    @Property(tries = 30)
    void lowRankTightensTheUpperBound(@ForAll long seed, @ForAll @IntRange(min = 1, max = 5) int rank) {
        int side = 49;
        float[] left = noise(side * rank, seed);
        float[] right = noise(side * rank, ~seed);
        float[] matrix = new float[side * side];
        for (int i = 0; i < matrix.length; i++) {
            for (int r = 0; r < rank; r++) {
                matrix[i] += left[i / side * rank + r] * right[i % side * rank + r];
            }
        }
        assertThat(NuclearNorm.of(matrix, side, side))
                .isBetween(frobenius(matrix) * (1 - 1e-12), Math.sqrt(rank) * frobenius(matrix) * (1 + 1e-5));
    }

    @Test
    void readsOffHeapMatricesWithoutChangingThem() {
        float[] matrix = noise(12, 5);
        try (Arena arena = Arena.ofConfined()) {
            var segment = arena.allocateFrom(JAVA_FLOAT, matrix);
            assertThat(NuclearNorm.of(segment, 3, 4)).isEqualTo(NuclearNorm.of(matrix.clone(), 3, 4));
            assertThat(segment.toArray(JAVA_FLOAT)).isEqualTo(matrix);
        }
        float[] kept = matrix.clone();
        NuclearNorm.of(matrix, 4, 3);
        assertThat(matrix).isEqualTo(kept);
    }

    @Test
    void overflowIsNamed() {
        for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
            assertThatThrownBy(() -> NuclearNorm.of(new float[] {1, bad, 3, 4}, 2, 2))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining("overflow");
        }
    }
}
