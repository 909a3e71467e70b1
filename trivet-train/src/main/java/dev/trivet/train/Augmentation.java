package dev.trivet.train;

import java.util.Random;

/**
 * Random crop from a black-bordered image and random mirror image: the usual light augmentation of small images. Or, where
 * {@code smallestCrop} is below 1, a random resized crop: a box of {@code smallestCrop} to all of the area, its sides in the ratio 3/4 to 4/3,
 * scaled up (bilinear). That is Inception's crop, taken from the image as the model would see it and not from the original. What
 * happens to an image depends on nothing but the seed, the variation's and the image's number, so a resumed training, or one with
 * its batches made in another order, sees the same pixels.
 *
 * @param padding width of the black border, pixels; the crop moves by up to this much in each direction; 0 for no crop
 * @param smallestCrop least area of a resized crop, in (0, 1]; 1 for none
 * @param flip whether half of the images are mirrored left to right
 * @param seed chooses the sequence
 */
record Augmentation(int padding, double smallestCrop, boolean flip, long seed) {
    private static final int ATTEMPTS = 10;

    Augmentation {
        if (!(smallestCrop > 0 && smallestCrop <= 1)) {
            throw new IllegalArgumentException("smallest crop " + smallestCrop + " is not in (0, 1]");
        }
        if (padding < 0 || padding > 1 << 10) {
            throw new IllegalArgumentException("crop padding " + padding + " out of range");
        }
    }

    /**
     * Writes the augmented image.
     *
     * @param image {@code [channels, side, side]}
     * @param out same shape, another array
     * @param variation number of the variation: the epoch, or with repeated augmentation several numbers for each
     */
    void apply(byte[] image, byte[] out, int channels, int side, int variation, int index) {
        long bits = mix(mix(mix(seed) + variation) + index);
        if (smallestCrop < 1) {
            resizedCrop(image, out, channels, side, bits);
            return;
        }
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

    private void resizedCrop(byte[] image, byte[] out, int channels, int side, long seedOfImage) {
        Random random = new Random(mix(seedOfImage));
        double width = side;
        double height = side;
        for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
            double area = smallestCrop + (1 - smallestCrop) * random.nextDouble();
            double ratio = Math.exp((2 * random.nextDouble() - 1) * Math.log(4.0 / 3));
            double across = side * Math.sqrt(area * ratio);
            double down = side * Math.sqrt(area / ratio);
            if (across <= side && down <= side) {
                width = across;
                height = down;
                break;
            }
        }
        double left = (side - width) * random.nextDouble();
        double top = (side - height) * random.nextDouble();
        boolean mirror = flip && random.nextBoolean();
        for (int y = 0; y < side; y++) {
            double fromY = Math.clamp(top + (y + 0.5) * height / side - 0.5, 0, side - 1);
            for (int x = 0; x < side; x++) {
                double fromX = Math.clamp(left + (x + 0.5) * width / side - 0.5, 0, side - 1);
                int to = y * side + (mirror ? side - 1 - x : x);
                for (int c = 0; c < channels; c++) {
                    out[c * side * side + to] = bilinear(image, c * side * side, side, fromX, fromY);
                }
            }
        }
    }

    private static byte bilinear(byte[] image, int plane, int side, double x, double y) {
        int x0 = (int) x;
        int y0 = (int) y;
        int x1 = Math.min(x0 + 1, side - 1);
        int y1 = Math.min(y0 + 1, side - 1);
        double above = lerp(image[plane + y0 * side + x0], image[plane + y0 * side + x1], x - x0);
        double below = lerp(image[plane + y1 * side + x0], image[plane + y1 * side + x1], x - x0);
        return (byte) Math.round(above + (below - above) * (y - y0));
    }

    private static double lerp(byte from, byte to, double share) {
        return (from & 0xff) + ((to & 0xff) - (from & 0xff)) * share;
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
