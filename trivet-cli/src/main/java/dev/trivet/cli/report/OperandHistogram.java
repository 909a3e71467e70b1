package dev.trivet.cli.report;

import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.WeightCoding;
import dev.trivet.runtime.Evaluation;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * How the values of one operand fall on its quantizer's levels: the codes that the integer kernel reads, and the values of the float
 * model where it has the same ones.
 *
 * <p>Quantization may rewrite a model, so that an operand stands in a basis that the float model does not know. Whether the
 * two are the same values is therefore asked of the values themselves: if the dequantized codes resemble the float operand by
 * {@link #COUNTERPART_DB} or more, they are.
 */
final class OperandHistogram {
    /** Signal-to-noise ratio from which two operands count as the same; unrelated ones are below 0 dB. */
    static final double COUNTERPART_DB = 3;

    private static final int FLOAT_BINS = 96;
    private static final int MOST_CELLS = 64;
    /** How far the drawing goes beyond the interval, in interval lengths. */
    private static final double MARGIN = 0.2;

    private final String operand;
    private final String bits;
    private final int lowest;
    private final int zeroPoint;
    private final double step;
    /** Codes in use, rising. */
    private final List<Integer> levels;

    private final boolean picked;
    private final long[] codes;
    private final long[] values = new long[FLOAT_BINS];
    private long valueCount;
    private long outside;
    private double signal;
    private double noise;

    private OperandHistogram(
            String operand, String bits, int lowest, int zeroPoint, double step, List<Integer> levels, boolean picked) {
        this.operand = operand;
        this.bits = bits;
        this.lowest = lowest;
        this.zeroPoint = zeroPoint;
        this.step = step;
        this.levels = levels;
        this.picked = picked;
        codes = new long[levels.getLast() - lowest + 1];
    }

    static OperandHistogram of(String operand, ActivationQuantizer q) {
        List<Integer> levels = q.levels().isEmpty()
                ? IntStream.rangeClosed(q.lowest(), q.highest()).boxed().toList()
                : q.levels();
        boolean picked = !q.levels().isEmpty();
        return new OperandHistogram(
                operand, Figures.bits(q.bits()), q.lowest(), q.zeroPoint(), q.scale(), levels, picked);
    }

    /** Weights in units of their channel's step. */
    static OperandHistogram of(LinearLayer.Quantized layer, LinearLayer original) {
        WeightCoding coding = layer.coding();
        List<Integer> levels =
                IntStream.rangeClosed(coding.lowest(), coding.highest()).boxed().toList();
        OperandHistogram histogram =
                new OperandHistogram("weights", coding.label(), coding.lowest(), 0, 1, levels, false);
        for (int n = 0; n < layer.outputs(); n++) {
            for (int k = 0; k < layer.inputs(); k++) {
                int at = n * layer.inputs() + k;
                if (original instanceof LinearLayer.Float32 l) {
                    histogram.add(layer.code(at), l.weight()[at] / layer.scale(n));
                } else {
                    histogram.add(layer.code(at));
                }
            }
        }
        return histogram;
    }

    void add(int code) {
        codes[code - lowest]++;
    }

    /** @param value what the float model has in the code's place */
    void add(int code, double value) {
        add(code);
        double d = value - (code - zeroPoint) * step;
        signal += value * value;
        noise += d * d;
        valueCount++;
        if (value < low() - step / 2 || value > high() + step / 2) {
            outside++;
        }
        int bin = (int) Math.floor((value - from()) / (to() - from()) * FLOAT_BINS);
        if (bin >= 0 && bin < FLOAT_BINS) {
            values[bin]++;
        }
    }

    String operand() {
        return operand;
    }

    /** Such as {@code 8 bit}. */
    String bits() {
        return bits;
    }

    double step() {
        return step;
    }

    /** Value of the lowest level. */
    double low() {
        return value(lowest);
    }

    double high() {
        return value(levels.getLast());
    }

    private double value(int code) {
        return (code - zeroPoint) * step;
    }

    /** Values at which the drawing begins and ends. */
    double from() {
        return low() - MARGIN * (high() - low());
    }

    double to() {
        return high() + MARGIN * (high() - low());
    }

    /** Values of levels that were picked one by one; empty where all codes are levels. */
    double[] pickedLevels() {
        return picked ? levels.stream().mapToDouble(this::value).toArray() : new double[0];
    }

    /** Share of codes that are the lowest: at most so many values were clipped there. */
    double atLow() {
        return (double) codes[0] / Math.max(1, Arrays.stream(codes).sum());
    }

    double atHigh() {
        return (double) codes[codes.length - 1]
                / Math.max(1, Arrays.stream(codes).sum());
    }

    /** Share of the float model's values that are beyond the interval. */
    double outside() {
        return valueCount == 0 ? 0 : (double) outside / valueCount;
    }

    /** Whether the float model has the same operand. */
    boolean hasCounterpart() {
        return valueCount > 0 && Evaluation.sqnrDb(signal, noise) >= COUNTERPART_DB;
    }

    /**
     * Part of the axis with how dense values are in it.
     *
     * @param density share of all values, per unit of the axis
     */
    record Cell(double from, double to, double density) {}

    /** Codes: a cell is what a level stands for, or several levels where there are many. */
    List<Cell> cells() {
        long total = Math.max(1, Arrays.stream(codes).sum());
        int group = Math.ceilDiv(levels.size(), MOST_CELLS);
        return IntStream.range(0, Math.ceilDiv(levels.size(), group))
                .mapToObj(c -> {
                    int first = c * group;
                    int last = Math.min(levels.size(), first + group) - 1;
                    long count = 0;
                    for (int l = first; l <= last; l++) {
                        count += codes[levels.get(l) - lowest];
                    }
                    double left = edge(first - 1, first);
                    double right = edge(last, last + 1);
                    return new Cell(left, right, count / (right - left) / total);
                })
                .toList();
    }

    /** Halfway between two levels; half a step beyond the ends. */
    private double edge(int left, int right) {
        if (left < 0) {
            return low() - step / 2;
        }
        return right == levels.size() ? high() + step / 2 : (value(levels.get(left)) + value(levels.get(right))) / 2;
    }

    /** Values of the float model. */
    List<Cell> floatCells() {
        double width = (to() - from()) / FLOAT_BINS;
        return IntStream.range(0, FLOAT_BINS)
                .mapToObj(i -> new Cell(
                        from() + i * width, from() + (i + 1) * width, values[i] / width / Math.max(1, valueCount)))
                .toList();
    }
}
