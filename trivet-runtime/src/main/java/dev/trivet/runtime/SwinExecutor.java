package dev.trivet.runtime;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Product;
import dev.trivet.kernel.ScoreBias;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.model.WindowPartition;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A Swin Transformer compiled for one set of kernels. Relative position biases are looked up in their tables once and held as
 * {@code [heads, windowTokens, windowTokens]}, masks as {@code [windows, windowTokens, windowTokens]}, shared by blocks that are cut
 * alike. Shift, padding and windows are a table of token numbers that the splitting and merging of heads follow, so nothing is
 * rolled, padded or copied ({@link SwinSession}).
 */
public final class SwinExecutor implements ModelExecutor {
    /** A unit made ready to run. */
    sealed interface Step {}

    /** @param positions float32 {@code [patches, width]} and how they are added */
    record Embedding(
            ModelUnit.Embedding unit, LinearOperator projection, NormParameters norm, Optional<Positions> positions)
            implements Step {}

    /** Positions as if they were a product's raw sums. */
    record Positions(MemorySegment values, Product product) {}

    /** @param source which token stands where, {@link WindowPartition#tokens()} */
    @SuppressWarnings("ArrayRecordComponent") // a table, never compared
    record Block(BlockOperators operators, int[] source, ScoreBias bias) implements Step {}

    record Merging(ModelUnit.Merging unit, NormParameters norm, LinearOperator reduction) implements Step {}

    record Head(ModelUnit.Head unit, NormParameters norm, LinearOperator classifier) implements Step {}

    private record Mask(MemorySegment values, boolean[] masked) {}

    final SwinConfig config;
    final Kernels kernels;
    final int batch;
    final int firstUnit;
    final List<Step> steps;

    private final OperatorArena operators;
    private final Map<WindowPartition, Mask> masks = new HashMap<>();

    /**
     * Packs the weights.
     *
     * @param batch most images that one run takes
     * @param firstUnit index into {@link SwinConfig#units()}
     * @param endUnit index of the unit after the last
     */
    SwinExecutor(VitModel model, Kernels kernels, int batch, int firstUnit, int endUnit) {
        if (batch < 1) {
            throw new IllegalArgumentException("a batch of " + batch + " images");
        }
        if (!(model.geometry() instanceof SwinConfig swin)) {
            throw new IllegalArgumentException(model.config().architecture() + " is no Swin Transformer");
        }
        config = swin;
        this.kernels = kernels;
        this.batch = batch;
        this.firstUnit = firstUnit;
        operators = new OperatorArena(model, kernels);
        List<Step> compiled = new ArrayList<>();
        for (ModelUnit unit : config.units().subList(firstUnit, endUnit)) {
            compiled.add(
                    switch (unit) {
                        case ModelUnit.Embedding embedding -> embedding(model, embedding);
                        case ModelUnit.Block block -> block(model, block);
                        case ModelUnit.Merging merging ->
                            new Merging(
                                    merging,
                                    operators.norm(merging.norm()),
                                    operators.linear(
                                            merging.reduction(),
                                            batch * merging.output().tokens()));
                        case ModelUnit.Head head ->
                            new Head(
                                    head,
                                    operators.norm(SwinNames.FINAL_NORM),
                                    operators.linear(SwinNames.HEAD, batch));
                    });
        }
        steps = List.copyOf(compiled);
    }

    private Embedding embedding(VitModel model, ModelUnit.Embedding unit) {
        Optional<Positions> positions = Optional.empty();
        if (config.absolutePositions()) {
            MemorySegment none = operators.constant(new float[config.width()]);
            positions = Optional.of(new Positions(
                    operators.constant(model.floats(SwinNames.POSITIONS)),
                    new Product(false, config.width(), MemorySegment.NULL, MemorySegment.NULL, none)));
        }
        return new Embedding(
                unit,
                operators.linear(VitNames.PATCH_EMBEDDING, batch * config.patches()),
                operators.norm(SwinNames.PATCH_EMBEDDING_NORM),
                positions);
    }

    private Block block(VitModel model, ModelUnit.Block unit) {
        WindowPartition windows = unit.windows().orElseThrow();
        float[] table = model.floats(SwinNames.relativePositions(unit.name()));
        MemorySegment relative = operators.constant(relative(table, windows.relativePositions(), unit.heads()));
        Mask mask = masks.computeIfAbsent(windows, this::mask);
        return new Block(
                operators.block(unit, batch), windows.tokens(), new ScoreBias(relative, mask.values, mask.masked));
    }

    /** Rows of {@code [offsets, heads]} to {@code [heads, pairs]}. */
    private static float[] relative(float[] table, int[] positions, int heads) {
        float[] expanded = new float[heads * positions.length];
        for (int head = 0; head < heads; head++) {
            for (int pair = 0; pair < positions.length; pair++) {
                expanded[head * positions.length + pair] = table[positions[pair] * heads + head];
            }
        }
        return expanded;
    }

    private Mask mask(WindowPartition windows) {
        boolean[] masked = new boolean[windows.windows()];
        if (windows.shift() == 0) {
            return new Mask(MemorySegment.NULL, masked);
        }
        float[] values = windows.mask();
        int pairs = values.length / masked.length;
        for (int i = 0; i < values.length; i++) {
            masked[i / pairs] |= values[i] != 0;
        }
        return new Mask(operators.constant(values), masked);
    }

    @Override
    public SwinConfig geometry() {
        return config;
    }

    @Override
    public int batch() {
        return batch;
    }

    @Override
    public SwinSession openSession() {
        return new SwinSession(this);
    }

    @Override
    public void close() {
        operators.close();
    }
}
