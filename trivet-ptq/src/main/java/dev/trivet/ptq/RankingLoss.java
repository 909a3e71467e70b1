package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Random;

/**
 * How badly quantization disturbs the order of the attention scores, eq. (13) of Liu et al. 2021:
 *
 * <pre>
 * L = sum_k sum_{i&lt;j} Phi((Q_ki - Q_kj) * sign(A_ki - A_kj))      Phi(p) = max(theta - p, 0),  theta = 0.2
 * </pre>
 *
 * over the rows k (queries) and pairs of columns i, j (keys) of a head's map A and its quantized version Q. Attention only
 * looks at which keys matter more than others, so a pair costs nothing as long as it keeps its order by a margin of theta.
 *
 * <p>Where the paper leaves a choice:
 *
 * <ul>
 *   <li>A is the map before the softmax, as in eq. (3), divided by sqrt(head width): theta is an absolute margin and needs a
 *       scale that does not depend on the model.
 *   <li>The sum runs over up to 10^8 terms while the correlation it is subtracted from is at most 1, so the default is their
 *       mean, see {@link RankReduction}. Heads are summed or averaged like rows.
 *   <li>DeiT-S has 23 million pairs per image and layer. A fixed random sample of rows, and of pairs within each of them,
 *       stands for all; the same for all heads, images and candidates, so that candidates are compared on equal terms. Both
 *       are drawn without repetition. A map with no more pairs than the sample is taken whole.
 *   <li>sign(0) = 0: keys that tie in A have no order to keep, p is 0 and they cost theta whatever Q does. The term is the
 *       same for every candidate.
 *   <li>Keys that are closer than theta in A cost something even in Q = A: the loss of an exact copy is not zero.
 * </ul>
 *
 * <p>Immutable and safe for use by many threads; scoring allocates nothing.
 */
final class RankingLoss {
    static final double THETA = 0.2;

    /** Query rows and pairs per row of the default sample. */
    static final int ROWS = 32;

    static final int PAIRS = 512;

    private final int tokens;
    private final double theta;
    private final RankReduction reduction;
    private final int[] rows;
    /** Where each sampled row is found among the sampled rows: 0, 1, 2, ... */
    private final int[] packed;
    /** {@code [rows, pairsPerRow]}: columns i and j. */
    private final int[] left;

    private final int[] right;
    private final int pairsPerRow;

    /** The paper's theta and the default sample. */
    RankingLoss(int tokens, long seed, RankReduction reduction) {
        this(tokens, seed, ROWS, PAIRS, THETA, reduction);
    }

    /**
     * @param tokens rows and columns of a map, 2 to 30,000
     * @param seed which sample; with the same sizes it is always the same
     * @param sampledRows rows to look at, at least 1; all if there are no more
     * @param sampledPairs pairs to look at in each, at least 1; all if there are no more
     */
    RankingLoss(int tokens, long seed, int sampledRows, int sampledPairs, double theta, RankReduction reduction) {
        if (tokens < 2 || tokens > 30_000 || sampledRows < 1 || sampledPairs < 1 || !(theta >= 0)) {
            throw new IllegalArgumentException(
                    tokens + " tokens, " + sampledRows + " rows, " + sampledPairs + " pairs, theta " + theta);
        }
        this.tokens = tokens;
        this.theta = theta;
        this.reduction = reduction;
        int allPairs = tokens * (tokens - 1) / 2;
        boolean whole = (long) tokens * allPairs <= (long) sampledRows * sampledPairs;
        Random random = new Random(seed);
        rows = sample(random, tokens, whole ? tokens : sampledRows);
        packed = new int[rows.length];
        Arrays.setAll(packed, r -> r);
        pairsPerRow = whole ? allPairs : Math.min(allPairs, sampledPairs);
        left = new int[Math.multiplyExact(rows.length, pairsPerRow)];
        right = new int[left.length];
        int at = 0;
        for (int r = 0; r < rows.length; r++) {
            int i = 0;
            int first = 0; // number of the pair (i, i + 1)
            for (int pair : sample(random, allPairs, pairsPerRow)) {
                while (pair - first >= tokens - 1 - i) {
                    first += tokens - 1 - i;
                    i++;
                }
                left[at] = i;
                right[at] = i + 1 + pair - first;
                at++;
            }
        }
    }

    /** So many different numbers below {@code of}, ascending (Floyd's method). */
    private static int[] sample(Random random, int of, int count) {
        BitSet chosen = new BitSet(of);
        for (int top = Math.max(0, of - count); top < of; top++) {
            int number = random.nextInt(top + 1);
            chosen.set(chosen.get(number) ? top : number);
        }
        return chosen.stream().toArray();
    }

    /** The query rows looked at, ascending; only these of a map need to be computed. */
    int[] rows() {
        return rows.clone();
    }

    int tokens() {
        return tokens;
    }

    /** Pairs looked at in each row. */
    int pairsPerRow() {
        return pairsPerRow;
    }

    /**
     * Loss on the sampled rows of each head's map.
     *
     * @param reference scores of the float model, scaled, before the softmax: float32 {@code [heads, rows().length, tokens]}
     * @param candidate the same of the quantized model
     * @return at least 0; NaN if a candidate's score is
     */
    double loss(MemorySegment reference, MemorySegment candidate, int heads) {
        return loss(reference, candidate, heads, packed, rows.length);
    }

    /**
     * Loss on whole maps, of which only the sampled rows are read.
     *
     * @param reference scores of the float model, scaled, before the softmax: float32 {@code [heads, tokens, tokens]}
     * @param candidate the same of the quantized model
     * @return at least 0; NaN if a candidate's score is
     */
    double lossOfWholeMaps(MemorySegment reference, MemorySegment candidate, int heads) {
        return loss(reference, candidate, heads, rows, tokens);
    }

    private double loss(MemorySegment reference, MemorySegment candidate, int heads, int[] places, int rowsPerHead) {
        double sum = 0;
        for (int head = 0; head < heads; head++) {
            for (int r = 0; r < places.length; r++) {
                sum += row(reference, candidate, ((long) head * rowsPerHead + places[r]) * tokens, r * pairsPerRow);
            }
        }
        double mean = sum / ((double) heads * rows.length * pairsPerRow);
        return switch (reduction) {
            case MEAN -> mean;
            case SUM -> mean * heads * tokens * (tokens * (tokens - 1.0) / 2);
        };
    }

    /** Sum over the pairs of the row that starts at element {@code start}. */
    private double row(MemorySegment reference, MemorySegment candidate, long start, int firstPair) {
        double sum = 0;
        for (int pair = firstPair; pair < firstPair + pairsPerRow; pair++) {
            long i = start + left[pair];
            long j = start + right[pair];
            float order = reference.getAtIndex(JAVA_FLOAT, i) - reference.getAtIndex(JAVA_FLOAT, j);
            double margin = (double) candidate.getAtIndex(JAVA_FLOAT, i) - candidate.getAtIndex(JAVA_FLOAT, j);
            // Not Math.signum, which jumps: the sign of a random pair cannot be predicted, and the loss took three
            // times as long.
            double sign = (order > 0 ? 1 : 0) - (order < 0 ? 1 : 0);
            sum += Math.max(theta - margin * sign, 0);
        }
        return sum;
    }
}
