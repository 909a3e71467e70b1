package dev.trivet.cli.bench;

import dev.trivet.BadInputException;
import dev.trivet.model.Geometry;
import java.util.Random;

/** Made-up preprocessed images: waves of few cycles, alike to photographs in that neighbouring pixels are and in mean and spread. */
public final class TestImages {
    private static final int WAVES = 12;
    private static final double MOST_CYCLES = 12;

    private TestImages() {}

    /** The same for the same seed: {@code [images, channels, imageSize, imageSize]}, mean 0, deviation about 1. */
    public static float[] of(Geometry geometry, int images, long seed) {
        int side = geometry.imageSize();
        long values = (long) images * geometry.channels() * side * side;
        if (values > Integer.MAX_VALUE - 8) {
            throw new BadInputException(
                    images + " images of " + side + " by " + side + " are more than fit into one array; use fewer");
        }
        float[] pixels = new float[Math.toIntExact(values)];
        Random random = new Random(seed);
        for (int from = 0; from < pixels.length; from += side * side) {
            for (int wave = 0; wave < WAVES; wave++) {
                double across = 2 * Math.PI * MOST_CYCLES * random.nextDouble() / side;
                double down = 2 * Math.PI * MOST_CYCLES * (2 * random.nextDouble() - 1) / side;
                double phase = 2 * Math.PI * random.nextDouble();
                for (int i = 0; i < side * side; i++) {
                    int row = i / side;
                    double angle = phase + across * (i % side) + down * row;
                    pixels[from + i] += (float) (Math.sqrt(2.0 / WAVES) * Math.sin(angle));
                }
            }
        }
        return pixels;
    }
}
