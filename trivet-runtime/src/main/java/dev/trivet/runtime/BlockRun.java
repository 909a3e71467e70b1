package dev.trivet.runtime;

import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Runs blocks on a session's residual stream. Tokens stay in their order; only queries, keys, values and scores are in the order of
 * the block's groups. Belongs to one session.
 *
 * @param stream float32 {@code [batch * tokens, width]}
 * @param operand of the next product
 * @param raw sums of the last product
 * @param query {@code [batch, groups, heads, groupTokens, headWidth]}; {@code key} and {@code value} alike
 * @param rowFactors float32 {@code [batch, groups, heads, groupTokens]}
 */
record BlockRun(
        Workspace workspace,
        MemorySegment stream,
        MemorySegment operand,
        MemorySegment raw,
        MemorySegment query,
        MemorySegment key,
        MemorySegment value,
        MemorySegment rowFactors,
        float layerNormEpsilon) {

    /** Adds what attention makes of the stream to it. */
    void attention(BlockOperators block, int images, @Nullable LayerObserver observer) {
        Pointwise pointwise = workspace.pointwise();
        AttentionLayout layout = block.layout();
        int rows = images * block.unit().shape().tokens();
        int batch = images * layout.products();
        normalize(block, block.attentionNorm(), rows, block.qkv().input());
        product(block.qkv(), rows, observer);
        layout.split(pointwise, raw, images, block.qkv().product(), block.attention(), query, key, value);
        MatmulOperator scores = block.scores();
        scores.matmul().run(workspace, query, key, batch, raw);
        if (observer != null) {
            observer.matmul(scores.name(), query, key, batch, raw);
        }
        MatmulOperator mixing = block.mixing();
        MemorySegment factors = mixing.normalized() ? rowFactors : MemorySegment.NULL;
        layout.softmax(pointwise, raw, scores.integer(), images, scores.scale(), mixing.left(), operand, factors);
        mixing.matmul().run(workspace, operand, value, batch, raw);
        if (observer != null) {
            observer.matmul(mixing.name(), operand, value, batch, raw);
        }
        LinearOperator projection = block.projection();
        layout.merge(pointwise, raw, mixing.integer(), images, mixing.scale(), factors, projection.input(), operand);
        product(projection, rows, observer);
        pointwise.addTo(raw, rows, projection.product(), stream);
    }

    /** Adds what the MLP makes of the stream to it. */
    void mlp(BlockOperators block, int images, @Nullable LayerObserver observer) {
        int rows = images * block.unit().shape().tokens();
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
        operator.linear().run(workspace, operand, rows, raw);
        if (observer != null) {
            observer.linear(operator.name(), operand, rows, raw);
        }
    }
}
