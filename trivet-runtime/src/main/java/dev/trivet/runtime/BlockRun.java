package dev.trivet.runtime;

import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Runs blocks on a session's residual stream, all of it or the rows of one member of a team. Tokens stay in their order; only queries, keys,
 * values and scores are in the order of the block's groups.
 *
 * <p>What a team shares are queries, keys and values as they are needed across rows; everything else of a member is its own. With all
 * tokens in one group a member takes its own rows as queries too and meets the others once a block, when all keys and values are there;
 * from there to the keys of the next block its rows need nobody. So that nobody overwrites keys that others still read, blocks take
 * turns with two buffers. Within windows members share the windows' products, and meet once more to get their own tokens' rows back.
 *
 * @param stream float32 {@code [rows, width]}
 * @param operand of the next product
 * @param raw sums of the last product
 * @param tokens attention's buffers as the rows of this run write and read them
 * @param products the same buffers as this run's products do
 */
record BlockRun(
        Workspace workspace,
        ThreadTeam team,
        int member,
        MemorySegment stream,
        MemorySegment operand,
        MemorySegment raw,
        AttentionBuffers tokens,
        AttentionBuffers products,
        float layerNormEpsilon) {

    /** Adds what attention makes of the stream to it. */
    void attention(BlockOperators block, AttentionLayout.Extent extent, @Nullable LayerObserver observer) {
        Pointwise pointwise = workspace.pointwise();
        AttentionLayout layout = block.layout();
        int rows = extent.rows();
        normalize(block, block.attentionNorm(), rows, block.qkv().input());
        product(block.qkv(), rows, observer);
        layout.split(
                pointwise,
                raw,
                extent,
                block.qkv().product(),
                block.attention(),
                tokens.query(),
                tokens.key(),
                tokens.value());
        team.meet(member);
        MatmulOperator mixing = block.mixing();
        if (extent.products() > 0) {
            mix(block, layout, extent, observer);
        }
        if (layout.isWindowed()) {
            team.meet(member);
        }
        LinearOperator projection = block.projection();
        MemorySegment factors = mixing.normalized() ? tokens.factors() : MemorySegment.NULL;
        layout.merge(
                pointwise,
                tokens.mixed(),
                mixing.integer(),
                extent,
                mixing.scale(),
                factors,
                projection.input(),
                operand);
        product(projection, rows, observer);
        pointwise.addTo(raw, rows, projection.product(), stream);
    }

    private void mix(
            BlockOperators block,
            AttentionLayout layout,
            AttentionLayout.Extent extent,
            @Nullable LayerObserver observer) {
        MatmulOperator scores = block.scores();
        int batch = extent.products();
        scores.matmul().run(workspace, products.query(), products.key(), batch, raw);
        if (observer != null) {
            observer.matmul(scores.name(), products.query(), products.key(), batch, raw);
        }
        MatmulOperator mixing = block.mixing();
        MemorySegment factors = mixing.normalized() ? products.factors() : MemorySegment.NULL;
        layout.softmax(
                workspace.pointwise(), raw, scores.integer(), extent, scores.scale(), mixing.left(), operand, factors);
        mixing.matmul().run(workspace, operand, products.value(), batch, products.mixed());
        if (observer != null) {
            observer.matmul(mixing.name(), operand, products.value(), batch, products.mixed());
        }
    }

    /** Adds what the MLP makes of the stream to it. */
    void mlp(BlockOperators block, int rows, @Nullable LayerObserver observer) {
        normalize(block, block.mlpNorm(), rows, block.hidden().input());
        product(block.hidden(), rows, observer);
        workspace
                .pointwise()
                .gelu(raw, rows, block.hidden().product(), block.output().input(), operand);
        product(block.output(), rows, observer);
        workspace.pointwise().addTo(raw, rows, block.output().product(), stream);
    }

    private void normalize(BlockOperators block, NormParameters norm, int rows, Operand form) {
        int width = block.unit().shape().width();
        workspace
                .pointwise()
                .layerNorm(stream, rows, width, norm.gamma(), norm.beta(), layerNormEpsilon, form, operand);
    }

    private void product(LinearOperator operator, int rows, @Nullable LayerObserver observer) {
        if (rows == 0) {
            return; // more threads than tokens
        }
        operator.linear().run(workspace, operand, rows, raw);
        if (observer != null) {
            observer.linear(operator.name(), operand, rows, raw);
        }
    }
}
