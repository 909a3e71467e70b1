package dev.trivet.train;

import java.nio.FloatBuffer;
import java.util.Random;

/**
 * The weights a training starts from: those of the original ViT (Dosovitskiy et al., 2021; timm's {@code weight_init="jax"}),
 * that is Xavier-uniform matrices, a LeCun-normal patch embedding and a zero head. timm's default, a deviation of 0.02
 * whatever the width, is made for widths from 192 up; at width 64 it learns more slowly at first.
 *
 * <p>We differ in the position embedding, which starts as fixed sines and cosines of the patch's place rather than as
 * noise (and is then learned like any other parameter): a quarter of the channels each for the sine and the cosine of the
 * row, and of the column, at frequencies {@code 10000^(-4k / width)}. Beyer et al., "Better plain ViT baselines for
 * ImageNet-1k" (2022), found that this makes short trainings faster. A Swin starts the same way, where its authors draw all matrices with
 * a deviation of 0.02; its position biases do start with that.
 */
final class InitialWeights {
    private InitialWeights() {}

    /** Fills {@code out}, laid out by {@code layout}, with values that follow from {@code seed}. */
    static void draw(ParameterLayout layout, PatchGrid grid, long seed, FloatBuffer out) {
        // java.util.Random because its sequence is specified; the newer generators' Gaussians are not.
        Random random = new Random(seed);
        for (ParameterLayout.Slot slot : layout.slots()) {
            for (int i = 0; i < slot.size(); i++) {
                out.put(slot.offset() + i, (float) value(grid, slot, i, random));
            }
        }
    }

    private static double value(PatchGrid grid, ParameterLayout.Slot slot, int index, Random random) {
        return switch (slot.start()) {
            case ZERO -> 0;
            case ONE -> 1;
            case TOKEN -> 0.02 * random.nextGaussian();
            case LECUN -> random.nextGaussian() / Math.sqrt(grid.patchLength());
            case XAVIER -> {
                long outputs = slot.shape().get(0);
                long inputs = slot.shape().get(1);
                yield Math.sqrt(6.0 / (inputs + outputs)) * (2 * random.nextDouble() - 1);
            }
            case SINUSOID -> sinusoid(grid, slot, index);
        };
    }

    private static double sinusoid(PatchGrid grid, ParameterLayout.Slot slot, int index) {
        int tokens = Math.toIntExact(slot.shape().get(1));
        int width = Math.toIntExact(slot.shape().get(2));
        int channel = index % width;
        int prefixTokens = tokens - grid.patches();
        int patch = index / width - prefixTokens;
        int quarter = width / 4;
        if (patch < 0 || channel >= 4 * quarter) {
            return 0;
        }
        int place = channel / quarter < 2 ? patch / grid.side() : patch % grid.side();
        double angle = place * Math.pow(10_000, -(double) (channel % quarter) / quarter);
        return channel / quarter % 2 == 0 ? Math.sin(angle) : Math.cos(angle);
    }
}
