package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.Pooling;
import dev.trivet.model.VitConfig;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A run of a {@link VitExecutor}, used by one thread at a time. All buffers are allocated when it is opened; a run allocates nothing off-heap.
 * Between two products every value passes memory once: the raw sums of one are read, and the operand of the next is written.
 */
public final class VitSession implements ModelSession {
    final VitExecutor executor;
    final Workspace workspace;
    private final VitConfig config;
    /** Most images of a run, and how many of them are run at once. */
    private final int batch;

    private final int group;
    private final Pointwise pointwise;
    private final SessionMemory memory;

    /** Float32 {@code [group * patches, patchLength]}. */
    private final MemorySegment patches;
    /** The residual stream of a group, and behind it room for a tile's rows. */
    final TokenStream stream;
    /** The operand of the next product. */
    final MemorySegment operand;
    /** Raw sums of the last product. */
    final MemorySegment raw;

    final AttentionBuffers attention;
    /** Where attention of some block runs on bytes. */
    final Optional<AttentionPieces> pieces;
    /** Float32 {@code [group, width]}, then what a layer before the head makes of it. */
    private final MemorySegment pooled;
    /** Float32 {@code [group, classes]} of each head. */
    private final MemorySegment firstLogits;

    private final MemorySegment secondLogits;
    /** For each number of images up to a group, what the head reads of the last block. */
    private final List<AttentionLayout.Extent> lastExtents;

    private final BlockRun blocks;
    /** From each image's first token on. */
    private final TokenStream[] imageRows;
    /** And from its first patch on. */
    private final MemorySegment[] patchRows;

    private final MemorySegment[] patchRaw;
    private final MemorySegment[] pooledRows;

    /** @param memory closed with the session */
    VitSession(VitExecutor executor, SessionMemory memory) {
        this(executor, memory, executor.batch, 0);
    }

    /**
     * Opens a session that may be a member of a team.
     *
     * @param batch images that it runs by itself; what it shares with the others has room for a group of them
     * @param teamRows token rows that it works on at once in a team; its buffers have room for whole tiles of them
     */
    VitSession(VitExecutor executor, SessionMemory memory, int batch, int teamRows) {
        this.executor = executor;
        this.memory = memory;
        workspace = memory.workspace();
        this.batch = batch;
        group = Math.min(batch, executor.group);
        config = executor.config;
        int rows = Math.max(teamRows, group * config.tokens());
        pointwise = workspace.pointwise();
        long width = config.width();
        long shared = (long) group * config.tokens() * width;
        long widest = Math.max(config.mlpWidth(), width);
        long whole = rows + (Linear.ROW_TILE - 1L);
        long patchValues = whole * config.patchLength();
        patches = floats(patchValues);
        int stride = TokenStream.stride(executor.kernels, config.width());
        long streamRows = (long) group * config.tokens() + Linear.ROW_TILE - 1;
        stream = new TokenStream(floats(streamRows * stride), config.width(), stride);
        int headRows = Math.max(2, group); // OperatorCompiler.headRows
        long head = (long) headRows * config.preLogits();
        Optional<AttentionPieces.Sizes> sizes = AttentionPieces.Sizes.of(config, group, executor.blocks);
        long scores = (long) rows
                * config.heads()
                * sizes.map(AttentionPieces.Sizes::keys).orElse(config.tokens());
        long inOperand = sizes.map(s -> s.operandBytes() / Float.BYTES + 1).orElse(0L);
        operand = floats(Stream.of(whole * widest, scores, patchValues, head, inOperand)
                .max(Long::compare)
                .orElseThrow());
        long inRaw = sizes.map(s -> s.rawBytes() / Float.BYTES + 1).orElse(0L);
        long headSums = (long) headRows * Math.max(config.classes(), config.preLogits());
        raw = floats(Stream.of(whole * (Math.max(3 * width, widest) + Linear.STRIDE_ROOM), scores, headSums, inRaw)
                .max(Long::compare)
                .orElseThrow());
        pooled = floats(group * Math.max(width, config.preLogits()));
        firstLogits = floats((long) group * config.classes());
        secondLogits = floats((long) group * config.classes());
        attention = new AttentionBuffers(
                floats(rows * width), floats(shared), floats(shared), raw, floats((long) rows * config.heads()));
        pieces = sizes.map(s -> new AttentionPieces(
                config, group, s, executor.blocks.getFirst().layout(), workspace, raw, operand, memory.arena()));
        blocks = new BlockRun(
                workspace,
                ThreadTeam.ALONE,
                0,
                stream.memory(),
                stream.gap(),
                operand,
                raw,
                attention,
                attention,
                pieces,
                config.layerNormEpsilon());
        lastExtents = executor.lastBlock.stream()
                .flatMap(block -> IntStream.rangeClosed(0, group)
                        .mapToObj(images -> block.layout().queries(images, executor.lastTokens)))
                .toList();
        imageRows = new TokenStream[group];
        patchRows = new MemorySegment[group];
        patchRaw = new MemorySegment[group];
        pooledRows = new MemorySegment[group];
        for (int i = 0; i < group; i++) {
            imageRows[i] = stream.from((long) i * config.tokens());
            patchRows[i] = imageRows[i].from(config.prefixTokens()).memory();
            patchRaw[i] = raw.asSlice(4L * i * config.patches() * width, 4L * config.patches() * width);
            pooledRows[i] = pooled.asSlice(4L * i * width, 4L * width);
        }
    }

