package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * Quantizes a float model by largest values alone: what comes out is crude, but every operator is on integers. It does not
 * search and shares nothing with the quantizer that does.
 */
final class MaxScaling implements LayerObserver {
    private final VitModel model;
    private final int bits;
    private final boolean levels;
    private final boolean normalized;
    private final Map<String, LinearLayer> linears = new LinkedHashMap<>();
    private final Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>();

    private MaxScaling(VitModel model, int bits, boolean levels, boolean normalized) {
        this.model = model;
        this.bits = bits;
        this.levels = levels;
        this.normalized = normalized;
    }

    /** @param input float32 {@code [channels, imageSize, imageSize]}, the image that gives the ranges */
    static VitModel quantize(VitModel model, float[] input) {
        return quantize(model, input, 8, false);
    }

    /**
     * @param bits of weights and activations, 2 to 10
     * @param levels whether unsigned activations use every third code only
     */
    static VitModel quantize(VitModel model, float[] input, int bits, boolean levels) {
        return quantize(model, input, bits, levels, false);
    }

    /** @param normalized whether attention weights are coded as softmax's numerators */
    static VitModel quantize(VitModel model, float[] input, int bits, boolean levels, boolean normalized) {
        MaxScaling scaling = new MaxScaling(model, bits, levels, normalized);
        try (ModelExecutor executor = ModelExecutor.compile(model, new VectorKernels(), 1);
                ModelSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
            session.run(in, 1, session.allocateLogits(), Optional.of(scaling));
        }
        return new VitModel(model.config(), scaling.linears, scaling.matmuls, model.floats());
    }

    /** The quantized model with the float model's weights as three values each. */
    static VitModel ternary(VitModel model, VitModel quantized, boolean perChannel) {
        Map<String, LinearLayer> linears = new LinkedHashMap<>(quantized.linears());
        linears.replaceAll((name, layer) -> {
            LinearLayer.Quantized q = (LinearLayer.Quantized) layer;
            float[] weight = ((LinearLayer.Float32) model.linear(name)).weight();
            int groups = perChannel ? q.outputs() : 1;
            TernaryWeights ternary =
                    TernaryWeights.of(weight, q.outputs(), q.inputs(), groups, TernaryWeights.Scale.SURVIVORS);
            return new LinearLayer.Quantized(
                    name,
                    q.outputs(),
                    q.inputs(),
                    WeightCoding.TERNARY,
                    MemorySegment.ofArray(ternary.codes()),
                    ternary.scales(),
                    q.bias(),
                    q.input());
        });
        return new VitModel(model.config(), linears, quantized.matmuls(), model.floats());
    }

    @Override
    public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
        LinearLayer.Float32 layer = (LinearLayer.Float32) model.linear(name);
        float lowest = 0;
        float highest = 0;
        for (long i = 0; i < (long) rows * layer.inputs(); i++) {
            lowest = Math.min(lowest, input.getAtIndex(JAVA_FLOAT, i));
            highest = Math.max(highest, input.getAtIndex(JAVA_FLOAT, i));
        }
        int top = (1 << bits) - 1;
        float step = (highest - lowest) / top;
        int zero = Math.clamp(Math.round(-lowest / step), 0, top);
        int most = top / 2;
        int bytes = bits > 8 ? 2 : 1;
        MemorySegment codes = MemorySegment.ofArray(new byte[bytes * layer.weight().length]);
        float[] scales = new float[layer.outputs()];
        for (int n = 0; n < layer.outputs(); n++) {
            float largest = 1e-6f;
            for (int k = 0; k < layer.inputs(); k++) {
                largest = Math.max(largest, Math.abs(layer.weight()[n * layer.inputs() + k]));
            }
            scales[n] = largest / most;
            for (int k = 0; k < layer.inputs(); k++) {
                int at = n * layer.inputs() + k;
                int code = Math.round(layer.weight()[at] / scales[n]);
                if (bytes == 2) {
                    codes.set(LinearLayer.Quantized.CODE, 2L * at, (short) code);
                } else {
                    codes.set(JAVA_BYTE, at, (byte) code);
                }
            }
        }
        linears.put(
                name,
                new LinearLayer.Quantized(
                        name,
                        layer.outputs(),
                        layer.inputs(),
                        bits,
                        codes,
                        scales,
                        layer.bias(),
                        unsigned(step, zero)));
    }

    private ActivationQuantizer unsigned(float step, int zero) {
        int top = (1 << bits) - 1;
        List<Integer> used = levels
                ? IntStream.rangeClosed(0, top)
                        .filter(c -> c % 3 == 0 || c == top)
                        .boxed()
                        .toList()
                : List.of();
        return new ActivationQuantizer(step, zero, 0, top, used);
    }

    @Override
    public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
        ModelUnit.Block block = Fixtures.block(model, name);
        boolean probabilities = name.endsWith(".av");
        long rightCount = (long) batch * block.groupTokens() * block.headWidth();
        long leftCount = probabilities ? (long) batch * block.groupTokens() * block.groupTokens() : rightCount;
        // The largest numerator of a row is 1.
        float leftMost = probabilities && normalized ? 1 : most(left, leftCount);
        int half = 1 << (bits - 1);
        ActivationQuantizer l = probabilities
                ? unsigned(leftMost / (2 * half - 1), 0)
                : new ActivationQuantizer(leftMost / (half - 1), 0, -half, half - 1);
        ActivationQuantizer r = new ActivationQuantizer(most(right, rightCount) / (half - 1), 0, -half, half - 1);
        matmuls.put(name, new MatmulQuantizers(l, r, probabilities && normalized));
    }

    private static float most(MemorySegment values, long count) {
        float most = 0;
        for (long i = 0; i < count; i++) {
            most = Math.max(most, Math.abs(values.getAtIndex(JAVA_FLOAT, i)));
        }
        return most;
    }
}
