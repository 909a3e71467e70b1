package dev.trivet.image;

import dev.trivet.image.AntialiasResize.Span;
import dev.trivet.model.Preprocessing;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Turns decoded images into a model's input as {@link Preprocessing} says.
 *
 * <p>The steps and every rounding are those of torchvision's {@code Resize(resize), CenterCrop(imageSize), ToTensor(),
 * Normalize(mean, std)} on a Pillow image, so that models meet the pixels they were trained with: the short side becomes
 * {@code resize} and the long one {@code int(resize * long / short)} (or both become {@code resize}, Pillow's
 * {@code resize((n, n))}); the crop's corner is rounded half to even; an image
 * smaller than the crop stands in the middle of black; normalising is done in float32. One channel means Pillow's luma
 * {@code (19595 R + 38470 G + 7471 B + 32768) >> 16} of the cropped colours.
 *
 * <p>Immutable and safe to use from several threads.
 */
public final class ImagePreprocessor {
    private final Preprocessing preprocessing;
    /** {@code [channels][256]}: the normalised value of every pixel value. */
    private final float[][] normalized;

    /** @param preprocessing size, crop, filter, mean and deviation to prepare images with */
    public ImagePreprocessor(Preprocessing preprocessing) {
        this.preprocessing = preprocessing;
        normalized = new float[preprocessing.channels()][256];
        for (int c = 0; c < normalized.length; c++) {
            float mean = preprocessing.mean().get(c);
            float std = preprocessing.std().get(c);
            for (int p = 0; p < 256; p++) {
                normalized[c][p] = (p / 255f - mean) / std;
            }
        }
    }

    /** What images are prepared with. */
    public Preprocessing preprocessing() {
        return preprocessing;
    }

    /** Number of floats that {@link #apply} writes: {@code channels * imageSize * imageSize}. */
    public int outputLength() {
        return preprocessing.channels() * preprocessing.imageSize() * preprocessing.imageSize();
    }

    /** Resizes and crops {@code image} to {@code imageSize} x {@code imageSize}. */
    public RgbImage resizeAndCrop(RgbImage image) {
        int resize = preprocessing.resize();
        int side = preprocessing.imageSize();
        long width = resize;
        long height = resize;
        if (preprocessing.fit() == Preprocessing.Fit.SQUASH) {
            // Both sides stand already.
        } else if (image.width() <= image.height()) {
            height = longSide(image.height(), image.width());
        } else {
            width = longSide(image.width(), image.height());
        }
        Span columns = middle(width, side);
        Span rows = middle(height, side);
        RgbImage cropped = AntialiasResize.resize(image, columns, rows, preprocessing.interpolation());
        return cropped.width() == side && cropped.height() == side ? cropped : onBlack(cropped, side);
    }

    /**
     * Normalises an image that already has the model's size.
     *
     * @param cropped {@code imageSize} x {@code imageSize}
     * @param out receives float32 {@code [channels, imageSize, imageSize]} in native byte order
     * @param offsetBytes where in {@code out} the first value goes
     * @throws IllegalArgumentException if {@code cropped} has another size
     * @throws IndexOutOfBoundsException if {@code out} is too short
     */
    public void normalize(RgbImage cropped, MemorySegment out, long offsetBytes) {
        int side = preprocessing.imageSize();
        if (cropped.width() != side || cropped.height() != side) {
            throw new IllegalArgumentException("the image is " + cropped.width() + " x " + cropped.height()
                    + ", the model wants " + side + " x " + side);
        }
        int area = side * side;
        MemorySegment target = out.asSlice(offsetBytes, 4L * outputLength());
        byte[] pixels = cropped.pixels();
        if (preprocessing.channels() == 1) {
            float[] table = normalized[0];
            for (int i = 0; i < area; i++) {
                put(target, i, table[luma(pixels, 3 * i)]);
            }
            return;
        }
        for (int c = 0; c < 3; c++) {
            float[] table = normalized[c];
            for (int i = 0; i < area; i++) {
                put(target, c * area + i, table[pixels[3 * i + c] & 0xff]);
            }
        }
    }

    /** {@link #resizeAndCrop} and {@link #normalize}. */
    public void apply(RgbImage image, MemorySegment out, long offsetBytes) {
        normalize(resizeAndCrop(image), out, offsetBytes);
    }

    private long longSide(int longer, int shorter) {
        return (long) ((double) ((long) preprocessing.resize() * longer) / shorter);
    }

    private static Span middle(long length, int side) {
        if (length <= side) {
            return new Span(length, 0, (int) length);
        }
        return new Span(length, (long) Math.rint((length - side) / 2.0), side);
    }

    private static RgbImage onBlack(RgbImage image, int side) {
        byte[] out = new byte[3 * side * side];
        int left = (side - image.width()) / 2;
        int top = (side - image.height()) / 2;
        for (int y = 0; y < image.height(); y++) {
            System.arraycopy(
                    image.pixels(), 3 * y * image.width(), out, 3 * ((top + y) * side + left), 3 * image.width());
        }
        return new RgbImage(side, side, out);
    }

    private static int luma(byte[] rgb, int i) {
        return ((rgb[i] & 0xff) * 19595 + (rgb[i + 1] & 0xff) * 38470 + (rgb[i + 2] & 0xff) * 7471 + 0x8000) >> 16;
    }

    private static void put(MemorySegment target, int index, float value) {
        target.set(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * index, value);
    }
}
