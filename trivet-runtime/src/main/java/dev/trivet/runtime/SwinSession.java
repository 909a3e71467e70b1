package dev.trivet.runtime;

import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.TokenShape;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A run of a {@link SwinExecutor}, used by one thread at a time. As in {@link VitSession} every value passes memory once between two products, and a run
 * allocates nothing off-heap.
 */
public final class SwinSession implements ModelSession {
    final SwinExecutor executor;
    final Workspace workspace;
    private final SwinConfig config;
    /** Most images of a run, and how many of them are run at once. */
    private final int batch;

    private final int group;
    private final List<ModelUnit> units;
    private final Pointwise pointwise;
    private final SessionMemory memory;
    private final Sizes sizes;

    /** Float32 {@code [group * tokens, width]} of the stage that is running: the residual stream. */
    final MemorySegment stream;
    /** Float32: patches, or what a kernel cannot write in place. */
    final MemorySegment gathered;
    /** The operand of the next product. */
    final MemorySegment operand;
    /** Raw sums of the last product. */
    final MemorySegment raw;
    /** Float32 {@code [group, lastWidth]}. */
    private final MemorySegment pooled;
    /** Float32 {@code [group, classes]}. */
    private final MemorySegment groupLogits;

    final AttentionBuffers attention;
    private final BlockRun blocks;
    /** Rows of the first stage, of the last stage's tokens and of the pooled ones, image by image. */
    private final MemorySegment[] firstRows;

    private final MemorySegment[] lastRows;
    private final MemorySegment[] pooledRows;

