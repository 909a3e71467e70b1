package dev.trivet.train;

import dev.trivet.model.VitConfig;
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
 * ImageNet-1k" (2022), found that this makes short trainings faster.
 */
final class InitialWeights {
    private InitialWeights() {}

    /** Fills {@code out}, laid out by {@code layout}, with values that follow from {@code seed}. */
    static void draw(VitConfig config, ParameterLayout layout, long seed, FloatBuffer out) {
        // java.util.Random because its sequence is specified; the newer generators' Gaussians are not.
        Random random = new Random(seed);
        for (ParameterLayout.Slot slot : layout.slots()) {
            for (int i = 0; i < slot.size(); i++) {
                out.put(slot.offset() + i, (float) value(config, slot, i, random));
            }
        }
    }

    private static double value(VitConfig config, ParameterLayout.Slot slot, int index, Random random) {
        return switch (slot.start()) {
            case ZERO -> 0;
            case ONE -> 1;
            case TOKEN -> 0.02 * random.nextGaussian();
            case LECUN -> random.nextGaussian() / Math.sqrt(config.patchLength());
            case XAVIER -> {
                long outputs = slot.shape().get(0);
                long inputs = slot.shape().get(1);
                yield Math.sqrt(6.0 / (inputs + outputs)) * (2 * random.nextDouble() - 1);
            }
            case SINUSOID -> sinusoid(config, index / config.width(), index % config.width());
        };
    }

    private static double sinusoid(VitConfig config, int token, int channel) {
        int patch = token - config.prefixTokens();
        int quarter = config.width() / 4;
        if (patch < 0 || channel >= 4 * quarter) {
            return 0;
        }
        int place = channel / quarter < 2 ? patch / config.grid() : patch % config.grid();
        double angle = place * Math.pow(10_000, -(double) (channel % quarter) / quarter);
        return channel / quarter % 2 == 0 ? Math.sin(angle) : Math.cos(angle);
    }
}
