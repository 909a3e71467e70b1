package dev.trivet.model;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * What tensors a model of a given geometry consists of, with their shapes.
 *
 * @param linears the layers with a quantizable weight, in execution order
 * @param floats everything that stays in float32: tokens, positions, position biases, LayerNorm parameters; name to shape
 * @param products names of the attention products, in execution order
 */
public record VitTensors(List<Linear> linears, Map<String, List<Long>> floats, List<String> products) {
    /**
     * A linear layer: {@code NAME.weight} of {@code [outputs, inputs]} (or {@code fileShape} in the checkpoint, the same
     * values) and, where {@code bias}, {@code NAME.bias} of {@code [outputs]}.
     */
    public record Linear(String name, int outputs, int inputs, boolean bias, List<Long> fileShape) {
        /** Name of the weight tensor. */
        public String weight() {
            return name + ".weight";
        }

        /** Name of the bias tensor, whether there is one or not. */
        public String biasName() {
            return name + ".bias";
        }
    }

    /** Shapes of all tensors as a checkpoint holds them, floats first, by name. */
    public Map<String, List<Long>> fileShapes() {
        Map<String, List<Long>> shapes = new LinkedHashMap<>(floats);
        for (Linear linear : linears) {
            shapes.put(linear.weight(), linear.fileShape());
            if (linear.bias()) {
                shapes.put(linear.biasName(), List.of((long) linear.outputs()));
            }
        }
        return shapes;
    }

    /** The tensors of a model of this shape. */
    public static VitTensors of(Geometry geometry) {
        return switch (geometry) {
            case VitConfig vit -> of(vit);
            case SwinConfig swin -> of(swin);
        };
    }

    private static VitTensors of(VitConfig c) {
        List<Linear> linears = new ArrayList<>();
        Map<String, List<Long>> floats = new LinkedHashMap<>();
        long width = c.width();
        if (c.classToken()) {
            floats.put(VitNames.CLASS_TOKEN, List.of(1L, 1L, width));
        }
        if (c.distilled()) {
            floats.put(VitNames.DISTILLATION_TOKEN, List.of(1L, 1L, width));
        }
        floats.put(VitNames.POSITIONS, List.of(1L, (long) c.tokens(), width));
        long patch = c.patchSize();
        linears.add(new Linear(
                VitNames.PATCH_EMBEDDING,
                c.width(),
                c.patchLength(),
                true,
                List.of(width, (long) c.channels(), patch, patch)));
        for (int b = 0; b < c.depth(); b++) {
            norm(floats, VitNames.attentionNorm(b), width);
            linears.add(dense(VitNames.qkv(b), 3 * c.width(), c.width(), c.qkvBias()));
            linears.add(dense(VitNames.projection(b), c.width(), c.width(), true));
            norm(floats, VitNames.mlpNorm(b), width);
            linears.add(dense(VitNames.hidden(b), c.mlpWidth(), c.width(), true));
            linears.add(dense(VitNames.output(b), c.width(), c.mlpWidth(), true));
        }
        norm(floats, VitNames.finalNorm(c), width);
        if (c.preLogits() > 0) {
            linears.add(dense(VitNames.PRE_LOGITS, c.preLogits(), c.width(), true));
        }
        linears.add(dense(VitNames.HEAD, c.classes(), c.headInputs(), true));
        if (c.distilled()) {
            linears.add(dense(VitNames.DISTILLATION_HEAD, c.classes(), c.width(), true));
        }
        return new VitTensors(List.copyOf(linears), floats, products(c));
    }

    private static VitTensors of(SwinConfig c) {
        List<Linear> linears = new ArrayList<>();
        Map<String, List<Long>> floats = new LinkedHashMap<>();
        for (ModelUnit unit : c.units()) {
            switch (unit) {
                case ModelUnit.Embedding _ -> {
                    long patch = c.patchSize();
                    linears.add(new Linear(
                            VitNames.PATCH_EMBEDDING,
                            c.width(),
                            c.patchLength(),
                            true,
                            List.of((long) c.width(), (long) c.channels(), patch, patch)));
                    norm(floats, SwinNames.PATCH_EMBEDDING_NORM, c.width());
                    if (c.absolutePositions()) {
                        floats.put(SwinNames.POSITIONS, List.of(1L, (long) c.patches(), (long) c.width()));
                    }
                }
                case ModelUnit.Block block -> {
                    int width = block.shape().width();
                    norm(floats, block.attentionNorm(), width);
                    linears.add(dense(block.qkv(), 3 * width, width, c.qkvBias()));
                    long offsets = block.windows().orElseThrow().relativeOffsets();
                    floats.put(SwinNames.relativePositions(block.name()), List.of(offsets, (long) block.heads()));
                    linears.add(dense(block.projection(), width, width, true));
                    norm(floats, block.mlpNorm(), width);
                    linears.add(dense(block.hidden(), block.hiddenWidth(), width, true));
                    linears.add(dense(block.mlpOutput(), width, block.hiddenWidth(), true));
                }
                case ModelUnit.Merging merging -> {
                    int merged = 4 * merging.input().width();
                    norm(floats, merging.norm(), merged);
                    linears.add(dense(merging.reduction(), merging.output().width(), merged, false));
                }
                case ModelUnit.Head _ -> {
                    norm(floats, SwinNames.FINAL_NORM, c.lastWidth());
                    linears.add(dense(SwinNames.HEAD, c.classes(), c.lastWidth(), true));
                }
            }
        }
        return new VitTensors(List.copyOf(linears), floats, products(c));
    }

    private static List<String> products(Geometry geometry) {
        return geometry.units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(ModelUnit.Block.class::cast)
                .flatMap(block -> Stream.of(block.scores(), block.mixing()))
                .toList();
    }

    private static Linear dense(String name, int outputs, int inputs, boolean bias) {
        return new Linear(name, outputs, inputs, bias, List.of((long) outputs, (long) inputs));
    }

    private static void norm(Map<String, List<Long>> floats, String name, long width) {
        floats.put(name + ".weight", List.of(width));
        floats.put(name + ".bias", List.of(width));
    }
}