    private MemorySegment floats(long count) {
        return memory.floats(count);
    }

    @Override
    public MemorySegment allocateInput() {
        return floats((long) batch * config.channels() * config.imageSize() * config.imageSize());
    }

    @Override
    public MemorySegment allocateLogits() {
        return floats((long) batch * config.classes());
    }

    @Override
    public void run(MemorySegment input, int images, MemorySegment logits, Optional<LayerObserver> watcher) {
        enter(images);
        @Nullable LayerObserver observer = watcher.orElse(null);
        for (int first = 0; first < images; first += group) {
            int count = Math.min(group, images - first);
            embed(input, first, count, observer);
            int tokens = blocks(count, observer);
            heads(count, tokens, logits, first, observer);
        }
    }

    private void enter(int images) {
        if (images < 1 || images > batch) {
            throw new IllegalArgumentException(images + " images for a batch of " + batch);
        }
        workspace.enter();
    }

    @Override
    public MemorySegment allocateTokens() {
        return floats((long) batch * config.tokens() * config.width());
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
        enter(images);
        BlockOperators block = compiledBlock(unit);
        for (int first = 0; first < images; first += group) {
            int count = load(tokens, first, images);
            if (attention) {
                blocks.attention(block, block.layout().extent(count), null);
            } else {
                blocks.mlp(block, count * config.tokens(), null);
            }
            store(first, count, tokens);
        }
    }

    /** Brings the tokens of a group into the stream; returns how many images it has. */
    private int load(MemorySegment tokens, int first, int images) {
        int count = Math.min(group, images - first);
        stream.load(tokens, (long) first * config.tokens(), (long) count * config.tokens());
        return count;
    }

    private void store(int first, int count, MemorySegment tokens) {
        stream.store(tokens, (long) first * config.tokens(), (long) count * config.tokens());
    }

    private BlockOperators compiledBlock(int unit) {
        return executor.blocks.get(executor.blockIndex(unit));
    }

    @Override
    public void runUnit(int unit, MemorySegment in, int images, MemorySegment out, Optional<LayerObserver> watcher) {
        @Nullable LayerObserver observer = watcher.orElse(null);
        enter(images);
        for (int first = 0; first < images; first += group) {
            int count = Math.min(group, images - first);
            if (unit == 0) {
                embed(in, first, count, observer);
                store(first, count, out);
                continue;
            }
            load(in, first, images);
            if (unit == config.depth() + 1) {
                heads(count, config.tokens(), out, first, observer);
            } else {
                block(compiledBlock(unit), count, observer);
                store(first, count, out);
            }
        }
    }

