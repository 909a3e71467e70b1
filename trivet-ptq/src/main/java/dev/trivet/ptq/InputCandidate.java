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
 * <p>Quantizers are of least squared error, an element counting as much as the weights carry it on.
 *
 * @param name for reports
 */
record InputCandidate(String name, ChannelFold fold, ActivationQuantizer quantizer) {
    /** Below so many calibration rows (a head has one an image) ranges get {@link #HEADROOM}. */
    private static final int FEW_ROWS = 4096;

    private static final float HEADROOM = 1.25f;

    /** @param folds what may be done to the input's channels; the first of them is tried first */
    static List<InputCandidate> of(
            LayerSamples samples,
            Supplier<SampleWorker> workers,
            ChannelStatistics statistics,
            List<InputFold> folds,
            int bits,
            boolean levels) {
        List<LevelHistogram> histograms = histograms(
                samples,
                workers,
                statistics,
                folds.stream().map(InputFold::fold).toList());
        List<InputCandidate> candidates = new ArrayList<>();
        // Few rows have not seen the range; what lies beyond would be clipped.
        float room = rowsThatCount(samples) < FEW_ROWS ? HEADROOM : 1f;
        for (int f = 0; f < folds.size(); f++) {
            LevelHistogram histogram = histograms.get(f);
            InputFold fold = folds.get(f);
            if (fold.grid().isPresent()) {
                candidates.add(
                        new InputCandidate(fold.name(), fold.fold(), fold.grid().get()));
                continue;
            }
            candidates.add(new InputCandidate(
                    fold.name() + "uniform",
                    fold.fold(),
                    histogram.uniform(bits, false).scaledBy(room)));
            if (levels && bits < 8) {
                candidates.add(new InputCandidate(
                        fold.name() + "levels",
                        fold.fold(),
                        histogram.levels(bits, false).scaledBy(room)));
            }
        }
        return candidates;
    }

    /** How many equal rows would tell as much: (sum of gains)^2 / sum of their squares. */
    private static double rowsThatCount(LayerSamples samples) {
        double sum = 0;
        double squares = 0;
        for (float gain : samples.gains) {
            sum += gain;
            squares += (double) gain * gain;
        }
        return sum * sum / squares * samples.pass.images();
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
                            histogram.add(folds.get(f).apply(v, c), samples.gains[r] * importance[f][c]);
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
        int count = samples.rows * samples.layer.inputs();
        MemorySegment codes = worker.buffers.get("codes", 2L * count);
        Operand operand = fold.isIdentity() ? Operand.of(quantizer) : Operand.of(quantizer, fold.equalization());
        worker.workspace.pointwise().encode(samples.x(image), count, operand, codes);
        return codes;
    }

    /**
     * Turns codes back to values.
     *
     * @param values float32 {@code [rows, inputs]}
     * @param transposed float32 {@code [inputs, rows]}, each row times its gain
     */
    void decode(
            LayerSamples samples, MemorySegment codes, MemorySegment values, MemorySegment transposed, float[] gains) {
        int inputs = samples.layer.inputs();
        for (int r = 0; r < samples.rows; r++) {
            for (int c = 0; c < inputs; c++) {
                long i = (long) r * inputs + c;
                int code = quantizer.wide() ? codes.getAtIndex(JAVA_SHORT, i) : codes.get(JAVA_BYTE, i) & 0xff;
                float v = quantizer.dequantize(code);
                values.setAtIndex(JAVA_FLOAT, i, v);
                transposed.setAtIndex(JAVA_FLOAT, (long) c * samples.rows + r, gains[r] * v);
            }
        }
    }
}
