package dev.trivet.cli.report;

import dev.trivet.model.Preprocessing;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Base64;
import javax.imageio.ImageIO;

/** Images inside the page: PNG as a {@code data:} address. */
final class Picture {
    /** Dark violet over teal to yellow, in equal steps of lightness, so that it reads in grey and for the colour-blind. */
    private static final int[] RAMP = {0x440154, 0x414487, 0x2a788e, 0x22a884, 0x7ad151, 0xfde725};

    private Picture() {}

    /** What the model sees: {@code [channels, side, side]}, normalised. */
    static String ofInput(float[] input, Preprocessing p) {
        int side = p.imageSize();
        BufferedImage image = new BufferedImage(side, side, BufferedImage.TYPE_INT_RGB);
        for (int i = 0; i < side * side; i++) {
            int rgb = 0;
            for (int c = 0; c < 3; c++) {
                int channel = p.channels() == 1 ? 0 : c;
                double value = input[channel * side * side + i] * p.std().get(channel)
                        + p.mean().get(channel);
                rgb = rgb << 8 | (int) Math.clamp(Math.rint(255 * value), 0, 255);
            }
            image.setRGB(i % side, i / side, rgb);
        }
        return address(image);
    }

    /**
     * A heat map, one pixel per value.
     *
     * @param values {@code [side, side]}, not negative
     * @param most what the brightest colour stands for
     */
    static String ofHeat(float[] values, int side, double most) {
        BufferedImage image = new BufferedImage(side, side, BufferedImage.TYPE_INT_RGB);
        for (int i = 0; i < side * side; i++) {
            image.setRGB(i % side, i / side, colour(most > 0 ? values[i] / most : 0));
        }
        return address(image);
    }

    private static int colour(double share) {
        double at = (Double.isNaN(share) ? 0 : Math.clamp(share, 0, 1)) * (RAMP.length - 1);
        int lower = Math.min((int) at, RAMP.length - 2);
        int rgb = 0;
        for (int shift = 16; shift >= 0; shift -= 8) {
            int a = RAMP[lower] >> shift & 255;
            int b = RAMP[lower + 1] >> shift & 255;
            rgb |= (int) Math.rint(a + (at - lower) * (b - a)) << shift;
        }
        return rgb;
    }

    private static String address(BufferedImage image) {
        ByteArrayOutputStream png = new ByteArrayOutputStream();
        try {
            ImageIO.write(image, "png", png);
        } catch (IOException e) {
            throw new UncheckedIOException(e); // memory does not fail
        }
        return "data:image/png;base64," + Base64.getEncoder().encodeToString(png.toByteArray());
    }
}
