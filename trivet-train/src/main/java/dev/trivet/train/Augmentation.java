package dev.trivet.train;

/**
 * Random crop from a black-bordered image and random mirror image: the usual light augmentation of small images. What
 * happens to an image depends on nothing but the seed, the epoch and the image's number, so a resumed training, or one with
 * its batches made in another order, sees the same pixels.
 *
 * @param padding width of the black border, pixels; the crop moves by up to this much in each direction; 0 for no crop
 * @param flip whether half of the images are mirrored left to right
 * @param seed chooses the sequence
 */
record Augmentation(int padding, boolean flip, long seed) {
    Augmentation {
        if (padding < 0 || padding > 1 << 10) {
            throw new IllegalArgumentException("crop padding " + padding + " out of range");
        }
    }

    /**
     * Writes the augmented image.
     *
     * @param image {@code [channels, side, side]}
     * @param out same shape, another array
     */
    void apply(byte[] image, byte[] out, int channels, int side, int epoch, int index) {
        long bits = mix(mix(mix(seed) + epoch) + index);
        int span = 2 * padding + 1;
        int down = (int) Long.remainderUnsigned(bits >>> 1 & 0x7fffffffL, span) - padding;
        int right = (int) Long.remainderUnsigned(bits >>> 32, span) - padding;
        boolean mirror = flip && (bits & 1) != 0;
        for (int c = 0; c < channels; c++) {
            for (int y = 0; y < side; y++) {
                int row = (c * side + y) * side;
                int fromY = y + down;
                int fromRow = (c * side + fromY) * side;
                boolean inside = fromY >= 0 && fromY < side;
                for (int x = 0; x < side; x++) {
                    int fromX = (mirror ? side - 1 - x : x) + right;
                    out[row + x] = inside && fromX >= 0 && fromX < side ? image[fromRow + fromX] : 0;
                }
            }
        }
    }

    /**
     * The order in which an epoch visits {@code count} images: a Fisher-Yates shuffle that depends on seed and epoch only.
     */
    static int[] order(int count, long seed, int epoch) {
        int[] order = new int[count];
        for (int i = 0; i < count; i++) {
            order[i] = i;
        }
        long state = mix(mix(~seed) + epoch);
        for (int i = count - 1; i > 0; i--) {
            state = mix(state);
            int j = (int) Long.remainderUnsigned(state, i + 1);
            int swapped = order[i];
            order[i] = order[j];
            order[j] = swapped;
        }
        return order;
    }

    /** One step of SplitMix64 (Steele, Lea and Flood, 2014): nearby inputs give unrelated outputs. */
    static long mix(long x) {
        long z = x + 0x9e3779b97f4a7c15L;
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }
}
