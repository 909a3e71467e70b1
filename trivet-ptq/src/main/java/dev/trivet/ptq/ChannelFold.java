package dev.trivet.ptq;

import dev.trivet.quant.ChannelAffine;

/**
 * A change of variables of a linear layer's input, {@code x' = (x - shift) / scale} per channel, which the layer before it and
 * the layer's own weights absorb: {@code W x + b = (W diag(scale)) x' + (b + W shift)}. It lets one quantizer for the whole
 * tensor act as one per channel (RepQ-ViT folds LayerNorm's scales like this; the shift is its zero points).
 *
 * @param shift {@code [channels]}
 * @param scale {@code [channels]}, positive
 */
@SuppressWarnings("ArrayRecordComponent") // parameters, never compared
record ChannelFold(float[] shift, float[] scale) {
    static ChannelFold identity(int channels) {
        float[] ones = new float[channels];
        java.util.Arrays.fill(ones, 1f);
        return new ChannelFold(new float[channels], ones);
    }

    boolean isIdentity() {
        for (int c = 0; c < shift.length; c++) {
            if (shift[c] != 0 || scale[c] != 1) {
                return false;
            }
        }
        return true;
    }

    /** {@code x'} of one value. */
    float apply(float x, int channel) {
        return (x - shift[channel]) / scale[channel];
    }

    /** The fold as something that is done at run time. */
    ChannelAffine equalization() {
        float[] factor = new float[scale.length];
        float[] offset = new float[scale.length];
        for (int c = 0; c < factor.length; c++) {
            factor[c] = 1 / scale[c];
            offset[c] = -shift[c] / scale[c];
        }
        return new ChannelAffine(factor, offset);
    }
}