    /** The most values that each buffer has to hold for one image, or for a share of it. */
    private record Sizes(long stream, long gathered, long operand, long raw, long heads, long rows) {
        /** @param members of a team that share an image; streams, heads and rows are theirs together */
        static Sizes of(SwinConfig config, int members) {
            long patches = Math.ceilDiv((long) config.patches(), members) * config.patchLength();
            Sizes sizes = new Sizes(0, patches, patches, config.classes(), 0, 0);
            for (ModelUnit unit : config.units()) {
                long in = unit.input().values();
                long out = Math.ceilDiv((long) unit.output().tokens(), members)
                        * unit.output().width();
                sizes = switch (unit) {
                    case ModelUnit.Embedding u -> sizes.atLeast(u.output().values(), out, 0, out, 0, 0);
                    case ModelUnit.Block u -> {
                        int width = u.shape().width();
                        long tokens = Math.ceilDiv((long) u.shape().tokens(), members);
                        long wide = tokens * Math.max(u.hiddenWidth(), 3L * width);
                        long places = (long) u.groups() * u.groupTokens();
                        long products = Math.ceilDiv((long) u.groups() * u.heads(), members);
                        long scores = products * u.groupTokens() * u.groupTokens();
                        long mixed = products * u.groupTokens() * u.headWidth();
                        yield sizes.atLeast(
                                in,
                                0,
                                Math.max(wide, scores),
                                Math.max(Math.max(wide, mixed), scores),
                                places * width,
                                places * u.heads());
                    }
                    case ModelUnit.Merging u -> {
                        long merged = Math.ceilDiv((long) u.output().tokens(), members)
                                * 4
                                * u.input().width();
                        yield sizes.atLeast(in, merged, merged, out, 0, 0);
                    }
                    case ModelUnit.Head u ->
                        sizes.atLeast(in, members > 1 ? 0 : in, u.input().width(), 0, 0, 0);
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

    /** @param memory closed with the session */
    SwinSession(SwinExecutor executor, SessionMemory memory) {
        this(executor, memory, executor.batch, 1);
    }

    /**
     * Opens a session that may be a member of a team.
     *
     * @param batch images that it runs by itself; what it shares with the others has room for a group of them
     * @param members threads that share an image
     */
    SwinSession(SwinExecutor executor, SessionMemory memory, int batch, int members) {
        this.executor = executor;
        this.memory = memory;
        workspace = memory.workspace();
        this.batch = batch;
        group = Math.min(batch, executor.group);
        config = executor.config;
        units = config.units();
        pointwise = workspace.pointwise();
        sizes = Sizes.of(config, 1);
        Sizes share = Sizes.of(config, members);
        stream = roomyFloats(sizes.stream, 0);
        gathered = floats(sizes.gathered, share.gathered);
        operand = roomyFloats(sizes.operand, share.operand);
        raw = roomyFloats(sizes.raw, share.raw);
        attention = new AttentionBuffers(
                floats(sizes.heads), floats(sizes.heads), floats(sizes.heads), raw, floats(sizes.rows));
        blocks = new BlockRun(
                workspace,
                ThreadTeam.ALONE,
                0,
                stream,
                0,
                operand,
                raw,
                attention,
                attention,
                Optional.empty(),
                config.layerNormEpsilon());
        pooled = floats(config.lastWidth(), 2L * config.lastWidth()); // OperatorCompiler.headRows
        groupLogits = floats(config.classes());
        firstRows = slices(stream, config.tokens(0));
        lastRows = slices(gathered, config.tokens(config.stages() - 1));
        pooledRows = slices(pooled, new TokenShape(1, config.lastWidth()));
    }

    /** @param perImage number of values */
    private MemorySegment floats(long perImage) {
        return floats(perImage, 0);
    }

    /** @param least values, however few images there are */
    private MemorySegment floats(long perImage, long least) {
        return memory.floats(Math.max(perImage * group, least));
    }

    /** With room for a tile's rows behind the last. */
    private MemorySegment roomyFloats(long perImage, long least) {
        long row = units.stream()
                .mapToLong(unit -> switch (unit) {
                    case ModelUnit.Block block ->
                        Math.max(block.hiddenWidth(), 3L * block.shape().width());
                    case ModelUnit.Merging merging -> 4L * merging.input().width();
                    case ModelUnit.Embedding embedding ->
                        Math.max(embedding.output().width(), config.patchLength());
                    case ModelUnit.Head head -> head.input().width();
                })
                .max()
                .orElseThrow();
        return floats(0, Math.max(perImage * group, least) + (Linear.ROW_TILE - 1) * row);
    }

    private MemorySegment[] slices(MemorySegment buffer, TokenShape shape) {
        MemorySegment[] slices = new MemorySegment[group];
        for (int i = 0; i < slices.length; i++) {
            slices[i] = buffer.asSlice(4L * i * shape.values(), 4 * shape.values());
        }
        return slices;
    }

    @Override
    public MemorySegment allocateInput() {
        return batch((long) config.channels() * config.imageSize() * config.imageSize());
    }

    private MemorySegment batch(long perImage) {
        return memory.floats(perImage * batch);
    }

    @Override
    public MemorySegment allocateLogits() {
        return batch(config.classes());
    }

    @Override
    public MemorySegment allocateTokens() {
        return batch(sizes.stream);
    }

    @Override
    public void run(MemorySegment input, int images, MemorySegment logits, Optional<LayerObserver> watcher) {
        if (executor.steps.size() != units.size()) {
            throw new IllegalStateException("the executor was compiled without some units");
        }
        enter(images);
        @Nullable LayerObserver observer = watcher.orElse(null);
        for (int first = 0; first < images; first += group) {
            int count = Math.min(group, images - first);
            for (int s = 0; s < executor.steps.size(); s++) {
                step(s, input, first, count, logits, observer);
            }
        }
    }

    @Override
    public void runUnit(int unit, MemorySegment in, int images, MemorySegment out, Optional<LayerObserver> watcher) {
        int s = executor.stepIndex(unit);
        enter(images);
        ModelUnit description = units.get(unit);
        long read = 4 * description.input().values();
        long written = 4 * description.output().values();
        for (int first = 0; first < images; first += group) {
            int count = Math.min(group, images - first);
            if (!(description instanceof ModelUnit.Embedding)) {
                MemorySegment.copy(in, first * read, stream, 0, count * read);
            }
            step(s, in, first, count, out, watcher.orElse(null));
            if (!(description instanceof ModelUnit.Head)) {
                MemorySegment.copy(stream, 0, out, first * written, count * written);
            }
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
        long bytes = 4 * units.get(unit).input().values();
        for (int first = 0; first < images; first += group) {
            int count = Math.min(group, images - first);
            MemorySegment.copy(tokens, first * bytes, stream, 0, count * bytes);
            if (attention) {
                blocks.attention(block.operators(), extent(block, count), null);
            } else {
                blocks.mlp(block.operators(), extent(block, count).rows(), null);
            }
            MemorySegment.copy(stream, 0, tokens, first * bytes, count * bytes);
        }
    }

    private static AttentionLayout.Extent extent(SwinExecutor.Block block, int images) {
        return block.operators().layout().extent(images);
    }

    private void enter(int images) {
        if (images < 1 || images > batch) {
            throw new IllegalArgumentException(images + " images for a batch of " + batch);
        }
        workspace.enter();
    }

    /** @param first number of the first image in the input and the logits */
    private void step(
            int s, MemorySegment input, int first, int images, MemorySegment logits, @Nullable LayerObserver observer) {
        switch (executor.steps.get(s)) {
            case SwinExecutor.Embedding embedding -> embed(embedding, input, first, images, observer);
            case SwinExecutor.Block block -> {
                blocks.attention(block.operators(), extent(block, images), observer);
                blocks.mlp(block.operators(), extent(block, images).rows(), observer);
                observe(block.operators().unit(), images, observer);
            }
            case SwinExecutor.Merging merging -> merge(merging, images, observer);
            case SwinExecutor.Head head -> classify(head, images, logits, first, observer);
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
            SwinExecutor.Embedding embedding,
            MemorySegment input,
            int first,
            int images,
            @Nullable LayerObserver observer) {
        int firstRow = first * config.patches();
        embedRows(embedding, input, firstRow, firstRow + images * config.patches(), stream, observer);
        observe(embedding.unit(), images, observer);
        if (embedding.positions().isPresent()) {
            SwinExecutor.Positions positions = embedding.positions().get();
            for (int i = 0; i < images; i++) {
                pointwise.addTo(positions.values(), config.patches(), positions.product(), firstRows[i]);
            }
        }
    }

    /** Some patches to tokens without positions. */
    void embedRows(
            SwinExecutor.Embedding embedding,
            MemorySegment input,
            int first,
            int end,
            MemorySegment tokens,
            @Nullable LayerObserver observer) {
        LinearOperator projection = embedding.projection();
        int rows = end - first;
        PatchLayout.gather(config.imageSize(), config.patchSize(), config.channels(), input, first, end, gathered);
        product(projection, encoded(gathered, rows, config.patchLength(), projection), rows, observer);
        pointwise.decode(raw, rows, projection.product(), gathered);
        normalize(gathered, rows, config.width(), embedding.norm(), Operand.FLOAT, tokens);
    }

    private void merge(SwinExecutor.Merging merging, int images, @Nullable LayerObserver observer) {
        ModelUnit.Merging unit = merging.unit();
        int rows = images * unit.output().tokens();
        gather(merging, stream, 0, rows);
        reduce(merging, rows, stream, observer);
        observe(unit, images, observer);
    }

    /** Some squares of tokens side by side. */
    void gather(SwinExecutor.Merging merging, MemorySegment tokens, int first, int end) {
        ModelUnit.Merging unit = merging.unit();
        TokenMerging.gather(tokens, first, end, unit.side(), unit.input().width(), gathered);
    }

    /** What was gathered, as tokens of the next stage. */
    void reduce(SwinExecutor.Merging merging, int rows, MemorySegment tokens, @Nullable LayerObserver observer) {
        int width = 4 * merging.unit().input().width();
        normalize(gathered, rows, width, merging.norm(), merging.reduction().input(), operand);
        product(merging.reduction(), operand, rows, observer);
        pointwise.decode(raw, rows, merging.reduction().product(), tokens);
    }

    /**
     * Logits of the stream.
     *
     * @param first row of the logits of the first image
     */
    void classify(
            SwinExecutor.Head head, int images, MemorySegment logits, int first, @Nullable LayerObserver observer) {
        TokenShape shape = head.unit().input();
        normalize(stream, images * shape.tokens(), shape.width(), head.norm(), Operand.FLOAT, gathered);
        if (observer != null) {
            observer.activation("norm", gathered, images, shape.tokens(), shape.width());
        }
        for (int i = 0; i < images; i++) {
            pointwise.meanRows(lastRows[i], shape.tokens(), shape.width(), pooledRows[i]);
        }
        LinearOperator classifier = head.classifier();
        MemorySegment in = encoded(pooled, images, shape.width(), classifier);
        classifier.linear().run(workspace, in, OperatorCompiler.headRows(images, executor.group), raw);
        if (observer != null) {
            observer.linear(classifier.name(), in, images, raw);
        }
        pointwise.decode(raw, images, classifier.product(), groupLogits);
        MemorySegment.copy(groupLogits, 0, logits, 4L * first * config.classes(), 4L * images * config.classes());
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
        if (rows == 0) {
            return; // more threads than tokens
        }
        operator.linear().run(workspace, in, rows, raw);
        if (observer != null) {
            observer.linear(operator.name(), in, rows, raw);
        }
    }

    @Override
    public void close() {
        memory.close();
    }
}
