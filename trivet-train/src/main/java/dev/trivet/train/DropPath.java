package dev.trivet.train;

import java.nio.FloatBuffer;

/**
 * Stochastic depth (Huang et al., 2016) as timm has it: each residual branch of a block is left out for an image with a probability that
 * grows linearly from 0 at the first block to {@code rate} at the last, {@code p_i = rate * i / (blocks - 1)}, and is divided by
 * {@code 1 - p_i} where it stays. What is left out for an image depends on nothing but the seed, the epoch and the image's number, so a
 * resumed training leaves out the same.
 *
 * @param rate of the last block, in [0, 1); 0 leaves out nothing
 * @param seed chooses the sequence
 */
record DropPath(double rate, long seed) {
    /** Sets the sequence apart from that of {@link Augmentation}, which has the same seed. */
    private static final long OWN = 0x64726f7070617468L;

    DropPath {
        if (!(rate >= 0 && rate < 1)) {
            throw new IllegalArgumentException("drop path " + rate + " is not in [0, 1)");
        }
    }

    /**
     * Writes the factors of an image's branches.
     *
     * @param out {@code [blocks, 2, batch]}
     * @param at place of the image in the batch
     * @param index number of the image
     */
    void apply(FloatBuffer out, int blocks, int batch, int at, int epoch, int index) {
        long bits = Augmentation.mix(Augmentation.mix(Augmentation.mix(seed ^ OWN) + epoch) + index);
        for (int block = 0; block < blocks; block++) {
            double dropped = rate * block / Math.max(1, blocks - 1);
            for (int branch = 0; branch < 2; branch++) {
                bits = Augmentation.mix(bits);
                double uniform = (bits >>> 11) * 0x1p-53;
                out.put((2 * block + branch) * batch + at, uniform < dropped ? 0 : (float) (1 / (1 - dropped)));
            }
        }
    }
}
