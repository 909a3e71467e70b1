package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.image.ImagePreprocessor;
import dev.trivet.image.RgbImage;
import dev.trivet.model.Geometry;
import dev.trivet.model.Preprocessing;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** All images of a set in memory, as the bytes that training starts from: {@code [channels, side, side]} each. */
final class ImageSet {
    private final byte[][] pixels;
    private final int[] labels;

    private ImageSet(byte[][] pixels, int[] labels) {
        this.pixels = pixels;
        this.labels = labels;
    }

    /**
     * Decodes every image, resized and cropped as the preprocessing says.
     *
     * @throws BadInputException if the set is empty, an image cannot be read, or a label is not one of the model's
     */
    static ImageSet of(LabelledImages images, Geometry model, Preprocessing preprocessing) {
        if (images.size() == 0) {
            throw new BadInputException("the image set is empty; give one with images");
        }
        ImagePreprocessor preprocessor = new ImagePreprocessor(preprocessing);
        byte[][] pixels = new byte[images.size()][];
        int[] labels = new int[images.size()];
        for (int i = 0; i < pixels.length; i++) {
            labels[i] = images.label(i);
            if (labels[i] < 0 || labels[i] >= model.classes()) {
                throw new BadInputException(images.name(i) + ": has label " + labels[i] + " where the model has "
                        + model.classes() + " classes; give a config with as many classes as the data");
            }
            RgbImage image = images.read(i);
            boolean fits = preprocessing.resize() == preprocessing.imageSize()
                    && image.width() == preprocessing.imageSize()
                    && image.height() == preprocessing.imageSize();
            RgbImage cropped = fits ? image : preprocessor.resizeAndCrop(image);
            pixels[i] = model.channels() == 1 ? luma(cropped) : planes(cropped);
        }
        return new ImageSet(pixels, labels);
    }

    /** ITU-R 601 luma in 16-bit fixed point, rounded; equal red, green and blue give that value. */
    private static byte[] luma(RgbImage image) {
        byte[] rgb = image.pixels();
        byte[] out = new byte[rgb.length / 3];
        for (int i = 0; i < out.length; i++) {
            int sum = 19595 * (rgb[3 * i] & 0xff) + 38470 * (rgb[3 * i + 1] & 0xff) + 7471 * (rgb[3 * i + 2] & 0xff);
            out[i] = (byte) ((sum + 0x8000) >> 16);
        }
        return out;
    }

    private static byte[] planes(RgbImage image) {
        byte[] rgb = image.pixels();
        int area = rgb.length / 3;
        byte[] out = new byte[rgb.length];
        for (int i = 0; i < area; i++) {
            for (int c = 0; c < 3; c++) {
                out[c * area + i] = rgb[3 * i + c];
            }
        }
        return out;
    }

    int size() {
        return labels.length;
    }

    /** {@code [channels, side, side]}; not to be changed. */
    byte[] pixels(int index) {
        return pixels[index];
    }

    int label(int index) {
        return labels[index];
    }

    /** SHA-256 over all pixels and labels, in hexadecimal. */
    String digest() {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            for (int i = 0; i < labels.length; i++) {
                digest.update(pixels[i]);
                digest.update(ByteBuffer.allocate(4).putInt(labels[i]).flip());
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }
}
