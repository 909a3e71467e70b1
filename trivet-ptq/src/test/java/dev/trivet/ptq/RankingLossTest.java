package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Random;
import java.util.Set;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class RankingLossTest {
    private static MemorySegment segment(float... values) {
        return MemorySegment.ofArray(values);
    }

    private static float[] noise(int count, double spread, long seed) {
        Random random = new Random(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (spread * random.nextGaussian());
        }
        return values;
    }

    private static float[] sum(float[] a, float[] b) {
        float[] sum = a.clone();
        for (int i = 0; i < a.length; i++) {
            sum[i] += b[i];
        }
        return sum;
    }

    /** Eq. (13) word for word. */
    private static double literal(float[] reference, float[] candidate, int heads, int tokens) {
        double sum = 0;
        for (int k = 0; k < heads * tokens; k++) {
            for (int i = 0; i < tokens - 1; i++) {
                for (int j = i + 1; j < tokens; j++) {
                    double p = ((double) candidate[k * tokens + i] - candidate[k * tokens + j])
                            * Math.signum((double) reference[k * tokens + i] - reference[k * tokens + j]);
                    sum += Math.max(0.2 - p, 0);
                }
            }
        }
        return sum;
    }

    private static RankingLoss whole(int tokens, RankReduction reduction) {
        return new RankingLoss(tokens, 1, tokens, tokens * tokens, RankingLoss.THETA, reduction);
    }

    /**
     * <pre>
     * row 0: A 0 1 2, Q 0 1 2          in order, margins 1 1 2:                0 + 0 + 0
     * row 1: A 0 1 2, Q 0 1 0.9        pair (1,2) inverted by 0.1:             0 + 0 + 0.3
     * row 2: A 3 3 1, Q 5 4 3.9        pair (0,1) ties in A, (1,2) by 0.1:     0.2 + 0 + 0.1
     * </pre>
     */
    @Test
    void handWorkedMap() {
        MemorySegment a = segment(0, 1, 2, 0, 1, 2, 3, 3, 1);
        MemorySegment q = segment(0, 1, 2, 0, 1, 0.9f, 5, 4, 3.9f);
        RankingLoss sum = new RankingLoss(3, 7, RankReduction.SUM);
        RankingLoss mean = new RankingLoss(3, 7, RankReduction.MEAN);
        assertThat(sum.rows()).containsExactly(0, 1, 2);
        assertThat(sum.pairsPerRow()).isEqualTo(3);
        assertThat(sum.loss(a, q, 1)).isCloseTo(0.6, within(1e-6));
        assertThat(mean.loss(a, q, 1)).isCloseTo(0.6 / 9, within(1e-7));
    }

    @Test
    void orderKeptByTheMarginCostsNothing() {
        int tokens = 20;
        float[] a = new float[2 * tokens * tokens];
        float[] q = new float[a.length];
        for (int i = 0; i < a.length; i++) {
            int rank = (i % tokens * 7 + i / tokens) % tokens; // a permutation of each row
            a[i] = rank;
            q[i] = 0.25f * rank + 100;
        }
        assertThat(new RankingLoss(tokens, 1, RankReduction.MEAN).loss(segment(a), segment(q), 2))
                .isZero();
        for (int i = 0; i < a.length; i++) {
            q[i] = -q[i];
        }
        // Turned round, a pair of rank distance d costs 0.2 + d / 4; the mean distance of two of 20 is 7.
        assertThat(new RankingLoss(tokens, 1, RankReduction.MEAN).loss(segment(a), segment(q), 2))
                .isCloseTo(0.2 + 7 / 4.0, within(1e-9));
    }

    /** Entries 1 and 2 apart, swapped: p = -1 for the pair, so 1.2; the third entry is far from both. */
    @Test
    void swappedEntries() {
        RankingLoss loss = new RankingLoss(3, 1, RankReduction.SUM);
        float[] a = {1, 2, 9, 0, 5, 10, 0, 5, 10};
        float[] q = a.clone();
        q[0] = 2;
        q[1] = 1;
        assertThat(loss.loss(segment(a), segment(q), 1)).isCloseTo(1.2, within(1e-9));
    }

    @Test
    void everyTieCostsTheta() {
        MemorySegment ties = segment(new float[9]);
        MemorySegment any = segment(noise(9, 5, 1));
        assertThat(new RankingLoss(3, 1, RankReduction.MEAN).loss(ties, any, 1)).isCloseTo(0.2, within(1e-12));
    }

    @Property(tries = 50)
    void allPairsAreTheEquation(
            @ForAll long seed,
            @ForAll @IntRange(min = 2, max = 40) int tokens,
            @ForAll @IntRange(min = 1, max = 3) int heads) {
        float[] a = noise(heads * tokens * tokens, 1, seed);
        float[] q = sum(a, noise(a.length, 0.3, ~seed));
        double expected = literal(a, q, heads, tokens);
        double pairs = heads * tokens * (tokens * (tokens - 1) / 2.0);
        assertThat(whole(tokens, RankReduction.SUM).loss(segment(a), segment(q), heads))
                .isCloseTo(expected, within(1e-9 * (1 + expected)));
        assertThat(whole(tokens, RankReduction.MEAN).loss(segment(a), segment(q), heads))
                .isCloseTo(expected / pairs, within(1e-9 * (1 + expected)));
    }

    @Test
    void theSampleIsCloseToTheWhole() {
        int tokens = 197;
        int heads = 3;
        float[] a = noise(heads * tokens * tokens, 1, 1);
        float[] q = sum(a, noise(a.length, 0.2, 2));
        double expected = literal(a, q, heads, tokens);
        double pairs = heads * tokens * (tokens * (tokens - 1) / 2.0);
        // About 16,384 x 3 independent-looking terms of spread below 0.2: a standard error below 0.001.
        for (long seed = 0; seed < 5; seed++) {
            assertThat(new RankingLoss(tokens, seed, RankReduction.MEAN).lossOfWholeMaps(segment(a), segment(q), heads))
                    .isCloseTo(expected / pairs, within(0.004));
            assertThat(new RankingLoss(tokens, seed, RankReduction.SUM).lossOfWholeMaps(segment(a), segment(q), heads))
                    .isCloseTo(expected, within(0.004 * pairs));
        }
    }

    @Test
    void sampledRowsAloneGiveTheSame() {
        int tokens = 197;
        int heads = 2;
        RankingLoss loss = new RankingLoss(tokens, 3, RankReduction.MEAN);
        float[] a = noise(heads * tokens * tokens, 1, 1);
        float[] q = sum(a, noise(a.length, 0.2, 2));
        int[] rows = loss.rows();
        assertThat(rows).hasSize(32).isSorted().doesNotHaveDuplicates();
        float[] fewA = new float[heads * rows.length * tokens];
        float[] fewQ = new float[fewA.length];
        for (int h = 0; h < heads; h++) {
            for (int r = 0; r < rows.length; r++) {
                System.arraycopy(a, (h * tokens + rows[r]) * tokens, fewA, (h * rows.length + r) * tokens, tokens);
                System.arraycopy(q, (h * tokens + rows[r]) * tokens, fewQ, (h * rows.length + r) * tokens, tokens);
            }
        }
        assertThat(loss.loss(segment(fewA), segment(fewQ), heads))
                .isEqualTo(loss.lossOfWholeMaps(segment(a), segment(q), heads));
    }

    @Test
    void aSeedFixesTheSample() {
        float[] a = noise(197 * 197, 1, 1);
        float[] q = sum(a, noise(a.length, 0.2, 2));
        Set<Double> losses = new HashSet<>();
        for (long seed = 0; seed < 4; seed++) {
            RankingLoss once = new RankingLoss(197, seed, RankReduction.MEAN);
            RankingLoss again = new RankingLoss(197, seed, RankReduction.MEAN);
            assertThat(again.rows()).isEqualTo(once.rows());
            double loss = once.lossOfWholeMaps(segment(a), segment(q), 1);
            assertThat(again.lossOfWholeMaps(segment(a), segment(q), 1)).isEqualTo(loss);
            losses.add(loss);
        }
        assertThat(losses).hasSize(4);
    }

    /** With theta = 0 only an inversion costs, so that one inverted pair at a time shows how often it is looked at. */
    @Test
    void pairsWithinARowAreDistinct() {
        int tokens = 12;
        int rows = 5;
        int pairs = 40; // of 66
        RankingLoss loss = new RankingLoss(tokens, 9, rows, pairs, 0, RankReduction.MEAN);
        for (int row = 0; row < rows; row++) {
            int seen = 0;
            for (int i = 0; i < tokens; i++) {
                for (int j = i + 1; j < tokens; j++) {
                    float[] a = new float[rows * tokens];
                    float[] q = new float[rows * tokens];
                    Arrays.fill(q, 1);
                    a[row * tokens + i] = -1; // below all others, which tie
                    q[row * tokens + j] = 0; // yet above this one
                    long times = Math.round(loss.loss(segment(a), segment(q), 1) * rows * pairs);
                    assertThat(times).isBetween(0L, 1L);
                    seen += (int) times;
                }
            }
            assertThat(seen).isEqualTo(pairs);
        }
    }

    @Test
    void fewTokensAreTakenWhole() {
        assertThat(new RankingLoss(32, 1, RankReduction.MEAN).rows()).hasSize(32);
        assertThat(new RankingLoss(32, 1, RankReduction.MEAN).pairsPerRow()).isEqualTo(496);
        assertThat(new RankingLoss(33, 1, RankReduction.MEAN).rows()).hasSize(32);
        assertThat(new RankingLoss(33, 1, RankReduction.MEAN).pairsPerRow()).isEqualTo(512);
    }

    @Test
    void senselessSizesAreRefused() {
        assertThatThrownBy(() -> new RankingLoss(1, 1, RankReduction.MEAN))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new RankingLoss(9, 1, 0, 5, 0.2, RankReduction.MEAN))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
