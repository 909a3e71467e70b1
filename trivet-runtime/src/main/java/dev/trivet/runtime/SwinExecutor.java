package dev.trivet.runtime;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Product;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;

/**
 * A Swin Transformer compiled for one set of kernels. Shift, padding and windows are a table of token numbers that the splitting and
 * merging of heads follow ({@link AttentionLayout}), so nothing is rolled, padded or copied ({@link SwinSession}).
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

    record Block(BlockOperators operators) implements Step {}

    record Merging(ModelUnit.Merging unit, NormParameters norm, LinearOperator reduction) implements Step {}

    record Head(ModelUnit.Head unit, NormParameters norm, LinearOperator classifier) implements Step {}

    final SwinConfig config;
    final Kernels kernels;
    final int batch;
    /** Images that a session runs at once. */
    final int group;

    final int firstUnit;
    final List<Step> steps;

    private final OperatorArena operators = new OperatorArena();

    /**
     * Packs the weights.
     *
     * @param batch most images that one run takes
     * @param firstUnit index into {@link SwinConfig#units()}
     * @param endUnit index of the unit after the last
     */
    SwinExecutor(VitModel model, Kernels kernels, int batch, int firstUnit, int endUnit) {
        this(model, kernels, batch, firstUnit, endUnit, OperatorCompiler.group(model, kernels, batch));
    }

    /** @param group images that a session runs at once */
    SwinExecutor(VitModel model, Kernels kernels, int batch, int firstUnit, int endUnit, int group) {
        if (!(model.geometry() instanceof SwinConfig swin)) {
            throw new IllegalArgumentException(model.config().architecture() + " is no Swin Transformer");
        }
        config = swin;
        this.kernels = kernels;
        this.batch = batch;
        this.firstUnit = firstUnit;
        this.group = group;
        try {
            OperatorCompiler compiler = new OperatorCompiler(model, kernels, operators);
            List<ModelUnit> wanted = config.units().subList(firstUnit, endUnit);
            Iterator<BlockOperators> blocks = compiler.blocks(wanted, group).iterator();
            List<Step> compiled = new ArrayList<>();
            for (ModelUnit unit : wanted) {
                compiled.add(
                        switch (unit) {
                            case ModelUnit.Embedding embedding -> embedding(model, compiler, embedding);
                            case ModelUnit.Block _ -> new Block(blocks.next());
                            case ModelUnit.Merging merging ->
                                new Merging(
                                        merging,
                                        compiler.norm(merging.norm()),
                                        compiler.linear(
                                                merging.reduction(),
                                                group * merging.output().tokens()));
                            case ModelUnit.Head head ->
                                new Head(
                                        head,
                                        compiler.norm(SwinNames.FINAL_NORM),
                                        compiler.linear(SwinNames.HEAD, group));
                        });
            }
            steps = List.copyOf(compiled);
        } catch (RuntimeException | Error e) { // such as memory that does not suffice for all of them
            operators.close();
            throw e;
        }
    }

    private Embedding embedding(VitModel model, OperatorCompiler compiler, ModelUnit.Embedding unit) {
        Optional<Positions> positions = Optional.empty();
        if (config.absolutePositions()) {
            MemorySegment none = compiler.constant(new float[config.width()]);
            positions = Optional.of(new Positions(
                    compiler.constant(model.floats(SwinNames.POSITIONS)), Product.ofFloats(config.width(), none)));
        }
        return new Embedding(
                unit,
                compiler.linear(VitNames.PATCH_EMBEDDING, group * config.patches()),
                compiler.norm(SwinNames.PATCH_EMBEDDING_NORM),
                positions);
    }

    /**
     * Where a unit stands among {@link #steps}.
     *
     * @throws IllegalStateException if it was not compiled
     */
    int stepIndex(int unit) {
        int step = unit - firstUnit;
        if (step < 0 || step >= steps.size()) {
            throw new IllegalStateException("the executor was compiled without unit " + unit);
        }
        return step;
    }

    /**
     * Parameters of the LayerNorm before the head.
     *
     * @throws IllegalStateException if the head was not compiled
     */
    NormParameters finalNorm() {
        if (steps.getLast() instanceof Head head) {
            return head.norm();
        }
        throw new IllegalStateException("the executor was compiled without the head");
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
    public long weightBytes() {
        return operators.weightBytes();
    }

    @Override
    public SwinSession openSession() {
        return SessionMemory.open(kernels.openWorkspace(), memory -> new SwinSession(this, memory));
    }

    @Override
    public SwinSession openColdSession() {
        return SessionMemory.open(kernels.openColdWorkspace(), memory -> new SwinSession(this, memory));
    }

    @Override
    public void close() {
        operators.close();
    }
}
