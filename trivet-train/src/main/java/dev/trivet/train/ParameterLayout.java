package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.Pooling;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * The parameters of a model under the names and shapes that timm gives them, and where each lies in one flat array. Keeping
 * all parameters in one array makes the optimiser, gradient clipping and checkpoints a few operations on long vectors
 * instead of hundreds on short ones.
 */
record ParameterLayout(List<Slot> slots, int total) {
    private static final Pattern BLOCK_NUMBER = Pattern.compile("blocks\\.\\d+\\.");

    /** How a parameter starts, see {@link InitialWeights}. */
    enum Start {
        ZERO,
        ONE,
        /** Normal, deviation 0.02: tokens and position biases. */
        TOKEN,
        /** Normal, deviation 1 / sqrt(inputs): the patch embedding. */
        LECUN,
        /** Uniform within sqrt(6 / (inputs + outputs)): the matrices of blocks and patch mergings. */
        XAVIER,
        /** Sines and cosines of the patch's row and column. */
        SINUSOID
    }

    /**
     * One parameter.
     *
     * @param offset index of its first value in the flat array
     * @param decays whether weight decay applies: matrices yes; biases, norms, tokens, positions and position biases no
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
     * Equal matrices of the blocks of a stage, or one matrix: {@code [count, rows, columns]} with {@code stride} between them.
     *
     * @param name the matrices' name, {@code *} for the number of the block
     * @param offset index of the first one's first value
     */
    record MatrixGroup(String name, int count, long rows, long columns, int offset, int stride) {}

    /** The weight matrices within the model: those of the blocks and patch mergings. */
    List<MatrixGroup> matrixGroups() {
        Map<String, List<Slot>> groups = new LinkedHashMap<>();
        for (Slot slot : slots) {
            if (slot.start() == Start.XAVIER) {
                String name = BLOCK_NUMBER.matcher(slot.name()).replaceFirst("blocks.*.");
                groups.computeIfAbsent(name, _ -> new ArrayList<>()).add(slot);
            }
        }
        return groups.entrySet().stream()
                .map(group -> group(group.getKey(), group.getValue()))
                .toList();
    }

    private static MatrixGroup group(String name, List<Slot> matrices) {
        Slot first = matrices.getFirst();
        int stride = matrices.size() == 1 ? 1 : matrices.get(1).offset() - first.offset();
        return new MatrixGroup(
                name, matrices.size(), first.shape().get(0), first.shape().get(1), first.offset(), stride);
    }

    /** 1 at every value that weight decay applies to, 0 elsewhere: {@code [total]}. */
    float[] decays() {
        float[] decays = new float[total];
        for (Slot slot : slots) {
            if (slot.decays()) {
                Arrays.fill(decays, slot.offset(), slot.offset() + slot.size(), 1f);
            }
        }
        return decays;
    }

    /** @throws BadInputException if a model of this geometry has parameters that training does not know */
    static ParameterLayout of(Geometry geometry) {
        if (geometry instanceof VitConfig vit
                && (vit.registers() > 0 || vit.preLogits() > 0 || vit.pooling() == Pooling.NORMALIZED_AVERAGE)) {
            throw new BadInputException(
                    "models with register tokens, pre-logits or a norm before average pooling are not"
                            + " trained; choose another config");
        }
        Builder all = new Builder();
        boolean qkvBias = switch (geometry) {
            case VitConfig vit -> vit.qkvBias();
            case SwinConfig swin -> swin.qkvBias();
        };
        for (ModelUnit unit : geometry.units()) {
            switch (unit) {
                case ModelUnit.Embedding _ -> {
                    switch (geometry) {
                        case VitConfig vit -> all.embedding(vit);
                        case SwinConfig swin -> all.embedding(swin);
                    }
                }
                case ModelUnit.Block block -> all.block(block, qkvBias);
                case ModelUnit.Merging merging -> {
                    long merged = 4L * merging.input().width();
                    all.norm(merging.norm(), merged);
                    all.linear(merging.reduction(), merging.output().width(), merged, false);
                }
                case ModelUnit.Head head -> {
                    long width = head.input().width();
                    all.norm(
                            switch (geometry) {
                                case VitConfig vit -> VitNames.finalNorm(vit);
                                case SwinConfig _ -> SwinNames.FINAL_NORM;
                            },
                            width);
                    head.linears().forEach(name -> all.head(name, geometry.classes(), width));
                }
            }
        }
        ParameterLayout layout = new ParameterLayout(all.slots, all.total);
        layout.requireAllOf(geometry);
        return layout;
    }

    /** What the model consists of and is not computed in training must not be left out silently. */
    private void requireAllOf(Geometry geometry) {
        Map<String, List<Long>> missing =
                new LinkedHashMap<>(VitTensors.of(geometry).fileShapes());
        slots.forEach(slot -> missing.remove(slot.name(), slot.shape()));
        if (!missing.isEmpty()) {
            throw new BadInputException("training does not know the tensor "
                    + missing.keySet().iterator().next()
                    + " of this model; give a config of a plain ViT, DeiT or Swin");
        }
    }

    private static final class Builder {
        private final List<Slot> slots = new ArrayList<>();
        private int total;

        void add(String name, boolean decays, Start start, long... shape) {
            List<Long> dimensions = Arrays.stream(shape).boxed().toList();
            Slot slot = new Slot(name, dimensions, total, decays, start);
            slots.add(slot);
            total = Math.addExact(total, slot.size());
        }

        void embedding(VitConfig config) {
            long width = config.width();
            if (config.classToken()) {
                add(VitNames.CLASS_TOKEN, false, Start.TOKEN, 1, 1, width);
            }
            if (config.distilled()) {
                add(VitNames.DISTILLATION_TOKEN, false, Start.TOKEN, 1, 1, width);
            }
            add(VitNames.POSITIONS, false, Start.SINUSOID, 1, config.tokens(), width);
            patches(width, PatchGrid.of(config));
        }

        void embedding(SwinConfig config) {
            patches(config.width(), PatchGrid.of(config));
            norm(SwinNames.PATCH_EMBEDDING_NORM, config.width());
            if (config.absolutePositions()) {
                add(SwinNames.POSITIONS, false, Start.SINUSOID, 1, config.patches(), config.width());
            }
        }

        private void patches(long width, PatchGrid grid) {
            String name = VitNames.PATCH_EMBEDDING;
            add(name + ".weight", true, Start.LECUN, width, grid.channels(), grid.patchSize(), grid.patchSize());
            add(name + ".bias", false, Start.ZERO, width);
        }

        void block(ModelUnit.Block block, boolean qkvBias) {
            long width = block.shape().width();
            norm(block.attentionNorm(), width);
            block.windows()
                    .ifPresent(windows -> add(
                            SwinNames.relativePositions(block.name()),
                            false,
                            Start.TOKEN,
                            windows.relativeOffsets(),
                            block.heads()));
            linear(block.qkv(), 3 * width, width, qkvBias);
            linear(block.projection(), width, width, true);
            norm(block.mlpNorm(), width);
            linear(block.hidden(), block.hiddenWidth(), width, true);
            linear(block.mlpOutput(), width, block.hiddenWidth(), true);
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
