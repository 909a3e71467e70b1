package dev.trivet.cli.report;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.WindowPartition;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * Counts the codes of every operand of a quantized model, beside the values that the float model has on the same image, and
 * keeps the attention probabilities of the last image. For one thread.
 */
final class OperandRecorder {
    /** What an attention product multiplies. */
    private enum Operands {
        SCORES("queries", "keys"),
        MIXING("probabilities", "values");

        private final String left;
        private final String right;

        Operands(String left, String right) {
            this.left = left;
            this.right = right;
        }

        static Operands of(String product) {
            return product.endsWith(".qk") ? SCORES : MIXING;
        }
    }

    private final VitModel quantized;
    /** By the names of their products. */
    private final Map<String, ModelUnit.Block> blocks = new HashMap<>();
    /** Of the float model, of the image at hand, by operator and operand. */
    private final Map<String, float[]> floats = new HashMap<>();

    private final Map<String, Map<String, OperandHistogram>> histograms = new LinkedHashMap<>();
    /** Mean attention of the last image by product: the class token's row, or the mean row where there is none. */
    private final Map<String, float[]> attentionBefore = new LinkedHashMap<>();

    private final Map<String, float[]> attentionAfter = new LinkedHashMap<>();

    OperandRecorder(VitModel quantized) {
        this.quantized = quantized;
        for (ModelUnit unit : quantized.geometry().units()) {
            if (unit instanceof ModelUnit.Block block) {
                blocks.put(block.scores(), block);
                blocks.put(block.mixing(), block);
            }
        }
    }

    /** By operator, then in the operator's own order. */
    List<OperandHistogram> histograms(String operator) {
        return List.copyOf(histograms.getOrDefault(operator, Map.of()).values());
    }

    /** Attention that each token of the map gets, row-major, by product, of the float model. */
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
                Operands operands = Operands.of(name);
                floats.put(name + " " + operands.left, floats(left, size(name, 0, batch)));
                floats.put(name + " " + operands.right, floats(right, size(name, 1, batch)));
                if (operands == Operands.MIXING) {
                    attentionBefore.put(name, attention(name, floats(left, size(name, 0, batch))));
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
                Operands operands = Operands.of(name);
                var found = Optional.ofNullable(quantized.matmuls().get(name));
                found.ifPresent(q -> {
                    count(name, operands.left, q.left(), left, size(name, 0, batch));
                    count(name, operands.right, q.right(), right, size(name, 1, batch));
                });
                if (operands == Operands.MIXING) {
                    int count = size(name, 0, batch);
                    float[] probabilities = found.map(q -> {
                                float[] values = new float[count];
                                for (int i = 0; i < count; i++) {
                                    values[i] = q.left().dequantize(code(q.left(), left, i));
                                }
                                if (q.normalized()) {
                                    normalizeRows(values, block(name).groupTokens());
                                }
                                return values;
                            })
                            .orElseGet(() -> floats(left, count));
                    attentionAfter.put(name, attention(name, probabilities));
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

    private ModelUnit.Block block(String product) {
        return Objects.requireNonNull(blocks.get(product), product);
    }

    /** Elements of an operand of so many products. */
    private int size(String product, int operand, int batch) {
        boolean map = Operands.of(product) == Operands.MIXING && operand == 0;
        ModelUnit.Block block = block(product);
        return batch * block.groupTokens() * (map ? block.groupTokens() : block.headWidth());
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

    /** Mean over heads of the class token's row, or of all rows of a group, put back on the map; prefix tokens and padding left out. */
    private float[] attention(String product, float[] probabilities) {
        ModelUnit.Block block = block(product);
        int n = block.groupTokens();
        int[] places = places(block);
        boolean classToken = quantized.geometry() instanceof VitConfig vit && vit.classToken();
        float[] mean = new float[Arrays.stream(places).max().orElseThrow() + 1];
        for (int group = 0; group < block.groups(); group++) {
            int first = group * n;
            int[] queries = classToken
                    ? new int[] {0}
                    : IntStream.range(0, n).filter(q -> places[first + q] >= 0).toArray();
            for (int head = 0; head < block.heads(); head++) {
                for (int query : queries) {
                    int row = ((group * block.heads() + head) * n + query) * n;
                    for (int key = 0; key < n; key++) {
                        int at = places[first + key];
                        if (at >= 0) {
                            mean[at] += probabilities[row + key] / (block.heads() * queries.length);
                        }
                    }
                }
            }
        }
        return mean;
    }

    /** Where on the map each token of each group stands; negative for what stands nowhere. */
    private int[] places(ModelUnit.Block block) {
        int prefix = quantized.geometry() instanceof VitConfig vit ? vit.prefixTokens() : 0;
        return block.windows()
                .map(WindowPartition::tokens)
                .orElseGet(() ->
                        IntStream.range(-prefix, block.groupTokens() - prefix).toArray());
    }
}
