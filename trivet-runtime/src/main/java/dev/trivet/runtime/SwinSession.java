package dev.trivet.runtime;

import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.TokenShape;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A run of a {@link SwinExecutor}, used by one thread at a time. As in {@link VitSession} every value passes memory once between two products, and a run
 * allocates nothing off-heap.
 */
public final class SwinSession implements ModelSession {
    private static final int ALIGNMENT = 64;

    private final SwinExecutor executor;
    private final SwinConfig config;
    private final List<ModelUnit> units;
    private final Workspace workspace;
    private final Pointwise pointwise;
    private final Arena arena = Arena.ofShared();
    private final Sizes sizes;

    /** Float32 {@code [batch * tokens, width]} of the stage that is running: the residual stream. */
    private final MemorySegment stream;
    /** Float32: patches, or what a kernel cannot write in place. */
    private final MemorySegment gathered;
    /** The operand of the next product. */
    private final MemorySegment operand;
    /** Raw sums of the last product. */
    private final MemorySegment raw;
    /** Float32 {@code [batch, lastWidth]}. */
    private final MemorySegment pooled;

    private final BlockRun blocks;
    /** Rows of the first stage, of the last stage's tokens and of the pooled ones, image by image. */
    private final MemorySegment[] firstRows;

    private final MemorySegment[] lastRows;
    private final MemorySegment[] pooledRows;

    /** The most values that each buffer has to hold for one image. */
    private record Sizes(long stream, long gathered, long operand, long raw, long heads, long rows) {
        static Sizes of(SwinConfig config) {
            long patches = (long) config.patches() * config.patchLength();
            Sizes sizes = new Sizes(0, patches, patches, config.classes(), 0, 0);
            for (ModelUnit unit : config.units()) {
                sizes = switch (unit) {
                    case ModelUnit.Embedding u ->
                        sizes.atLeast(
                                u.output().values(),
                                u.output().values(),
                                0,
                                u.output().values(),
                                0,
                                0);
                    case ModelUnit.Block u -> {
                        long tokens = u.shape().tokens();
                        long wide = tokens
                                * Math.max(u.hiddenWidth(), 3L * u.shape().width());
                        long heads =
                                (long) u.groups() * u.groupTokens() * u.shape().width();
                        long scores = (long) u.groups() * u.heads() * u.groupTokens() * u.groupTokens();
                        yield sizes.atLeast(
                                u.shape().values(),
                                0,
                                Math.max(wide, scores),
                                Math.max(Math.max(wide, heads), scores),
                                heads,
                                (long) u.groups() * u.heads() * u.groupTokens());
                    }
                    case ModelUnit.Merging u -> {
                        long merged = 4L * u.output().tokens() * u.input().width();
                        yield sizes.atLeast(
                                u.input().values(), merged, merged, u.output().values(), 0, 0);
                    }
                    case ModelUnit.Head u ->
                        sizes.atLeast(
                                u.input().values(),
                                u.input().values(),
                                u.input().width(),
                                0,
                                0,
                                0);
                };
            }
            return sizes;
        }

        private Sizes atLeast(long streams, long gathers, long operands, long sums, long perHead, long mapRows) {
            return new Sizes(
                    Math.max(stream, streams),
                    Math.max(gathered, gathers),
                    Math.max(operand, operands),
                    Math.max(raw, sums),
                    Math.max(heads, perHead),
                    Math.max(rows, mapRows));
        }
    }

    SwinSession(SwinExecutor executor) {
        this.executor = executor;
        config = executor.config;
        units = config.units();
        workspace = executor.kernels.openWorkspace();
        pointwise = workspace.pointwise();
        sizes = Sizes.of(config);
        stream = floats(sizes.stream);
        gathered = floats(sizes.gathered);
        operand = floats(sizes.operand);
        raw = floats(sizes.raw);
        blocks = new BlockRun(
                workspace,
                stream,
                operand,
                raw,
                floats(sizes.heads),
                floats(sizes.heads),
                floats(sizes.heads),
                floats(sizes.rows),
                config.layerNormEpsilon());
        pooled = floats(config.lastWidth());
        firstRows = slices(stream, config.tokens(0));
        lastRows = slices(gathered, config.tokens(config.stages() - 1));
        pooledRows = slices(pooled, new TokenShape(1, config.lastWidth()));
    }

    /** @param perImage number of values */
    private MemorySegment floats(long perImage) {
        return arena.allocate(4 * perImage * executor.batch, ALIGNMENT);
    }

    private MemorySegment[] slices(MemorySegment buffer, TokenShape shape) {
        MemorySegment[] slices = new MemorySegment[executor.batch];
        for (int i = 0; i < slices.length; i++) {
            slices[i] = buffer.asSlice(4 * i * shape.values(), 4 * shape.values());
        }
        return slices;
    }

    @Override
    public MemorySegment allocateInput() {
        return floats((long) config.channels() * config.imageSize() * config.imageSize());
    }

    @Override
    public MemorySegment allocateLogits() {
        return floats(config.classes());
    }

    @Override
    public MemorySegment allocateTokens() {
        return floats(sizes.stream);
    }

    @Override
    public void run(MemorySegment input, int images, MemorySegment logits, Optional<LayerObserver> watcher) {
        if (executor.steps.size() != units.size()) {
            throw new IllegalStateException("the executor was compiled without some units");
        }
        enter(images);
        @Nullable LayerObserver observer = watcher.orElse(null);
        for (int s = 0; s < executor.steps.size(); s++) {
            step(s, input, images, logits, observer);
        }
    }

