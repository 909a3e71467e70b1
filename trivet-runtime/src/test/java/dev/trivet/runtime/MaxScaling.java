package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * Quantizes a float model by largest values alone: what comes out is crude, but every operator is on integers. It does not
 * search and shares nothing with the quantizer that does.
 */
final class MaxScaling implements LayerObserver {
    private final VitModel model;
    private final Map<String, LinearLayer> linears = new LinkedHashMap<>();
    private final Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>();

    private MaxScaling(VitModel model) {
        this.model = model;
    }

    /** @param input float32 {@code [channels, imageSize, imageSize]}, the image that gives the ranges */
    static VitModel quantize(VitModel model, float[] input) {
        MaxScaling scaling = new MaxScaling(model);
        try (VitExecutor executor = new VitExecutor(model, new VectorKernels(), 1);
                VitSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
            session.run(in, 1, session.allocateLogits(), Optional.of(scaling));
        }
        return new VitModel(model.config(), scaling.linears, scaling.matmuls, model.floats());
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
        float step = (highest - lowest) / 255;
        int zero = Math.clamp(Math.round(-lowest / step), 0, 255);
        byte[] codes = new byte[layer.weight().length];
        float[] scales = new float[layer.outputs()];
        for (int n = 0; n < layer.outputs(); n++) {
            float most = 1e-6f;
            for (int k = 0; k < layer.inputs(); k++) {
                most = Math.max(most, Math.abs(layer.weight()[n * layer.inputs() + k]));
            }
            scales[n] = most / 127;
            for (int k = 0; k < layer.inputs(); k++) {
                codes[n * layer.inputs() + k] = (byte) Math.round(layer.weight()[n * layer.inputs() + k] / scales[n]);
            }
        }
        linears.put(
                name,
                new LinearLayer.Quantized(
                        name,
                        layer.outputs(),
                        layer.inputs(),
                        8,
                        MemorySegment.ofArray(codes),
                        scales,
                        layer.bias(),
                        new ActivationQuantizer(step, zero, 0, 255)));
    }

    @Override
    public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
        VitConfig c = model.geometry();
        boolean probabilities = name.endsWith(".av");
        long rightCount = (long) batch * c.tokens() * c.headWidth();
        long leftCount = probabilities ? (long) batch * c.tokens() * c.tokens() : rightCount;
        float leftMost = most(left, leftCount);
        ActivationQuantizer l = probabilities
                ? new ActivationQuantizer(leftMost / 255, 0, 0, 255)
                : new ActivationQuantizer(leftMost / 127, 0, -128, 127);
        matmuls.put(
                name, new MatmulQuantizers(l, new ActivationQuantizer(most(right, rightCount) / 127, 0, -128, 127)));
    }

    private static float most(MemorySegment values, long count) {
        float most = 0;
        for (long i = 0; i < count; i++) {
            most = Math.max(most, Math.abs(values.getAtIndex(JAVA_FLOAT, i)));
        }
        return most;
    }
}