    /** All blocks; returns how many tokens of an image are in the stream then. Who watches sees all tokens. */
    private int blocks(int images, @Nullable LayerObserver observer) {
        boolean all = observer != null || executor.lastBlock.isEmpty();
        int whole = executor.blocks.size() - (all ? 0 : 1);
        for (int b = 0; b < whole; b++) {
            block(executor.blocks.get(b), images, observer);
        }
        if (all) {
            return config.tokens();
        }
        BlockOperators last = executor.lastBlock.get();
        AttentionLayout.Extent wanted = lastExtents.get(images);
        blocks.attention(last, last.layout().extent(images), wanted, null);
        blocks.mlp(last, wanted.rows(), null);
        return executor.lastTokens;
    }

    private void block(BlockOperators block, int images, @Nullable LayerObserver observer) {
        blocks.attention(block, block.layout().extent(images), observer);
        blocks.mlp(block, images * config.tokens(), observer);
        if (observer != null) {
            observer.activation(block.name(), streamTokens(images), images, config.tokens(), config.width());
        }
    }

    /** The stream's tokens where they follow each other: as they are, or in the operand buffer, which is free between blocks. */
    private MemorySegment streamTokens(int images) {
        if (stream.gap() == 0) {
            return stream.memory();
        }
        stream.store(operand, 0, (long) images * config.tokens());
        return operand;
    }

    /**
     * Logits of the stream.
     *
     * @param tokens of an image that the stream has: all, or those that the head reads
     * @param logits {@code [.., classes]}
     * @param first row of the logits of the first image
     */
    void heads(int images, int tokens, MemorySegment logits, int first, @Nullable LayerObserver observer) {
        if (observer != null) {
            observeFinalNorm(images, observer);
        }
        classify(compiled(executor.head), 0, images, tokens, firstLogits, observer);
        LinearOperator second = executor.distillationHead;
        int values = images * config.classes();
        if (second != null) {
            classify(second, 1, images, tokens, secondLogits, observer);
            for (int i = 0; i < values; i++) {
                float mean = (firstLogits.getAtIndex(JAVA_FLOAT, i) + secondLogits.getAtIndex(JAVA_FLOAT, i)) / 2;
                firstLogits.setAtIndex(JAVA_FLOAT, i, mean);
            }
        }
        MemorySegment.copy(firstLogits, 0, logits, 4L * first * config.classes(), 4L * values);
    }

    private static LinearOperator compiled(@Nullable LinearOperator operator) {
        if (operator == null) {
            throw new IllegalStateException("the executor was compiled without this part");
        }
        return operator;
    }

    /** Tokens of some images, of which {@code first} is the number of the first. */
    private void embed(MemorySegment input, int first, int images, @Nullable LayerObserver observer) {
        int rows = images * config.patches();
        int firstRow = first * config.patches();
        LinearOperator embedding = embedPatches(input, firstRow, firstRow + rows, observer);
        for (int i = 0; i < images; i++) {
            imageRows[i].load(executor.start, 0, config.tokens());
            pointwise.addTo(patchRaw[i], config.patches(), embedding.product(), patchRows[i], stream.stride());
        }
        if (observer != null) {
            // The operand buffer is free here and large enough.
            pointwise.decode(raw, rows, embedding.product(), operand);
            observer.activation("patch_embed", operand, images, config.patches(), config.width());
        }
    }

