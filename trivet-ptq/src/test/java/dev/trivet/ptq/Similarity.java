package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;

/**
 * The objective that a search maximises, computed apart from it: each operator of the float model is redone in double with
 * dequantized operands, and eq. (11) of Liu et al. 2021 compares the two outputs.
 */
final class Similarity implements LayerObserver {
    private final VitModel quantized;
    /** Per operator: the sum over images and their number. */
    private final Map<String, double[]> sums = new LinkedHashMap<>();

    private Similarity(VitModel quantized) {
        this.quantized = quantized;
    }

    /** The mean over images, by operator. */
    static Map<String, Double> byOperator(VitModel model, VitModel quantized, CalibrationImages images) {
        Similarity similarity = new Similarity(quantized);
        try (ModelExecutor executor = ModelExecutor.compile(model, new VectorKernels(), 1);
                ModelSession session = executor.openSession()) {
            MemorySegment input = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            for (int i = 0; i < images.size(); i++) {
                images.load(i, input);
                session.run(input, 1, logits, Optional.of(similarity));
            }
        }
        Map<String, Double> means = new LinkedHashMap<>();
        similarity.sums.forEach((name, s) -> means.put(name, s[0] / s[1]));
        return means;
    }

    private void add(String name, double[] output, MemorySegment expected) {
        double[] wanted = new double[output.length];
        for (int i = 0; i < wanted.length; i++) {
            wanted[i] = expected.getAtIndex(JAVA_FLOAT, i);
        }
        double[] sum = sums.computeIfAbsent(name, n -> new double[2]);
        sum[0] += Fixtures.pearson(wanted, output);
        sum[1]++;
    }

    private static double[] dequantized(MemorySegment values, int count, ActivationQuantizer quantizer) {
        double[] out = new double[count];
        for (int i = 0; i < count; i++) {
            out[i] = quantizer.dequantize(quantizer.quantize(values.getAtIndex(JAVA_FLOAT, i)));
        }
        return out;
    }

    @Override
    public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
        LinearLayer.Quantized layer = (LinearLayer.Quantized) quantized.linear(name);
        double[] x = dequantized(input, rows * layer.inputs(), layer.input());
        double[] out = new double[rows * layer.outputs()];
        for (int r = 0; r < rows; r++) {
            for (int n = 0; n < layer.outputs(); n++) {
                double total = 0;
                for (int k = 0; k < layer.inputs(); k++) {
                    total += x[r * layer.inputs() + k] * layer.code((long) n * layer.inputs() + k);
                }
                out[r * layer.outputs() + n] = total * layer.scale(n);
            }
        }
        add(name, out, raw);
    }

    @Override
    public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
        VitConfig c = quantized.vit();
        MatmulQuantizers q = Objects.requireNonNull(quantized.matmuls().get(name));
        boolean scores = name.endsWith(".qk");
        int m = c.tokens();
        int k = scores ? c.headWidth() : c.tokens();
        int n = scores ? c.tokens() : c.headWidth();
        double[] a = dequantized(left, batch * m * k, q.left());
        double[] b = dequantized(right, batch * n * k, q.right());
        double[] out = new double[batch * m * n];
        for (int h = 0; h < batch; h++) {
            for (int i = 0; i < m; i++) {
                for (int j = 0; j < n; j++) {
                    double total = 0;
                    for (int l = 0; l < k; l++) {
                        total += a[(h * m + i) * k + l] * b[scores ? (h * n + j) * k + l : (h * k + l) * n + j];
                    }
                    out[(h * m + i) * n + j] = total;
                }
            }
        }
        add(name, out, raw);
    }
}
