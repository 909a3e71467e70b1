package dev.trivet.train;

import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import java.util.Arrays;

/** How a matrix of latent weights becomes integer codes with scales. Immutable. */
sealed interface WeightQuantizer {
    /** What the codes are. */
    WeightCoding coding();

    /** Gradients pass to latent weights of smaller magnitude than this, and to no others. */
    float clip();

    /**
     * Quantizes a matrix.
     *
     * @param weight {@code [outputs, inputs]}, finite
     */
    Codes quantize(float[] weight, int outputs, int inputs);

    /**
     * {@code weight ~ scale * code}.
     *
     * @param codes {@code [outputs, inputs]}
     * @param scales {@code [outputs]}, or one for the whole matrix; positive
     */
    @SuppressWarnings("ArrayRecordComponent") // results, never compared
    record Codes(byte[] codes, float[] scales) {
        float scale(int output) {
            return scales[scales.length == 1 ? 0 : output];
        }
    }

    /** Symmetric, {@code scale = max |w| / 127} of each row. Nothing is clipped, so every gradient passes. */
    record EightBit() implements WeightQuantizer {
        private static final int HIGHEST = 127;

        @Override
        public WeightCoding coding() {
            return WeightCoding.BITS_8;
        }

        @Override
        public float clip() {
            return Float.POSITIVE_INFINITY;
        }

        @Override
        public Codes quantize(float[] weight, int outputs, int inputs) {
            byte[] codes = new byte[weight.length];
            float[] scales = new float[outputs];
            Arrays.fill(scales, 1);
            for (int n = 0; n < outputs; n++) {
                float largest = 0;
                for (int i = n * inputs; i < (n + 1) * inputs; i++) {
                    largest = Math.max(largest, Math.abs(weight[i]));
                }
                float scale = largest / HIGHEST;
                if (scale >= Float.MIN_NORMAL) {
                    scales[n] = scale;
                    for (int i = n * inputs; i < (n + 1) * inputs; i++) {
                        codes[i] = (byte) Math.rint((double) weight[i] / scale);
                    }
                }
            }
            return new Codes(codes, scales);
        }
    }

    /**
     * Ternary weights, {@link TernaryWeights}.
     *
     * @param byChannel whether each output channel (a query's, key's and value's too) has its own threshold and scale, as TerViT has it, or
     *     the matrix one; then q, k and v share theirs
     * @param clip see {@link #clip()}; TernaryBERT's quantizers, which those of TerViT's authors come from, have 2.5
     */
    record Ternary(boolean byChannel, TernaryWeights.Scale scale, float clip) implements WeightQuantizer {
        @Override
        public WeightCoding coding() {
            return WeightCoding.TERNARY;
        }

        @Override
        public Codes quantize(float[] weight, int outputs, int inputs) {
            TernaryWeights ternary = TernaryWeights.of(weight, outputs, inputs, byChannel ? outputs : 1, scale);
            return new Codes(ternary.codes(), ternary.scales());
        }
    }
}
