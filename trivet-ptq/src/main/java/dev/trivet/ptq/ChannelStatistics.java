package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.ModelUnit;
import dev.trivet.runtime.AttentionLayout;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.function.Supplier;

/** Mean, deviation and range of each channel of a layer's input over all calibration rows. */
final class ChannelStatistics {
    /** Least deviation of a channel: one that never changes still needs a scale. */
    private static final double LEAST = 1e-6;

    private final double[] sum;
    private final double[] squares;
    private final float[] lowest;
    private final float[] highest;
    private double rows;

    ChannelStatistics(int channels) {
        sum = new double[channels];
        squares = new double[channels];
        lowest = new float[channels];
        highest = new float[channels];
        clear();
    }

    static ChannelStatistics of(LayerSamples samples, Supplier<SampleWorker> workers) {
        int channels = samples.layer.inputs();
        ChannelStatistics total = new ChannelStatistics(channels);
        samples.pass.run(() -> new Own(workers.get(), new ChannelStatistics(channels)), new ImagePass.Task<Own>() {
            @Override
            public void compute(Own own, int image) {
                own.statistics.clear();
                own.statistics.add(samples.x(image), samples.rows);
            }

            @Override
            public void merge(Own own, int image) {
                total.add(own.statistics);
            }
        });
        return total;
    }

    private record Own(SampleWorker worker, ChannelStatistics statistics) implements AutoCloseable {
        @Override
        public void close() {
            worker.close();
        }
    }

    void clear() {
        rows = 0;
        Arrays.fill(sum, 0);
        Arrays.fill(squares, 0);
        Arrays.fill(lowest, Float.POSITIVE_INFINITY);
        Arrays.fill(highest, Float.NEGATIVE_INFINITY);
    }

    /** How many rows have been added. */
    double rows() {
        return rows;
    }

    /**
     * @param values float32 {@code [count, channels]}
     * @throws dev.trivet.BadInputException if a value is not a number
     */
    void add(MemorySegment values, int count) {
        rows += count;
        for (int r = 0; r < count; r++) {
            for (int c = 0; c < sum.length; c++) {
                add(c, values.getAtIndex(JAVA_FLOAT, (long) r * sum.length + c));
            }
        }
        for (double s : squares) {
            if (!Double.isFinite(s)) {
                throw new dev.trivet.BadInputException(
                        "the model's activations overflow on a calibration image; check the weights and the preprocessing");
            }
        }
    }

    private void add(int channel, float v) {
        sum[channel] += v;
        squares[channel] += (double) v * v;
        lowest[channel] = Math.min(lowest[channel], v);
        highest[channel] = Math.max(highest[channel], v);
    }

    /**
     * Adds values that stand in groups and heads. Keys and values of padding count, because the model computes with them; its
     * queries are dropped.
     *
     * @param values float32 {@code [groups, heads, groupTokens, headWidth]}
     */
    void addHeads(MemorySegment values, AttentionLayout layout, boolean queries) {
        ModelUnit.Block block = layout.unit();
        int headWidth = block.headWidth();
        long row = 0;
        for (int group = 0; group < block.groups(); group++) {
            for (int h = 0; h < block.heads(); h++) {
                for (int t = 0; t < block.groupTokens(); t++, row++) {
                    if (queries && layout.isPadding(group, t)) {
                        continue;
                    }
                    rows += h == 0 ? 1 : 0;
                    for (int c = 0; c < headWidth; c++) {
                        add(h * headWidth + c, values.getAtIndex(JAVA_FLOAT, row * headWidth + c));
                    }
                }
            }
        }
    }

    void add(ChannelStatistics other) {
        rows += other.rows;
        for (int c = 0; c < sum.length; c++) {
            sum[c] += other.sum[c];
            squares[c] += other.squares[c];
            lowest[c] = Math.min(lowest[c], other.lowest[c]);
            highest[c] = Math.max(highest[c], other.highest[c]);
        }
    }

    int channels() {
        return sum.length;
    }

    double mean(int channel) {
        return sum[channel] / rows;
    }

    /** Standard deviation, never zero. */
    double deviation(int channel) {
        double mean = mean(channel);
        return Math.max(Math.sqrt(Math.max(squares[channel] / rows - mean * mean, 0)), LEAST);
    }

    /** Root of the mean square, never zero. */
    double rootMeanSquare(int channel) {
        return Math.max(Math.sqrt(squares[channel] / rows), LEAST);
    }

    double lowest(int channel) {
        return lowest[channel];
    }

    double highest(int channel) {
        return highest[channel];
    }
}
