package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;

/**
 * Eight bits everywhere by the ranges seen in one run, without any search: weights {@code max|w| / 127} per output channel, activations
 * from their least to their greatest value. It takes seconds and gives a model that computes what a searched one computes, operator by
 * operator, so its speed is that of one; its accuracy is not looked after.
 */
public final class RangeQuantization {
    private static final int WEIGHT_LIMIT = 127;
    private static final int CODES = 255;

    private final VitModel model;
    private final Map<String, Range> inputs = new HashMap<>();
    private final Map<String, Range> left = new HashMap<>();
    private final Map<String, Range> right = new HashMap<>();

    private record Range(float low, float high) {
        /** Zero is always within. */
        static final Range ZERO = new Range(0, 0);

        Range with(MemorySegment values, long count) {
            float lowest = low;
            float highest = high;
            for (long i = 0; i < count; i++) {
                float v = values.getAtIndex(JAVA_FLOAT, i);
                lowest = Math.min(lowest, v);
                highest = Math.max(highest, v);
            }
            return new Range(lowest, highest);
        }

        ActivationQuantizer unsigned() {
            float scale = Math.max((high - low) / CODES, Float.MIN_NORMAL * CODES);
            int zeroPoint = Math.clamp(Math.round(-low / scale), 0, CODES);
            return new ActivationQuantizer(scale, zeroPoint, 0, CODES);
        }

        ActivationQuantizer symmetric() {
            float limit = Math.max(Math.max(-low, high), Float.MIN_NORMAL * CODES);
            return new ActivationQuantizer(limit / WEIGHT_LIMIT, 0, -WEIGHT_LIMIT - 1, WEIGHT_LIMIT);
        }
    }

    private RangeQuantization(VitModel model) {
        this.model = model;
    }

    /**
     * Quantizes a float model.
     *
     * @param pixels float32 {@code [channels, imageSize, imageSize]}: the image whose ranges are taken, off-heap
     */
    public static VitModel of(VitModel model, Kernels kernels, MemorySegment pixels) {
        RangeQuantization ranges = new RangeQuantization(model);
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                ModelSession session = executor.openSession()) {
            session.run(pixels, 1, session.allocateLogits(), Optional.of(ranges.new Watcher()));
        }
        return ranges.quantized();
    }

    private final class Watcher implements LayerObserver {
        private final Map<String, ModelUnit.Block> products = new HashMap<>();

        Watcher() {
            for (ModelUnit unit : model.geometry().units()) {
                if (unit instanceof ModelUnit.Block block) {
                    products.put(block.scores(), block);
                    products.put(block.mixing(), block);
                }
            }
        }

        @Override
        public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
            widen(inputs, name, input, (long) rows * model.linear(name).inputs());
        }

        @Override
        public void matmul(
                String name, MemorySegment leftOperand, MemorySegment rightOperand, int batch, MemorySegment raw) {
            ModelUnit.Block block = Objects.requireNonNull(products.get(name));
            long count = (long) batch * block.groupTokens() * block.headWidth();
            widen(right, name, rightOperand, count);
            if (name.equals(block.scores())) {
                widen(left, name, leftOperand, count);
            }
        }

        private static void widen(Map<String, Range> ranges, String name, MemorySegment values, long count) {
            ranges.put(name, ranges.getOrDefault(name, Range.ZERO).with(values, count));
        }
    }

    private VitModel quantized() {
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        model.linears().forEach((name, layer) -> linears.put(name, quantized((LinearLayer.Float32) layer)));
        Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>();
        for (ModelUnit unit : model.geometry().units()) {
            if (unit instanceof ModelUnit.Block block) {
                matmuls.put(
                        block.scores(),
                        new MatmulQuantizers(
                                range(left, block.scores()).symmetric(),
                                range(right, block.scores()).symmetric()));
                matmuls.put(
                        block.mixing(),
                        new MatmulQuantizers(
                                new ActivationQuantizer(1f / CODES, 0, 0, CODES),
                                range(right, block.mixing()).symmetric(),
                                true));
            }
        }
        return new VitModel(model.config(), linears, matmuls, model.floats());
    }

    private static Range range(Map<String, Range> ranges, String name) {
        return ranges.getOrDefault(name, Range.ZERO);
    }

    private LinearLayer quantized(LinearLayer.Float32 layer) {
        float[] scales = new float[layer.outputs()];
        byte[] codes = new byte[layer.weight().length];
        for (int n = 0; n < layer.outputs(); n++) {
            int from = n * layer.inputs();
            float limit = Float.MIN_NORMAL * CODES;
            for (int k = 0; k < layer.inputs(); k++) {
                limit = Math.max(limit, Math.abs(layer.weight()[from + k]));
            }
            scales[n] = limit / WEIGHT_LIMIT;
            for (int k = 0; k < layer.inputs(); k++) {
                codes[from + k] = (byte) Math.round(layer.weight()[from + k] / scales[n]);
            }
        }
        return new LinearLayer.Quantized(
                layer.name(),
                layer.outputs(),
                layer.inputs(),
                Byte.SIZE,
                MemorySegment.ofArray(codes),
                scales,
                layer.bias(),
                range(inputs, layer.name()).unsigned());
    }
}
