package dev.trivet.train;

import java.util.Random;

/**
 * Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019), as timm has them: each image of a batch with the one at the same place from the
 * end, one share {@code s ~ Beta(a, a)} for the batch, {@code s x + (1 - s) x'} or a box of {@code 1 - s} of the area from the other
 * image, and labels in the same shares (of the box as it came out). Where both are on, each has every second batch on average.
 *
 * <p>Mixed pixels are rounded to bytes. What is mixed depends on nothing but seed, epoch and the batch's place in it.
 *
 * @param mixup a of mixup; 0 for none
 * @param cutmix a of CutMix; 0 for none
 * @param seed chooses the sequence
 */
record Mixing(double mixup, double cutmix, long seed) {
    /** Sets the sequence apart from that of {@link Augmentation}, which has the same seed. */
    private static final long OWN = 0x6d6978696e67L;

    /**
     * How the images of one batch are mixed.
     *
     * @param share of an image's own pixels, in [0, 1]
     * @param top first row of the box; the box is {@code [top, bottom) x [left, right)}, and empty for mixup
     */
    record Blend(double share, boolean box, int top, int bottom, int left, int right) {
        private static final Blend NONE = new Blend(1, false, 0, 0, 0, 0);

        /** Mixes {@code other} into {@code own}, both {@code [channels, side, side]}. */
        void apply(byte[] own, byte[] other, int channels, int side) {
            if (!box) {
                for (int i = 0; i < own.length; i++) {
                    own[i] = (byte) Math.round(share * (own[i] & 0xff) + (1 - share) * (other[i] & 0xff));
                }
                return;
            }
            for (int c = 0; c < channels; c++) {
                for (int y = top; y < bottom; y++) {
                    int row = (c * side + y) * side;
                    System.arraycopy(other, row + left, own, row + left, right - left);
                }
            }
        }
    }

    Mixing {
        if (!(mixup >= 0 && mixup <= 8 && cutmix >= 0 && cutmix <= 8)) {
            throw new IllegalArgumentException("mixup " + mixup + " or cutmix " + cutmix + " is not in [0, 8]");
        }
    }

    boolean active() {
        return mixup > 0 || cutmix > 0;
    }

    /** How a batch is mixed. */
    Blend blend(Draw draw, int side) {
        if (!active()) {
            return Blend.NONE;
        }
        Random random = new Random(
                Augmentation.mix(Augmentation.mix(Augmentation.mix(seed ^ OWN) + draw.epoch()) + draw.first()));
        boolean cut = mixup == 0 || (cutmix > 0 && random.nextBoolean());
        double share = beta(cut ? cutmix : mixup, random);
        return cut ? box(share, side, random) : new Blend(share, false, 0, 0, 0, 0);
    }

    private static Blend box(double share, int side, Random random) {
        int size = (int) (side * Math.sqrt(1 - share));
        int y = random.nextInt(side);
        int x = random.nextInt(side);
        int top = Math.max(y - size / 2, 0);
        int left = Math.max(x - size / 2, 0);
        int bottom = Math.min(y - size / 2 + size, side);
        int right = Math.min(x - size / 2 + size, side);
        double cut = (double) (bottom - top) * (right - left) / ((double) side * side);
        return new Blend(1 - cut, true, top, bottom, left, right);
    }

    /** Beta(a, a) by Johnk's method, quick enough for one number a batch. */
    private static double beta(double a, Random random) {
        for (; ; ) {
            double x = Math.pow(random.nextDouble(), 1 / a);
            double y = Math.pow(random.nextDouble(), 1 / a);
            if (x + y <= 1 && x + y > 0) {
                return x / (x + y);
            }
        }
    }
}
