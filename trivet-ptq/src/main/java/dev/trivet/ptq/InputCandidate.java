package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import dev.trivet.kernel.Operand;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

/**
 * One way to quantize a layer's input: a channel fold and a quantizer for what it leaves.
 *
 * <p>Folds are tried where a LayerNorm before the layer can absorb them: none, one that gives every channel the same mean and
 * standard deviation (RepQ-ViT's channel-wise quantizer, folded), and one half way, which costs the weights less (as
 * SmoothQuant trades). Quantizers are of least squared error, an element counting as much as the weights carry it on.
 *
 * @param name for reports
 */
record InputCandidate(String name, ChannelFold fold, ActivationQuantizer quantizer) {
    private static final double[] POWERS = {0.5, 1};
    /** Below so many calibration rows (a head has one an image) ranges get {@link #HEADROOM}. */
    private static final int FEW_ROWS = 4096;

    private static final float HEADROOM = 1.25f;

    private static final String[] NAMES = {"", "half-folded ", "folded "};
    /** Least and largest factor between channels' scales. */
    private static final double NARROWEST = 1e-3;

    /** What a LayerNorm before the layer can absorb. */
    enum Folding {
        /** There is none. */
        NONE,
        /**
         * Scales alone: some of what the layer gives does not come from the LayerNorm (padding of windows, whose query, key and
         * value are the bias), so the bias must not take up a shift.
         */
        SCALES,
        SCALES_AND_SHIFTS
    }

    static List<InputCandidate> of(
            LayerSamples samples, Supplier<SampleWorker> workers, Folding folding, int bits, boolean levels) {
        int inputs = samples.layer.inputs();
        ChannelStatistics statistics = ChannelStatistics.of(samples, workers);
        List<ChannelFold> folds = new ArrayList<>();
        folds.add(ChannelFold.identity(inputs));
        if (folding != Folding.NONE) {
            for (double power : POWERS) {
                folds.add(fold(statistics, power, folding));
            }
        }
        List<LevelHistogram> histograms = histograms(samples, workers, statistics, folds);
        List<InputCandidate> candidates = new ArrayList<>();
        // Few rows have not seen the range; what lies beyond would be clipped.
        float room = (long) samples.rows * samples.pass.images() < FEW_ROWS ? HEADROOM : 1f;
        for (int f = 0; f < folds.size(); f++) {
            LevelHistogram histogram = histograms.get(f);
            candidates.add(new InputCandidate(
                    NAMES[f] + "uniform",
                    folds.get(f),
                    histogram.uniform(bits, false).scaledBy(room)));
            if (levels && bits < 8) {
                candidates.add(new InputCandidate(
                        NAMES[f] + "levels",
                        folds.get(f),
                        histogram.levels(bits, false).scaledBy(room)));
            }
        }
        return candidates;
    }

    private static ChannelFold fold(ChannelStatistics statistics, double power, Folding folding) {
        int inputs = statistics.channels();
        double logs = 0;
        for (int c = 0; c < inputs; c++) {
            logs += Math.log(statistics.deviation(c));
        }
        double typical = Math.exp(logs / inputs);
        float[] shift = new float[inputs];
        float[] scale = new float[inputs];
        for (int c = 0; c < inputs; c++) {
            shift[c] = folding == Folding.SCALES ? 0 : (float) statistics.mean(c);
            scale[c] = (float) Math.pow(Math.max(statistics.deviation(c) / typical, NARROWEST), power);
        }
        return new ChannelFold(shift, scale);
    }

