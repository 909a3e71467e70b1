package dev.trivet.image;

import java.awt.color.ColorSpace;
import java.awt.image.BufferedImage;
import java.awt.image.ColorModel;
import java.awt.image.ComponentColorModel;

/**
 * A decoded image: 8-bit RGB, no alpha.
 *
 * @param pixels {@code [height, width, 3]}, row by row; not copied, so the maker must not change it afterwards
 */
@SuppressWarnings("ArrayRecordComponent") // identity comparison is enough: images are never compared as values
public record RgbImage(int width, int height, byte[] pixels) {
    /** @throws IllegalArgumentException if a side is not positive or {@code pixels} does not hold three bytes for each pixel */
    public RgbImage {
        if (width < 1 || height < 1 || pixels.length != 3L * width * height) {
            throw new IllegalArgumentException(
                    pixels.length + " bytes are not a " + width + " x " + height + " RGB image");
        }
    }

    /**
     * Copies an image of the JDK's, such as {@code ImageIO} gives. Pixels are what {@link ImageDecoder} has of the same PNG file: alpha is
     * dropped and not blended, of 16 bits the high byte is taken, gray is repeated ({@link BufferedImage#getRGB} takes it for linear
     * light and makes it brighter). What is neither gray nor sRGB is converted to sRGB. JPEG files are better given to
     * {@code ImageDecoder}: {@code ImageIO} converts their colours otherwise than what models are trained with.
     *
     * @throws IllegalArgumentException if it is larger than an array
     */
    public static RgbImage of(BufferedImage image) {
        int width = image.getWidth();
        int height = image.getHeight();
        if (3L * width * height > Integer.MAX_VALUE - 8) {
            throw new IllegalArgumentException(width + " x " + height + " pixels are too many");
        }
        byte[] pixels = new byte[3 * width * height];
        if (hasPlainSamples(image.getColorModel())) {
            copySamples(image, pixels);
        } else {
            convert(image, pixels);
        }
        return new RgbImage(width, height, pixels);
    }

    private static boolean hasPlainSamples(ColorModel model) {
        int bits = model.getComponentSize(0);
        return model instanceof ComponentColorModel
                && (isGray(model) || model.getColorSpace().isCS_sRGB())
                && !model.isAlphaPremultiplied()
                && (bits == 8 || bits == 16);
    }

    private static boolean isGray(ColorModel model) {
        return model.getColorSpace().getType() == ColorSpace.TYPE_GRAY;
    }

    private static void copySamples(BufferedImage image, byte[] pixels) {
        int width = image.getWidth();
        boolean gray = isGray(image.getColorModel());
        int drop = image.getColorModel().getComponentSize(0) - 8;
        int[] line = new int[width];
        for (int y = 0; y < image.getHeight(); y++) {
            for (int channel = 0; channel < 3; channel++) {
                image.getRaster().getSamples(0, y, width, 1, gray ? 0 : channel, line);
                for (int x = 0; x < width; x++) {
                    pixels[3 * (y * width + x) + channel] = (byte) (line[x] >> drop);
                }
            }
        }
    }

    private static void convert(BufferedImage image, byte[] pixels) {
        int width = image.getWidth();
        int[] line = new int[width];
        int at = 0;
        for (int y = 0; y < image.getHeight(); y++) {
            image.getRGB(0, y, width, 1, line, 0, width);
            for (int rgb : line) {
                pixels[at++] = (byte) (rgb >> 16);
                pixels[at++] = (byte) (rgb >> 8);
                pixels[at++] = (byte) rgb;
            }
        }
    }
}
