package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * A weighted histogram of an operand, from which the quantizer of least weighted squared error is worked out.
 *
 * <p>{@link #uniform}: neighbouring codes; both ends of the range are searched as fractions of the observed ends.
 *
 * <p>{@link #levels}: {@code 2^b} of the 256 codes of a byte grid. For a given grid the best choice is found exactly by dynamic
 * programming, {@code D[m][j] = min_i D[m - 1][i] + cost(i, j)}, where {@code cost(i, j)} is the error of everything between
 * two neighbouring levels, each value going where the quantizer will put it: optimal scalar quantization (Lloyd 1957, Max 1960) with levels
 * on an integer grid, where twin ranges (PTQ4ViT) and log-base grids (RepQ-ViT, AdaLog) are special cases that fix the shape
 * beforehand.
 *
 * <p>A bin goes to one level as a whole: values within half a bin of a boundary may be counted on the other side of it. That costs
 * next to nothing where the boundary is half way between two levels, and about {@code gap * step^2} a value where it is half a step
 * off, between levels an even number of codes apart.
 *
 * <p>Not thread-safe.
 */
final class LevelHistogram {
    private static final int BINS = 4096;
    private static final int CODES = 256;
    private static final double[] UNKNOWN = {};
    private static final double[] FRACTIONS = {1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05};

    private final double low;
    private final double high;
    private final double width;
    /** Per bin: weight, weighted sum, weighted sum of squares. */
    private final double[] weight = new double[BINS];

    private final double[] sum = new double[BINS];
    private final double[] squares = new double[BINS];

    /** Prefix sums over bins, made on first use. */
    private double[] prefixWeight = UNKNOWN;

    private double[] prefixSum = UNKNOWN;
    private double[] prefixSquares = UNKNOWN;

    /**
     * @param low smallest value, at most 0
     * @param high largest value, at least 0
     */
    LevelHistogram(double low, double high) {
        this.low = Math.min(low, 0);
        this.high = Math.max(high, Math.max(0, this.low + 1e-12));
        width = (this.high - this.low) / BINS;
    }

    /** Forgets all values. */
    void clear() {
        java.util.Arrays.fill(weight, 0);
        java.util.Arrays.fill(sum, 0);
        java.util.Arrays.fill(squares, 0);
        prefixWeight = UNKNOWN;
    }

    /** An empty histogram over the same range. */
    LevelHistogram empty() {
        return new LevelHistogram(low, high);
    }

    void add(double value, double importance) {
        int bin = (int) Math.clamp((value - low) / width, 0, BINS - 1);
        weight[bin] += importance;
        sum[bin] += importance * value;
        squares[bin] += importance * value * value;
        prefixWeight = UNKNOWN;
    }

    /** @param values float32 {@code [count]}, each of that weight */
    void add(MemorySegment values, int count, double importance) {
        for (long i = 0; i < count; i++) {
            add(values.getAtIndex(JAVA_FLOAT, i), importance);
        }
    }

    /** Adds all of another histogram over the same range. */
    void add(LevelHistogram other) {
        for (int b = 0; b < BINS; b++) {
            weight[b] += other.weight[b];
            sum[b] += other.sum[b];
            squares[b] += other.squares[b];
        }
        prefixWeight = UNKNOWN;
    }

    private void prefixes() {
        if (prefixWeight.length == 0) {
            prefixWeight = prefix(weight);
            prefixSum = prefix(sum);
            prefixSquares = prefix(squares);
        }
    }

    private static double[] prefix(double[] values) {
        double[] sums = new double[values.length + 1];
        for (int b = 0; b < values.length; b++) {
            sums[b + 1] = sums[b] + values[b];
        }
        return sums;
    }

    private int binAt(double value) {
        return (int) Math.clamp(Math.rint((value - low) / width), 0, BINS);
    }

    /** Error of the bins {@code from} to {@code to} when all of them become {@code level}. */
    private double error(int from, int to, double level) {
        if (to <= from) {
            return 0;
        }
        double w = prefixWeight[to] - prefixWeight[from];
        double s = prefixSum[to] - prefixSum[from];
        double q = prefixSquares[to] - prefixSquares[from];
        return Math.max(0, q - 2 * level * s + level * level * w);
    }

    /** Weighted squared error of a quantizer on what was seen. */
    double error(ActivationQuantizer quantizer) {
        prefixes();
        List<Integer> codes = quantizer.levels();
        int count = codes.isEmpty() ? quantizer.highest() - quantizer.lowest() + 1 : codes.size();
        double total = 0;
        int from = 0;
        for (int i = 0; i < count; i++) {
            double level = value(quantizer, codes.isEmpty() ? quantizer.lowest() + i : codes.get(i));
            int to = BINS;
            if (i + 1 < count) {
                double above = value(quantizer, codes.isEmpty() ? quantizer.lowest() + i + 1 : codes.get(i + 1));
                int gap = codes.isEmpty() ? 1 : codes.get(i + 1) - codes.get(i);
                to = binAt(boundary(level, above, gap));
            }
            total += error(from, to, level);
            from = Math.max(from, to);
        }
        return total;
    }

    /**
     * Where values begin to go to the upper of two neighbouring levels: a value becomes a code first and its code a level
     * then, so a code half way between, which there is where the gap is even, takes all its values upwards.
     */
    private static double boundary(double below, double above, int gap) {
        double middle = (below + above) / 2;
        return gap % 2 == 0 ? middle - (above - below) / gap / 2 : middle;
    }

    private static double value(ActivationQuantizer quantizer, int code) {
        return (code - quantizer.zeroPoint()) * (double) quantizer.scale();
    }

    /**
     * The best uniform quantizer.
     *
     * @param signed signed codes with zero point 0, or unsigned ones with any zero point
     */
    ActivationQuantizer uniform(int bits, boolean signed) {
        ActivationQuantizer best = null;
        double least = Double.POSITIVE_INFINITY;
        for (double top : FRACTIONS) {
            for (double bottom : low < 0 && high > 0 && !signed ? FRACTIONS : new double[] {top}) {
                ActivationQuantizer candidate = grid(bits, signed, bottom * low, top * high);
                double error = error(candidate);
                if (best == null || error < least) {
                    best = candidate;
                    least = error;
                }
            }
        }
        return java.util.Objects.requireNonNull(best);
    }

    private static ActivationQuantizer grid(int bits, boolean signed, double bottom, double top) {
        if (signed) {
            int half = 1 << (bits - 1);
            return new ActivationQuantizer(step(Math.max(top, -bottom) / (half - 0.5)), 0, -half, half - 1);
        }
        int most = (1 << bits) - 1;
        float scale = step((top - bottom) / most);
        int zero = (int) Math.clamp(Math.rint(-bottom / scale), 0, most);
        return new ActivationQuantizer(scale, zero, 0, most);
    }

    private static float step(double step) {
        return (float) Math.max(step, 1e-20);
    }

    /** The best {@code 2^bits} levels on a byte grid, for fewer than 8 bits. */
    ActivationQuantizer levels(int bits, boolean signed) {
        if (bits >= 8) {
            return uniform(bits, signed);
        }
        prefixes();
        ActivationQuantizer best = null;
        double least = Double.POSITIVE_INFINITY;
        for (double top : FRACTIONS) {
            double bottom = low < 0 ? Math.max(low, -top * Math.max(high, -low)) : 0;
            ActivationQuantizer byteGrid = grid(8, signed, bottom, top * high);
            Picked picked = pick(byteGrid, 1 << bits, signed);
            if (best == null || picked.error < least) {
                best = new ActivationQuantizer(
                        byteGrid.scale(),
                        byteGrid.zeroPoint(),
                        picked.codes.getFirst(),
                        picked.codes.getLast(),
                        picked.codes);
                least = picked.error;
            }
        }
        return java.util.Objects.requireNonNull(best);
    }

    private record Picked(List<Integer> codes, double error) {}

    private Picked pick(ActivationQuantizer grid, int count, boolean signed) {
        double[] values = new double[CODES];
        for (int i = 0; i < CODES; i++) {
            values[i] = value(grid, grid.lowest() + i);
        }
        // The zero code stays in use where it must be: its quantizer's zero point has to lie within the levels.
        int zero = grid.zeroPoint() - grid.lowest();
        // Signed codes have a negative one, or they would not be signed, even where no value is negative.
        int highestFirst = signed ? zero - 1 : zero;
        double[][] between = new double[CODES][CODES];
        for (int i = 0; i < CODES; i++) {
            for (int j = i + 1; j < CODES; j++) {
                int middle = binAt(boundary(values[i], values[j], j - i));
                between[i][j] = error(binAt(values[i]), middle, values[i]) + error(middle, binAt(values[j]), values[j]);
            }
        }
        double[][] cost = new double[count][CODES];
        int[][] previous = new int[count][CODES];
        for (int j = 0; j < CODES; j++) {
            cost[0][j] = j <= highestFirst ? error(0, binAt(values[j]), values[j]) : Double.POSITIVE_INFINITY;
        }
        for (int m = 1; m < count; m++) {
            for (int j = 0; j < CODES; j++) {
                cost[m][j] = Double.POSITIVE_INFINITY;
                for (int i = 0; i < j; i++) {
                    double c = cost[m - 1][i] + between[i][j];
                    if (c < cost[m][j]) {
                        cost[m][j] = c;
                        previous[m][j] = i;
                    }
                }
            }
        }
        int last = CODES - 1;
        double least = Double.POSITIVE_INFINITY;
        for (int j = Math.max(zero, count - 1); j < CODES; j++) {
            double c = cost[count - 1][j] + error(binAt(values[j]), BINS, values[j]);
            if (c < least) {
                least = c;
                last = j;
            }
        }
        List<Integer> codes = new ArrayList<>();
        for (int m = count - 1, j = last; m >= 0; j = previous[m][j], m--) {
            codes.addFirst(grid.lowest() + j);
        }
        return new Picked(List.copyOf(codes), least);
    }
}