    @Override
    public void runUnit(int unit, MemorySegment in, int images, MemorySegment out, Optional<LayerObserver> watcher) {
        int s = unit - executor.firstUnit;
        if (s < 0 || s >= executor.steps.size()) {
            throw new IllegalStateException("the executor was compiled without unit " + unit);
        }
        enter(images);
        ModelUnit description = units.get(unit);
        if (!(description instanceof ModelUnit.Embedding)) {
            MemorySegment.copy(
                    in, 0, stream, 0, 4 * images * description.input().values());
        }
        step(s, in, images, out, watcher.orElse(null));
        if (!(description instanceof ModelUnit.Head)) {
            MemorySegment.copy(
                    stream, 0, out, 0, 4 * images * description.output().values());
        }
    }

    @Override
    public void runAttention(int unit, MemorySegment tokens, int images) {
        module(unit, tokens, images, true);
    }

    @Override
    public void runMlp(int unit, MemorySegment tokens, int images) {
        module(unit, tokens, images, false);
    }

    private void module(int unit, MemorySegment tokens, int images, boolean attention) {
        int s = unit - executor.firstUnit;
        if (s < 0 || s >= executor.steps.size() || !(executor.steps.get(s) instanceof SwinExecutor.Block block)) {
            throw new IllegalStateException("the executor was compiled without a block " + unit);
        }
        enter(images);
        long bytes = 4 * images * units.get(unit).input().values();
        MemorySegment.copy(tokens, 0, stream, 0, bytes);
        if (attention) {
            blocks.attention(block.operators(), images, null);
        } else {
            blocks.mlp(block.operators(), images, null);
        }
        MemorySegment.copy(stream, 0, tokens, 0, bytes);
    }

    private void enter(int images) {
        if (images < 1 || images > executor.batch) {
            throw new IllegalArgumentException(images + " images for a batch of " + executor.batch);
        }
        workspace.enter();
    }

    private void step(int s, MemorySegment input, int images, MemorySegment logits, @Nullable LayerObserver observer) {
        switch (executor.steps.get(s)) {
            case SwinExecutor.Embedding embedding -> embed(embedding, input, images, observer);
            case SwinExecutor.Block block -> {
                blocks.attention(block.operators(), images, observer);
                blocks.mlp(block.operators(), images, observer);
                observe(block.operators().unit(), images, observer);
            }
            case SwinExecutor.Merging merging -> merge(merging, images, observer);
            case SwinExecutor.Head head -> classify(head, images, logits, observer);
        }
    }

    /** Shows the stream after a unit. */
    private void observe(ModelUnit unit, int images, @Nullable LayerObserver observer) {
        if (observer != null) {
            TokenShape shape = unit.output();
            observer.activation(unit.name(), stream, images, shape.tokens(), shape.width());
        }
    }

    private void embed(
            SwinExecutor.Embedding embedding, MemorySegment input, int images, @Nullable LayerObserver observer) {
        LinearOperator projection = embedding.projection();
        int rows = images * config.patches();
        PatchLayout.gather(config.imageSize(), config.patchSize(), config.channels(), input, images, gathered);
        product(projection, encoded(gathered, rows, config.patchLength(), projection), rows, observer);
        pointwise.decode(raw, rows, projection.product(), gathered);
        normalize(gathered, rows, config.width(), embedding.norm(), Operand.FLOAT, stream);
        observe(embedding.unit(), images, observer);
        if (embedding.positions().isPresent()) {
            SwinExecutor.Positions positions = embedding.positions().get();
            for (int i = 0; i < images; i++) {
                pointwise.addTo(positions.values(), config.patches(), positions.product(), firstRows[i]);
            }
        }
    }

    private void merge(SwinExecutor.Merging merging, int images, @Nullable LayerObserver observer) {
        ModelUnit.Merging unit = merging.unit();
        int width = unit.input().width();
        int rows = images * unit.output().tokens();
        TokenMerging.gather(stream, images, unit.side(), width, gathered);
        normalize(gathered, rows, 4 * width, merging.norm(), merging.reduction().input(), operand);
        product(merging.reduction(), operand, rows, observer);
        pointwise.decode(raw, rows, merging.reduction().product(), stream);
        observe(unit, images, observer);
    }

    private void classify(SwinExecutor.Head head, int images, MemorySegment logits, @Nullable LayerObserver observer) {
        TokenShape shape = head.unit().input();
        normalize(stream, images * shape.tokens(), shape.width(), head.norm(), Operand.FLOAT, gathered);
        if (observer != null) {
            observer.activation("norm", gathered, images, shape.tokens(), shape.width());
        }
        for (int i = 0; i < images; i++) {
            pointwise.meanRows(lastRows[i], shape.tokens(), shape.width(), pooledRows[i]);
        }
        LinearOperator classifier = head.classifier();
        product(classifier, encoded(pooled, images, shape.width(), classifier), images, observer);
        pointwise.decode(raw, images, classifier.product(), logits);
    }

    /** Float values in the form that an operator reads: themselves, or their codes in the operand buffer. */
    private MemorySegment encoded(MemorySegment values, int rows, int width, LinearOperator operator) {
        if (!operator.input().isInteger()) {
            return values;
        }
        pointwise.encode(values, Math.multiplyExact(rows, width), operator.input(), operand);
        return operand;
    }

    private void normalize(MemorySegment x, int rows, int width, NormParameters norm, Operand form, MemorySegment out) {
        pointwise.layerNorm(x, rows, width, norm.gamma(), norm.beta(), config.layerNormEpsilon(), form, out);
    }

    private void product(LinearOperator operator, MemorySegment in, int rows, @Nullable LayerObserver observer) {
        operator.linear().run(workspace, in, rows, raw);
        if (observer != null) {
            observer.linear(operator.name(), in, rows, raw);
        }
    }

    @Override
    public void close() {
        workspace.close();
        arena.close();
    }
}
