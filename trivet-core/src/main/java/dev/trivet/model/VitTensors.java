package dev.trivet.model;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What tensors a ViT of a given geometry consists of, with their shapes.
 *
 * @param linears the layers with a quantizable weight, in execution order
 * @param floats everything that stays in float32: tokens, positions, LayerNorm parameters; name to shape
 */
public record VitTensors(List<Linear> linears, Map<String, List<Long>> floats) {
    /**
     * A linear layer: {@code NAME.weight} of {@code [outputs, inputs]} (or {@code fileShape} in the checkpoint, the same
     * values) and, where {@code bias}, {@code NAME.bias} of {@code [outputs]}.
     */
    public record Linear(String name, int outputs, int inputs, boolean bias, List<Long> fileShape) {
        public String weight() {
            return name + ".weight";
        }

        public String biasName() {
            return name + ".bias";
        }
    }

    public static VitTensors of(VitConfig c) {
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
        linears.add(dense(VitNames.HEAD, c.classes(), c.width(), true));
        if (c.distilled()) {
            linears.add(dense(VitNames.DISTILLATION_HEAD, c.classes(), c.width(), true));
        }
        return new VitTensors(List.copyOf(linears), floats);
    }

    private static Linear dense(String name, int outputs, int inputs, boolean bias) {
        return new Linear(name, outputs, inputs, bias, List.of((long) outputs, (long) inputs));
    }

    private static void norm(Map<String, List<Long>> floats, String name, long width) {
        floats.put(name + ".weight", List.of(width));
        floats.put(name + ".bias", List.of(width));
    }
}