    /** The raw sums of some patches' embeddings, and what made them. */
    LinearOperator embedPatches(MemorySegment input, int first, int end, @Nullable LayerObserver observer) {
        LinearOperator embedding = compiled(executor.patchEmbedding);
        PatchLayout.gather(config.imageSize(), config.patchSize(), config.channels(), input, first, end, patches);
        int rows = end - first;
        MemorySegment in = patches;
        if (embedding.input().isInteger()) {
            pointwise.encode(patches, Math.multiplyExact(rows, config.patchLength()), embedding.input(), operand);
            in = operand;
        }
        if (rows > 0) {
            product(embedding, in, rows, observer);
        }
        return embedding;
    }

    private void classify(
            LinearOperator head,
            int token,
            int images,
            int tokens,
            MemorySegment logits,
            @Nullable LayerObserver observer) {
        LinearOperator before = executor.preLogits;
        pool(token, images, tokens, before == null ? head.input() : before.input());
        if (before != null) {
            headProduct(before, images, observer);
            pointwise.decode(raw, images, before.product(), pooled);
            int values = images * config.preLogits();
            for (int i = 0; i < values; i++) {
                pooled.setAtIndex(JAVA_FLOAT, i, (float) StrictMath.tanh(pooled.getAtIndex(JAVA_FLOAT, i)));
            }
            pass(pooled, values, head.input());
        }
        headProduct(head, images, observer);
        pointwise.decode(raw, images, head.product(), logits);
    }

    private void headProduct(LinearOperator operator, int images, @Nullable LayerObserver observer) {
        operator.linear().run(workspace, operand, OperatorCompiler.headRows(images, executor.group), raw);
        if (observer != null) {
            observer.linear(operator.name(), operand, images, raw);
        }
    }

    /** Pools and normalises the tokens into the operand, in the order that the geometry says. */
    private void pool(int token, int images, int tokens, Operand form) {
        long rowBytes = 4L * config.width();
        if (config.pooling() == Pooling.NORMALIZED_AVERAGE) {
            normalizeStream(images);
            for (int i = 0; i < images; i++) {
                long patches = (long) i * config.tokens() + config.prefixTokens();
                MemorySegment rows = operand.asSlice(patches * rowBytes, config.patches() * rowBytes);
                pointwise.meanRows(rows, config.patches(), config.width(), pooledRows[i]);
            }
            pass(pooled, images * config.width(), form);
            return;
        }
        for (int i = 0; i < images; i++) {
            if (config.pooling() == Pooling.TOKEN) {
                long from = stream.bytesTo((long) i * tokens + token);
                MemorySegment.copy(stream.memory(), from, pooledRows[i], 0, rowBytes);
            } else {
                pointwise.meanRows(patchRows[i], stream.stride(), config.patches(), config.width(), pooledRows[i]);
            }
        }
        normalize(pooled, config.width(), images, form);
    }

    /** Brings floats into the operand in the form that a product reads. */
    private void pass(MemorySegment values, int count, Operand form) {
        if (form.isInteger()) {
            pointwise.encode(values, count, form, operand);
        } else {
            MemorySegment.copy(values, 0, operand, 0, 4L * count);
        }
    }

    private void observeFinalNorm(int images, LayerObserver observer) {
        if (config.pooling() != Pooling.AVERAGE) {
            normalizeStream(images);
            observer.activation("norm", operand, images, config.tokens(), config.width());
        } else {
            observer.activation("norm", streamTokens(images), images, config.tokens(), config.width());
        }
    }

    /** Writes floats into the operand. */
    private void normalizeStream(int images) {
        normalize(stream.memory(), stream.stride(), images * config.tokens(), Operand.FLOAT);
    }

    /** Writes what the final norm makes of some rows into the operand. */
    private void normalize(MemorySegment x, int stride, int rows, Operand form) {
        NormParameters norm = executor.finalNorm;
        pointwise.layerNorm(
                x, stride, rows, config.width(), norm.gamma(), norm.beta(), config.layerNormEpsilon(), form, operand);
    }

    private void product(LinearOperator operator, MemorySegment in, int rows, @Nullable LayerObserver observer) {
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
