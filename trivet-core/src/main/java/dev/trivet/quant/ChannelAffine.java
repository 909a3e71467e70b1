package dev.trivet.quant;

/**
 * A change of variables, channel by channel: {@code x' = x * factor + offset}, one fused multiply-add. Before a quantizer it lets one
 * step for the whole tensor act as one step and zero point per channel, while the product after it stays one plain integer product;
 * the weights hold the inverse.
 *
 * @param factor {@code [channels]}, positive
 * @param offset {@code [channels]}, finite
 */
@SuppressWarnings("ArrayRecordComponent") // parameters, never compared
public record ChannelAffine(float[] factor, float[] offset) {
    /** @throws IllegalArgumentException if the lengths differ, a factor is not a positive number, or an offset is not finite */
    public ChannelAffine {
        if (factor.length != offset.length) {
            throw new IllegalArgumentException(factor.length + " factors with " + offset.length + " offsets");
        }
        for (int c = 0; c < factor.length; c++) {
            if (!(factor[c] > 0) || !Float.isFinite(factor[c]) || !Float.isFinite(offset[c])) {
                throw new IllegalArgumentException("channel " + c + " becomes x * " + factor[c] + " + " + offset[c]);
            }
        }
    }

    /** Channels that have a factor and an offset. */
    public int channels() {
        return factor.length;
    }

    /** One of {@code factor.length * each} channels, every number for {@code each} neighbouring channels. */
    public ChannelAffine repeated(int each) {
        return new ChannelAffine(repeated(factor, each), repeated(offset, each));
    }

    private static float[] repeated(float[] values, int each) {
        float[] all = new float[values.length * each];
        for (int c = 0; c < all.length; c++) {
            all[c] = values[c / each];
        }
        return all;
    }

    /** The same with one number for each of {@code groups} runs of neighbouring channels; itself if they are not all alike in a run. */
    public ChannelAffine grouped(int groups) {
        if (groups < 1 || channels() % groups != 0) {
            return this;
        }
        int each = channels() / groups;
        for (int c = 0; c < channels(); c++) {
            int first = c / each * each;
            if (factor[c] != factor[first] || offset[c] != offset[first]) {
                return this;
            }
        }
        float[] factors = new float[groups];
        float[] offsets = new float[groups];
        for (int g = 0; g < groups; g++) {
            factors[g] = factor[g * each];
            offsets[g] = offset[g * each];
        }
        return new ChannelAffine(factors, offsets);
    }

    /** {@code x * factor[channel] + offset[channel]}, one fused multiply-add. */
    public float apply(float x, int channel) {
        return Math.fma(x, factor[channel], offset[channel]);
    }
}
