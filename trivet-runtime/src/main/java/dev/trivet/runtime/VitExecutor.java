package dev.trivet.runtime;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A ViT compiled for one set of kernels: weights packed, constants off-heap. Each operator is float or integer on its own, so
 * the float model, the quantized model and any mix run through the same code ({@link VitSession}).
 *
 * <p>Immutable and safe to share; each concurrent run needs its own session. Sessions must be closed before the executor.
 */
public final class VitExecutor implements ModelExecutor {
    /**
     * What of a model is compiled. Calibration runs a model block by block and compiles only what it runs.
     *
     * @param embedding patch embedding and positions
     * @param firstBlock first block
     * @param endBlock the block after the last
     * @param head final LayerNorm and heads
     */
    record Part(boolean embedding, int firstBlock, int endBlock, boolean head) {
        static Part whole(VitConfig config) {
            return new Part(true, 0, config.depth(), true);
        }

        /** Some of {@link VitConfig#units()}: the embedding, then the blocks, then the head. */
        static Part ofUnits(VitConfig config, int firstUnit, int endUnit) {
            return new Part(
                    firstUnit == 0,
                    Math.min(Math.max(firstUnit - 1, 0), config.depth()),
                    Math.min(Math.max(endUnit - 1, 0), config.depth()),
                    endUnit == config.depth() + 2);
        }
    }

    final VitConfig config;
    final Kernels kernels;
    final int batch;
    /** Images that a session runs at once. */
    final int group;

    final Part part;
    /** Null where the part has no embedding. */
    final @Nullable LinearOperator patchEmbedding;

    final List<BlockOperators> blocks;
    /**
     * The last block where it is compiled and the head reads some tokens only, with products of {@link #lastTokens} as queries: it needs keys and
     * values of all tokens, and everything else of those.
     */
    final Optional<BlockOperators> lastBlock;

    /** Tokens of an image, the first ones, that a run to the logits has in the stream after {@link #lastBlock}. */
    final int lastTokens;

    final NormParameters finalNorm;
    /** Null where the part has no head. */
    final @Nullable LinearOperator head;

    /** Null where the part has no head or the model no layer before it. */
    final @Nullable LinearOperator preLogits;

    final @Nullable LinearOperator distillationHead;
    /** Float32 {@code [tokens, width]}: positions, with the prefix tokens added to their rows. */
    final MemorySegment start;

    private final OperatorArena operators = new OperatorArena();

    /**
     * Packs the weights.
     *
     * @param batch most images that one run takes
     */
    public VitExecutor(VitModel model, Kernels kernels, int batch) {
        this(model, kernels, batch, Part.whole(model.vit()));
    }

    /** Packs the weights of one part. */
    VitExecutor(VitModel model, Kernels kernels, int batch, Part part) {
        this(model, kernels, batch, part, OperatorCompiler.group(model, kernels, batch));
    }

    /** @param group images that a session runs at once */
    VitExecutor(VitModel model, Kernels kernels, int batch, Part part, int group) {
        this.config = model.vit();
        this.kernels = kernels;
        this.batch = batch;
        this.part = part;
        this.group = group;
        try {
            OperatorCompiler compiler = new OperatorCompiler(model, kernels, operators);
            patchEmbedding =
                    part.embedding() ? compiler.linear(VitNames.PATCH_EMBEDDING, group * config.patches()) : null;
            blocks = compiler.blocks(config.units().subList(1 + part.firstBlock(), 1 + part.endBlock()), group);
            boolean ends = part.head() && part.endBlock() == config.depth() && !blocks.isEmpty();
            // Two where one would do: oneDNN adds up attention's float products of a single query in another order.
            lastTokens = Math.min(Math.max(2, config.headTokens()), config.tokens());
            lastBlock = ends && lastTokens < config.tokens()
                    ? Optional.of(blocks.getLast().withQueries(lastTokens, kernels))
                    : Optional.empty();
            finalNorm = compiler.norm(VitNames.finalNorm(config));
            head = part.head() ? compiler.linear(VitNames.HEAD, group) : null;
            preLogits = part.head() && config.preLogits() > 0 ? compiler.linear(VitNames.PRE_LOGITS, group) : null;
            distillationHead =
                    part.head() && config.distilled() ? compiler.linear(VitNames.DISTILLATION_HEAD, group) : null;
            start = compiler.constant(startTokens(model));
        } catch (RuntimeException | Error e) { // such as memory that does not suffice for all of them
            operators.close();
            throw e;
        }
    }

    /**
     * Where a unit stands among {@link #blocks}.
     *
     * @throws IllegalStateException if it is none of the compiled blocks
     */
    int blockIndex(int unit) {
        int block = unit - 1 - part.firstBlock();
        if (unit < 1 || block < 0 || block >= blocks.size()) {
            throw new IllegalStateException("the executor was compiled without unit " + unit);
        }
        return block;
    }

    private float[] startTokens(VitModel model) {
        float[] rows = model.floats(VitNames.POSITIONS).clone();
        int row = 0;
        if (config.classToken()) {
            add(rows, row++, model.floats(VitNames.CLASS_TOKEN));
        }
        if (config.distilled()) {
            add(rows, row, model.floats(VitNames.DISTILLATION_TOKEN));
        }
        return rows;
    }

    private static void add(float[] rows, int row, float[] token) {
        for (int c = 0; c < token.length; c++) {
            rows[row * token.length + c] += token[c];
        }
    }

    @Override
    public VitConfig geometry() {
        return config;
    }

    @Override
    public VitSession openSession() {
        return SessionMemory.open(kernels.openWorkspace(), memory -> new VitSession(this, memory));
    }

    @Override
    public VitSession openColdSession() {
        return SessionMemory.open(kernels.openColdWorkspace(), memory -> new VitSession(this, memory));
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
    public void close() {
        operators.close();
    }
}
