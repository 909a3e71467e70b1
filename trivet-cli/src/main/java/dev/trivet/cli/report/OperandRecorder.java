package dev.trivet.cli.report;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Counts the codes of every operand of a quantized model, beside the values that the float model has on the same image, and
 * keeps the attention probabilities of the last image. For one thread.
 */
final class OperandRecorder {
    /** What the operands of a product are called. */
    private static final List<String> SCORES = List.of("queries", "keys");

    private static final List<String> MIXING = List.of("probabilities", "values");

    private final VitModel quantized;
    private final VitConfig config;
    /** Of the float model, of the image at hand, by operator and operand. */
    private final Map<String, float[]> floats = new HashMap<>();

    private final Map<String, Map<String, OperandHistogram>> histograms = new LinkedHashMap<>();
    /** Mean attention of the last image by product: the class token's row, or the mean row where there is none. */
    private final Map<String, float[]> attentionBefore = new LinkedHashMap<>();

    private final Map<String, float[]> attentionAfter = new LinkedHashMap<>();

    OperandRecorder(VitModel quantized) {
        this.quantized = quantized;
        config = quantized.vit();
    }

    /** By operator, then in the operator's own order. */
    List<OperandHistogram> histograms(String operator) {
        return List.copyOf(histograms.getOrDefault(operator, Map.of()).values());
    }

    /** Attention that each patch gets, {@code [patches]}, by product, of the float model. */
    Map<String, float[]> attentionBefore() {
        return attentionBefore;
    }

    Map<String, float[]> attentionAfter() {
        return attentionAfter;
    }

    /** To watch the float model with, before {@link #watchQuantized}. */
    LayerObserver watchFloat() {
        floats.clear();
        return new LayerObserver() {
            @Override
            public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
                floats.put(name + " input", floats(input, (long) rows * inputs(name)));
            }

            @Override
            public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
                List<String> operands = operands(name);
                floats.put(name + " " + operands.get(0), floats(left, size(name, 0, batch)));
                floats.put(name + " " + operands.get(1), floats(right, size(name, 1, batch)));
                if (operands == MIXING) {
                    attentionBefore.put(name, attention(floats(left, size(name, 0, batch)), batch));
                }
            }
        };
    }

    LayerObserver watchQuantized() {
        return new LayerObserver() {
            @Override
            public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
                if (quantized.linear(name) instanceof LinearLayer.Quantized q) {
                    count(name, "input", q.input(), input, (long) rows * q.inputs());
                }
            }

            @Override
            public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
                List<String> operands = operands(name);
                var found = Optional.ofNullable(quantized.matmuls().get(name));
                found.ifPresent(q -> {
                    count(name, operands.get(0), q.left(), left, size(name, 0, batch));
                    count(name, operands.get(1), q.right(), right, size(name, 1, batch));
                });
                if (operands == MIXING) {
                    int count = size(name, 0, batch);
                    float[] probabilities = found.map(q -> {
                                float[] values = new float[count];
                                for (int i = 0; i < count; i++) {
                                    values[i] = q.left().dequantize(code(q.left(), left, i));
                                }
                                if (q.normalized()) {
                                    normalizeRows(values, config.tokens());
                                }
                                return values;
                            })
                            .orElseGet(() -> floats(left, count));
                    attentionAfter.put(name, attention(probabilities, batch));
                }
            }
        };
    }

    /** Numerators of softmax to probabilities. */
    private static void normalizeRows(float[] values, int columns) {
        for (int row = 0; row < values.length; row += columns) {
            float sum = 0;
            for (int i = row; i < row + columns; i++) {
                sum += values[i];
            }
            for (int i = row; i < row + columns; i++) {
                values[i] /= sum;
            }
        }
    }

    private int inputs(String name) {
        return quantized.linear(name).inputs();
    }

    private static List<String> operands(String product) {
        return product.endsWith(".qk") ? SCORES : MIXING;
    }

    /** Elements of an operand of a product over {@code batch} heads. */
    private int size(String product, int operand, int batch) {
        boolean map = operands(product) == MIXING && operand == 0;
        return batch * config.tokens() * (map ? config.tokens() : config.headWidth());
    }

    private static float[] floats(MemorySegment values, long count) {
        return values.asSlice(0, 4 * count).toArray(JAVA_FLOAT);
    }

    private static int code(ActivationQuantizer q, MemorySegment codes, long index) {
        if (q.wide()) {
            return codes.get(LinearLayer.Quantized.CODE, 2 * index);
        }
        byte code = codes.get(JAVA_BYTE, index);
        return q.signed() ? code : code & 255;
    }

    private void count(String operator, String operand, ActivationQuantizer q, MemorySegment codes, long count) {
        OperandHistogram histogram = histograms
                .computeIfAbsent(operator, o -> new LinkedHashMap<>())
                .computeIfAbsent(operand, o -> OperandHistogram.of(operand, q));
        float[] values = floats.getOrDefault(operator + " " + operand, new float[0]);
        for (int i = 0; i < count; i++) {
            int code = code(q, codes, i);
            if (values.length == count) {
                histogram.add(code, values[i]);
            } else {
                histogram.add(code);
            }
        }
    }

    /** Mean over heads of the class token's row, or of all rows, without the columns of the prefix tokens. */
    private float[] attention(float[] probabilities, int heads) {
        int tokens = config.tokens();
        int rows = config.classToken() ? 1 : tokens;
        float[] mean = new float[config.patches()];
        for (int h = 0; h < heads; h++) {
            for (int r = 0; r < rows; r++) {
                int row = (h * tokens + r) * tokens + config.prefixTokens();
                for (int p = 0; p < mean.length; p++) {
                    mean[p] += probabilities[row + p] / (heads * rows);
                }
            }
        }
        return mean;
    }
}
