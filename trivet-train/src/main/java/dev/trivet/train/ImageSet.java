package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.image.RgbImage;
import dev.trivet.model.VitConfig;
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
     * Decodes every image.
     *
     * @throws BadInputException if the set is empty, has more classes than the model, or an image has not the model's size
     */
    static ImageSet of(LabelledImages images, VitConfig config) {
        if (images.size() == 0) {
            throw new BadInputException("the image set is empty; give one with images");
        }
        int side = config.imageSize();
        byte[][] pixels = new byte[images.size()][];
        int[] labels = new int[images.size()];
        for (int i = 0; i < pixels.length; i++) {
            RgbImage image = images.read(i);
            if (image.width() != side || image.height() != side) {
                throw new BadInputException(images.name(i) + ": is " + image.width() + " x " + image.height()
                        + " pixels; training wants images of the model's size, " + side + " x " + side);
            }
            pixels[i] = config.channels() == 1 ? luma(image) : planes(image);
            labels[i] = images.label(i);
            if (labels[i] < 0 || labels[i] >= config.classes()) {
                throw new BadInputException(images.name(i) + ": has label " + labels[i] + " where the model has "
                        + config.classes() + " classes; give a config with as many classes as the data");
            }
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
