package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A ViT compiled for one set of kernels: weights packed, constants off-heap. Each operator is float or integer on its own, so
 * the float model, the quantized model and any mix run through the same code ({@link VitSession}).
 *
 * <p>Immutable and safe to share; each concurrent run needs its own session. Sessions must be closed before the executor.
 */
public final class VitExecutor implements AutoCloseable {
    /** One pre-norm block: attention, then MLP. */
    record Block(
            String name,
            Norm attentionNorm,
            LinearOperator qkv,
            MatmulOperator scores,
            MatmulOperator mixing,
            AttentionOperands attention,
            LinearOperator projection,
            Norm mlpNorm,
            LinearOperator hidden,
            LinearOperator output) {}

    /**
     * What of a model is compiled. Calibration runs a model block by block and compiles only what it runs.
     *
     * @param embedding patch embedding and positions
     * @param firstBlock first block
     * @param endBlock the block after the last
     * @param head final LayerNorm and heads
     */
    public record Part(boolean embedding, int firstBlock, int endBlock, boolean head) {
        public static Part whole(VitConfig config) {
            return new Part(true, 0, config.depth(), true);
        }

        public static Part ofEmbedding() {
            return new Part(true, 0, 0, false);
        }

        public static Part ofBlock(int block) {
            return new Part(false, block, block + 1, false);
        }

        public static Part ofHead(VitConfig config) {
            return new Part(false, config.depth(), config.depth(), true);
        }
    }

    /** LayerNorm parameters, float32 {@code [width]} each. */
    record Norm(MemorySegment gamma, MemorySegment beta) {}

    final VitConfig config;
    final Kernels kernels;
    final int batch;
    final Part part;
    /** Null where the part has no embedding. */
    final @Nullable LinearOperator patchEmbedding;

    final List<Block> blocks;
    final Norm finalNorm;
    /** Null where the part has no head. */
    final @Nullable LinearOperator head;

    final @Nullable LinearOperator distillationHead;
    /** Float32 {@code [tokens, width]}: positions, with the prefix tokens added to their rows. */
    final MemorySegment start;

    private final Arena arena = Arena.ofShared();
    private final List<LinearOperator> linears = new ArrayList<>();

    /**
     * Packs the weights.
     *
     * @param batch most images that one run takes
     */
    public VitExecutor(VitModel model, Kernels kernels, int batch) {
        this(model, kernels, batch, Part.whole(model.vit()));
    }

    /** Packs the weights of one part. */
    public VitExecutor(VitModel model, Kernels kernels, int batch, Part part) {
        if (batch < 1) {
            throw new IllegalArgumentException("a batch of " + batch + " images");
        }
        this.config = model.vit();
        this.kernels = kernels;
        this.batch = batch;
        this.part = part;
        int rows = batch * config.tokens();
        patchEmbedding = part.embedding() ? linear(model, VitNames.PATCH_EMBEDDING, batch * config.patches()) : null;
        List<Block> compiled = new ArrayList<>();
        for (int b = part.firstBlock(); b < part.endBlock(); b++) {
            compiled.add(block(model, b, rows));
        }
        blocks = List.copyOf(compiled);
        finalNorm = norm(model, VitNames.finalNorm(config));
        head = part.head() ? linear(model, VitNames.HEAD, batch) : null;
        distillationHead = part.head() && config.distilled() ? linear(model, VitNames.DISTILLATION_HEAD, batch) : null;
        start = arena.allocateFrom(JAVA_FLOAT, startTokens(model));
    }

    private Block block(VitModel model, int b, int rows) {
        int tokens = config.tokens();
        int headWidth = config.headWidth();
        MatmulOperator scores = MatmulOperator.compile(
                VitNames.scores(b),
                Optional.ofNullable(model.matmuls().get(VitNames.scores(b))),
                new MatmulShape(tokens, tokens, headWidth, true),
                (float) (1 / Math.sqrt(headWidth)),
                kernels);
        MatmulOperator mixing = MatmulOperator.compile(
                VitNames.mixing(b),
                Optional.ofNullable(model.matmuls().get(VitNames.mixing(b))),
                new MatmulShape(tokens, headWidth, tokens, false),
                1f,
                kernels);
        return new Block(
                VitNames.block(b),
                norm(model, VitNames.attentionNorm(b)),
                linear(model, VitNames.qkv(b), rows),
                scores,
                mixing,
                new AttentionOperands(scores.left(), scores.right(), mixing.right()),
                linear(model, VitNames.projection(b), rows),
                norm(model, VitNames.mlpNorm(b)),
                linear(model, VitNames.hidden(b), rows),
                linear(model, VitNames.output(b), rows));
    }

    private LinearOperator linear(VitModel model, String name, int typicalRows) {
        LinearOperator operator = LinearOperator.compile(model.linear(name), kernels, typicalRows, arena);
        linears.add(operator);
        return operator;
    }

    private Norm norm(VitModel model, String name) {
        return new Norm(
                arena.allocateFrom(JAVA_FLOAT, model.floats(name + ".weight")),
                arena.allocateFrom(JAVA_FLOAT, model.floats(name + ".bias")));
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

    /** Buffers for one run at a time. */
    public VitSession openSession() {
        return new VitSession(this);
    }

    /** Most images that one run takes. */
    public int batch() {
        return batch;
    }

    @Override
    public void close() {
        linears.forEach(LinearOperator::close);
        arena.close();
    }
}
