package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.model.Pooling;
import dev.trivet.model.VitConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * The parameters of a ViT under the names and shapes that timm gives them, and where each lies in one flat array. Keeping
 * all parameters in one array makes the optimiser, gradient clipping and checkpoints a few operations on long vectors
 * instead of hundreds on short ones.
 */
record ParameterLayout(List<Slot> slots, int total) {

    /** How a parameter starts, see {@link InitialWeights}. */
    enum Start {
        ZERO,
        ONE,
        /** Normal, deviation 0.02: the tokens. */
        TOKEN,
        /** Normal, deviation 1 / sqrt(inputs): the patch embedding. */
        LECUN,
        /** Uniform within sqrt(6 / (inputs + outputs)): the matrices of the blocks. */
        XAVIER,
        /** Sines and cosines of the patch's row and column. */
        SINUSOID
    }

    /**
     * One parameter.
     *
     * @param offset index of its first value in the flat array
     * @param decays whether weight decay applies: matrices yes; biases, norms, tokens and positions no
     */
    record Slot(String name, List<Long> shape, int offset, boolean decays, Start start) {
        int size() {
            return Math.toIntExact(shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact));
        }

        long[] dimensions() {
            return shape.stream().mapToLong(Long::longValue).toArray();
        }
    }

    ParameterLayout {
        slots = List.copyOf(slots);
    }

    /**
     * One kind of matrix in all blocks: {@code [blocks, rows, columns]} with {@code stride} between blocks.
     *
     * @param offset index of the first block's first value
     */
    record BlockMatrices(String name, int blocks, long rows, long columns, int offset, int stride) {}

    /** The weight matrices of the blocks, kind by kind. */
    List<BlockMatrices> blockMatrices() {
        List<BlockMatrices> kinds = new ArrayList<>();
        for (Slot first : slots) {
            if (first.name().startsWith("blocks.0.") && first.shape().size() == 2) {
                String kind = first.name().substring("blocks.0".length());
                List<Slot> all = slots.stream()
                        .filter(slot -> slot.name().endsWith(kind))
                        .toList();
                int stride = all.size() == 1 ? 1 : all.get(1).offset() - first.offset();
                kinds.add(new BlockMatrices(
                        kind.substring(1),
                        all.size(),
                        first.shape().get(0),
                        first.shape().get(1),
                        first.offset(),
                        stride));
            }
        }
        return kinds;
    }

    /** 1 at every value that weight decay applies to, 0 elsewhere: {@code [total]}. */
    float[] decays() {
        float[] decays = new float[total];
        for (Slot slot : slots) {
            if (slot.decays()) {
                java.util.Arrays.fill(decays, slot.offset(), slot.offset() + slot.size(), 1f);
            }
        }
        return decays;
    }

    static ParameterLayout of(VitConfig config) {
        if (config.registers() > 0 || config.preLogits() > 0 || config.pooling() == Pooling.NORMALIZED_AVERAGE) {
            throw new BadInputException(
                    "models with register tokens, pre-logits or a norm before average pooling are not"
                            + " trained; choose another config");
        }
        Builder all = new Builder();
        long width = config.width();
        if (config.classToken()) {
            all.add("cls_token", false, Start.TOKEN, 1, 1, width);
        }
        if (config.distilled()) {
            all.add("dist_token", false, Start.TOKEN, 1, 1, width);
        }
        all.add("pos_embed", false, Start.SINUSOID, 1, config.tokens(), width);
        all.add(
                "patch_embed.proj.weight",
                true,
                Start.LECUN,
                width,
                config.channels(),
                config.patchSize(),
                config.patchSize());
        all.add("patch_embed.proj.bias", false, Start.ZERO, width);
        for (int i = 0; i < config.depth(); i++) {
            String block = "blocks." + i + ".";
            all.norm(block + "norm1", width);
            all.linear(block + "attn.qkv", 3 * width, width, config.qkvBias());
            all.linear(block + "attn.proj", width, width, true);
            all.norm(block + "norm2", width);
            all.linear(block + "mlp.fc1", config.mlpWidth(), width, true);
            all.linear(block + "mlp.fc2", width, config.mlpWidth(), true);
        }
        all.norm(config.pooling() == Pooling.AVERAGE ? "fc_norm" : "norm", width);
        all.head("head", config.classes(), width);
        if (config.distilled()) {
            all.head("head_dist", config.classes(), width);
        }
        return new ParameterLayout(all.slots, all.total);
    }

    private static final class Builder {
        private final List<Slot> slots = new ArrayList<>();
        private int total;

        void add(String name, boolean decays, Start start, long... shape) {
            List<Long> dimensions = java.util.Arrays.stream(shape).boxed().toList();
            Slot slot = new Slot(name, dimensions, total, decays, start);
            slots.add(slot);
            total = Math.addExact(total, slot.size());
        }

        void norm(String name, long width) {
            add(name + ".weight", false, Start.ONE, width);
            add(name + ".bias", false, Start.ZERO, width);
        }

        void head(String name, long classes, long width) {
            add(name + ".weight", true, Start.ZERO, classes, width);
            add(name + ".bias", false, Start.ZERO, classes);
        }

        void linear(String name, long outputs, long inputs, boolean bias) {
            add(name + ".weight", true, Start.XAVIER, outputs, inputs);
            if (bias) {
                add(name + ".bias", false, Start.ZERO, outputs);
            }
        }
    }
}
