package dev.trivet.ptq;

import dev.trivet.model.Preprocessing;
import dev.trivet.quant.ActivationQuantizer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A channel fold to try on a layer's input.
 *
 * @param name for reports; empty for none at all
 * @param grid the quantizer that goes with it, where values are known beforehand to lie on a grid
 */
record InputFold(String name, ChannelFold fold, Optional<ActivationQuantizer> grid) {
    private static final double[] POWERS = {0.5, 1};
    private static final String[] NAMES = {"half-folded ", "folded "};
    /** The deviation of fewer rows (a head sees one an image) says too little about other images: what lies beyond is clipped. */
    static final int LEAST_ROWS = 16;
    /** Least factor between a channel's scale and the typical one. */
    private static final double NARROWEST = 1e-3;

    /** What takes a fold up. */
    sealed interface Absorber {
        /** Nothing before the layer can. */
        record Nobody() implements Absorber {}

        /**
         * A LayerNorm, for nothing.
         *
         * @param shifts false if it can take up scales only: some of what the layer gives does not come from the LayerNorm (padding of
         *     windows, whose query, key and value are the bias), so the bias must not take up a shift
         */
        record Norm(String name, boolean shifts) implements Absorber {}

        /** The pass that quantizes the image, with one more multiply-add. */
        record Pixels(Preprocessing preprocessing) implements Absorber {}
    }

    /**
     * No fold, and what the absorber allows: one that gives every channel the same mean and standard deviation (RepQ-ViT's
     * channel-wise quantizer, folded) and one half way, which costs the weights less (as SmoothQuant trades); for an image the one
     * that undoes its normalization, after which pixels are whole numbers and 8 bits lose nothing. A LayerNorm takes up none from statistics of fewer
     * than {@value #LEAST_ROWS} rows.
     */
    static List<InputFold> of(Absorber absorber, ChannelStatistics statistics, int bits) {
        int inputs = statistics.channels();
        List<InputFold> folds = new ArrayList<>();
        folds.add(new InputFold("", ChannelFold.identity(inputs), Optional.empty()));
        switch (absorber) {
            case Absorber.Nobody _ -> {}
            case Absorber.Norm(String _, boolean shifts) -> {
                for (int p = 0; statistics.rows() >= LEAST_ROWS && p < POWERS.length; p++) {
                    folds.add(new InputFold(NAMES[p], levelled(statistics, POWERS[p], shifts), Optional.empty()));
                }
            }
            case Absorber.Pixels(Preprocessing preprocessing) ->
                folds.add(new InputFold("pixels", pixels(preprocessing, inputs), Optional.of(grid(bits))));
        }
        return folds;
    }

    private static ChannelFold levelled(ChannelStatistics statistics, double power, boolean shifts) {
        int inputs = statistics.channels();
        double logs = 0;
        for (int c = 0; c < inputs; c++) {
            logs += Math.log(statistics.deviation(c));
        }
        double typical = Math.exp(logs / inputs);
        float[] shift = new float[inputs];
        float[] scale = new float[inputs];
        for (int c = 0; c < inputs; c++) {
            shift[c] = shifts ? (float) statistics.mean(c) : 0;
            scale[c] = (float) Math.pow(Math.max(statistics.deviation(c) / typical, NARROWEST), power);
        }
        return new ChannelFold(shift, scale);
    }

    /** {@code p = (x * std + mean) * 255}. */
    private static ChannelFold pixels(Preprocessing preprocessing, int inputs) {
        int channels = preprocessing.mean().size();
        float[] shift = new float[inputs];
        float[] scale = new float[inputs];
        for (int i = 0; i < inputs; i++) {
            int c = i / (inputs / channels);
            float std = preprocessing.std().get(c);
            shift[i] = -preprocessing.mean().get(c) / std;
            scale[i] = 1 / (255 * std);
        }
        return new ChannelFold(shift, scale);
    }

    /** All pixels with {@code bits} of them left. */
    private static ActivationQuantizer grid(int bits) {
        int highest = (1 << Math.min(bits, 8)) - 1;
        return new ActivationQuantizer(255f / highest, 0, 0, highest);
    }
}
