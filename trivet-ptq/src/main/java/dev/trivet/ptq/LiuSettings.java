package dev.trivet.ptq;

import java.util.Arrays;

/**
 * How {@link LiuSearch} works.
 *
 * @param ranking whether what feeds the attention map is also judged by the order of its scores, eq. (12)
 * @param biasCorrection whether biases take up the mean error after each round, eq. (16)
 * @param reduction how ranking losses are joined
 * @param sequential whether an operator sees what the quantized beginning of the model gives it; otherwise it sees the float
 *     model's operands, and operators do not depend on each other. Both are measured against the float model's output
 * @param perChannel one weight scale per output channel, or one per matrix
 * @param asymmetric activations that are not centred on zero get a zero point, or all are symmetric
 * @param candidates scales tried per step, at least 2; the initial scale is tried beside them
 * @param rounds most rounds of the alternating search, 0 to 20; 0 keeps the initial scales and biases
 * @param seed draws the sample of attention scores that the ranking loss looks at
 * @param threads worker threads; the result does not depend on them
 */
public record LiuSettings(
        boolean ranking,
        boolean biasCorrection,
        RankReduction reduction,
        boolean sequential,
        boolean perChannel,
        boolean asymmetric,
        int candidates,
        int rounds,
        long seed,
        int threads)
        implements MethodSettings {
    /** The smallest candidate, as a multiple of the initial scale. */
    public static final double ALPHA = 0.5;

    /** The largest candidate, likewise. */
    public static final double BETA = 1.2;

    /** The paper's bound on rounds. */
    public static final int MOST_ROUNDS = 20;

    /** @throws IllegalArgumentException if a number is out of range */
    public LiuSettings {
        if (candidates < 2 || candidates > 1000 || rounds < 0 || rounds > MOST_ROUNDS || threads < 1) {
            throw new IllegalArgumentException("candidates 2 to 1000, rounds 0 to 20, threads from 1");
        }
    }

    /** The paper's form: one symmetric scale per tensor, ranking and bias correction, until nothing changes. */
    public static LiuSettings defaults(long seed, int threads) {
        return new LiuSettings(true, true, RankReduction.MEAN, false, false, false, 21, MOST_ROUNDS, seed, threads);
    }

    @Override
    public String method() {
        return "liu2021";
    }

    /** None: the paper's quantizers are uniform. */
    @Override
    public boolean levels() {
        return false;
    }

    /** The candidates as rising multiples of the initial scale: linear from alpha to beta, and 1 itself. */
    float[] factors() {
        float[] factors = new float[candidates + 1];
        for (int c = 0; c < candidates; c++) {
            factors[c] = (float) (ALPHA + (BETA - ALPHA) * c / (candidates - 1));
        }
        factors[candidates] = 1f;
        Arrays.sort(factors);
        int one = Arrays.binarySearch(factors, 1f);
        boolean twice = (one > 0 && factors[one - 1] == 1f) || (one + 1 < factors.length && factors[one + 1] == 1f);
        if (!twice) {
            return factors;
        }
        float[] without = new float[candidates];
        System.arraycopy(factors, 0, without, 0, one);
        System.arraycopy(factors, one + 1, without, one, candidates - one);
        return without;
    }
}
