package dev.trivet.ptq;

/**
 * What a quantization is asked to do.
 *
 * @param weightBits bits of a weight, 2 to 8
 * @param activationBits bits of an activation, 2 to 8
 * @param perChannel one weight scale per output channel, or one per tensor
 * @param asymmetric activations that are not centred on zero get a zero point, or all are symmetric as in the paper
 * @param candidates scales tried per step, at least 2
 * @param rounds most rounds of the alternating search, at least 0; 0 keeps the initial scales
 * @param threads worker threads
 */
public record QuantizationSettings(
        int weightBits,
        int activationBits,
        boolean perChannel,
        boolean asymmetric,
        int candidates,
        int rounds,
        int threads) {
    /** Smallest and largest candidate as multiples of the initial scale: alpha and beta of Liu et al. 2021. */
    public static final double ALPHA = 0.5;

    public static final double BETA = 1.2;

    public QuantizationSettings {
        if (weightBits < 2 || weightBits > 8 || activationBits < 2 || activationBits > 8) {
            throw new IllegalArgumentException("bits must be 2 to 8");
        }
        if (candidates < 2 || candidates > 1000 || rounds < 0 || rounds > 20 || threads < 1) {
            throw new IllegalArgumentException("candidates 2 to 1000, rounds 0 to 20, threads from 1");
        }
    }

    /** The default at a given width: per-channel weights, asymmetric activations. */
    public static QuantizationSettings defaults(int bits, int threads) {
        return new QuantizationSettings(bits, bits, true, true, 21, 3, threads);
    }

    /** Candidate {@code index} as a multiple of the initial scale, linear from alpha to beta. */
    public float factor(int index) {
        return (float) (ALPHA + (BETA - ALPHA) * index / (candidates - 1));
    }
}
