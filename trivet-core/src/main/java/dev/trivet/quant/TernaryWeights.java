package dev.trivet.quant;

/**
 * Plain ternarization, {@code w ~ alpha t} with {@code t} in {-1, 0, 1}: Li et al., <i>Ternary Weight Networks</i> (TWN), and, with
 * a threshold and a scale for each channel, Xu et al. 2022, <i>TerViT</i> (arXiv 2201.08050). Over the weights that share a scale,
 *
 * <pre>Delta = 0.7 mean|w|      t = sign(w) [|w| > Delta]      alpha = mean(|w| : |w| > Delta)   or   mean|w|</pre>
 *
 * The first alpha is the least-squares one for this t. The second is what readers of TerViT report of it (the "absolute mean");
 * it is smaller than the first by construction and fits worse, so it is an option. The 0.7 is TWN's: the best threshold is 0.75 mean|w| for
 * normally distributed weights, 2/3 mean|w| for uniform ones.
 *
 * <p>Means are taken in double precision. Scales are rounded by {@link #storedScale}, so that a file needs two bytes for each.
 * Immutable and safe for use by many threads, as long as nobody writes to the arrays.
 *
 * @param codes {@code [outputs, inputs]}, each -1, 0 or 1
 * @param scales {@code [outputs]}, or one for the whole matrix; positive
 */
@SuppressWarnings("ArrayRecordComponent") // results, never compared
public record TernaryWeights(byte[] codes, float[] scales) {
    /** Threshold as a share of the mean magnitude. */
    public static final double THRESHOLD = 0.7;

    private static final float LEAST_HALF = 0x1p-14f;
    private static final float MOST_HALF = 65504f;

    /** How the scale follows from the weights. */
    public enum Scale {
        /** Mean magnitude of the weights above the threshold: least squares, TWN. */
        SURVIVORS,
        /** Mean magnitude of all weights. */
        ABSOLUTE_MEAN
    }

    /**
     * Ternarizes a matrix.
     *
     * @param weight {@code [outputs, inputs]}
     * @param groups into how many runs of channels of equal length the outputs are cut, each with its own threshold and scale:
     *     {@code outputs} is channel-wise, 1 is layer-wise, 3 gives query, key and value one each
     * @throws IllegalArgumentException if the sizes do not fit, or a weight is not finite
     */
    public static TernaryWeights of(float[] weight, int outputs, int inputs, int groups, Scale scale) {
        if (weight.length != (long) outputs * inputs || groups < 1 || outputs % groups != 0) {
            throw new IllegalArgumentException(
                    weight.length + " weights for " + outputs + " x " + inputs + " in " + groups + " groups");
        }
        byte[] codes = new byte[weight.length];
        float[] scales = new float[groups == 1 ? 1 : outputs];
        int channels = outputs / groups;
        for (int g = 0; g < groups; g++) {
            float alpha = group(weight, g * channels * inputs, channels * inputs, scale, codes);
            for (int n = 0; n < (groups == 1 ? 1 : channels); n++) {
                scales[g * channels + n] = alpha;
            }
        }
        return new TernaryWeights(codes, scales);
    }

    /** Fills {@code count} codes from {@code from} on, and returns their scale. */
    private static float group(float[] weight, int from, int count, Scale scale, byte[] codes) {
        double sum = 0;
        for (int i = from; i < from + count; i++) {
            sum += Math.abs(weight[i]);
        }
        if (!Double.isFinite(sum)) {
            throw new IllegalArgumentException("a weight is not finite");
        }
        double mean = sum / count;
        double survivors = 0;
        int surviving = 0;
        for (int i = from; i < from + count; i++) {
            double magnitude = Math.abs(weight[i]);
            if (magnitude > THRESHOLD * mean) {
                codes[i] = (byte) (weight[i] > 0 ? 1 : -1);
                survivors += magnitude;
                surviving++;
            }
        }
        if (surviving == 0) {
            return storedScale(0);
        }
        return storedScale(scale == Scale.SURVIVORS ? survivors / surviving : mean);
    }

    /**
     * The scale that is used in place of {@code scale}: the nearest half-precision number, off by at most 1 part in 2048, which a file
     * holds exactly in two bytes. Scales outside the range in which half precision is that exact (2^-14 to 65504) stay single
     * precision. 0, where no weight survives and any scale serves, becomes 2^-14.
     *
     * @param scale not negative
     */
    public static float storedScale(double scale) {
        float single = scale > 0 ? Math.max((float) scale, Float.MIN_NORMAL) : LEAST_HALF;
        return single >= LEAST_HALF && single <= MOST_HALF
                ? Float.float16ToFloat(Float.floatToFloat16(single))
                : single;
    }
}