    private static List<LevelHistogram> histograms(
            LayerSamples samples,
            Supplier<SampleWorker> workers,
            ChannelStatistics statistics,
            List<ChannelFold> folds) {
        int inputs = samples.layer.inputs();
        List<LevelHistogram> totals = new ArrayList<>();
        double[][] importance = new double[folds.size()][inputs];
        double[] norms = columnEnergy(samples);
        for (int f = 0; f < folds.size(); f++) {
            double low = 0;
            double high = 0;
            for (int c = 0; c < inputs; c++) {
                low = Math.min(low, folds.get(f).apply((float) statistics.lowest(c), c));
                high = Math.max(high, folds.get(f).apply((float) statistics.highest(c), c));
                double scale = folds.get(f).scale()[c];
                importance[f][c] = norms[c] * scale * scale;
            }
            totals.add(new LevelHistogram(low, high));
        }
        samples.pass.run(() -> new HistogramWorker(workers.get(), totals), new ImagePass.Task<HistogramWorker>() {
            @Override
            public void compute(HistogramWorker worker, int image) {
                MemorySegment x = samples.x(image);
                for (int f = 0; f < folds.size(); f++) {
                    LevelHistogram histogram = worker.cleared(f);
                    for (int r = 0; r < samples.rows; r++) {
                        for (int c = 0; c < inputs; c++) {
                            float v = x.getAtIndex(JAVA_FLOAT, (long) r * inputs + c);
                            histogram.add(folds.get(f).apply(v, c), importance[f][c]);
                        }
                    }
                }
            }

            @Override
            public void merge(HistogramWorker worker, int image) {
                for (int f = 0; f < folds.size(); f++) {
                    totals.get(f).add(worker.histograms.get(f));
                }
            }
        });
        return totals;
    }

    /** Squared length of each column of the weights. */
    private static double[] columnEnergy(LayerSamples samples) {
        int inputs = samples.layer.inputs();
        float[] weight = samples.layer.weight();
        double[] energy = new double[inputs];
        for (int i = 0; i < weight.length; i++) {
            energy[i % inputs] += (double) weight[i] * weight[i];
        }
        return energy;
    }

    /** A thread's own histograms, one per fold, of one image at a time. */
    private static final class HistogramWorker implements AutoCloseable {
        private final SampleWorker worker;
        final List<LevelHistogram> histograms;

        HistogramWorker(SampleWorker worker, List<LevelHistogram> like) {
            this.worker = worker;
            histograms = like.stream().map(LevelHistogram::empty).toList();
        }

        LevelHistogram cleared(int index) {
            LevelHistogram histogram = histograms.get(index);
            histogram.clear();
            return histogram;
        }

        @Override
        public void close() {
            worker.close();
        }
    }

    /** Writes one image's codes to the worker's buffer {@code codes}. */
    MemorySegment encode(LayerSamples samples, SampleWorker worker, int image) {
        int inputs = samples.layer.inputs();
        int count = samples.rows * inputs;
        MemorySegment x = samples.x(image);
        MemorySegment folded = x;
        if (!fold.isIdentity()) {
            folded = worker.buffers.get("folded", 4L * count);
            for (int r = 0; r < samples.rows; r++) {
                for (int c = 0; c < inputs; c++) {
                    long i = (long) r * inputs + c;
                    folded.setAtIndex(JAVA_FLOAT, i, fold.apply(x.getAtIndex(JAVA_FLOAT, i), c));
                }
            }
        }
        MemorySegment codes = worker.buffers.get("codes", 2L * count);
        worker.workspace.pointwise().encode(folded, count, Operand.of(quantizer), codes);
        return codes;
    }

    /**
     * Turns codes back to values.
     *
     * @param values float32 {@code [rows, inputs]}
     * @param transposed float32 {@code [inputs, rows]}
     */
    void decode(LayerSamples samples, MemorySegment codes, MemorySegment values, MemorySegment transposed) {
        int inputs = samples.layer.inputs();
        for (int r = 0; r < samples.rows; r++) {
            for (int c = 0; c < inputs; c++) {
                long i = (long) r * inputs + c;
                int code = quantizer.wide() ? codes.getAtIndex(JAVA_SHORT, i) : codes.get(JAVA_BYTE, i) & 0xff;
                float v = quantizer.dequantize(code);
                values.setAtIndex(JAVA_FLOAT, i, v);
                transposed.setAtIndex(JAVA_FLOAT, (long) c * samples.rows + r, v);
            }
        }
    }
}
