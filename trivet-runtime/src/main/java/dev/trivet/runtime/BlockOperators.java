package dev.trivet.runtime;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Requantization;
import dev.trivet.model.ModelUnit;
import java.util.Optional;

/**
 * The operators of one pre-norm block, attention then MLP, made ready to run.
 *
 * @param requantization how queries, keys and values become codes, where one step takes them there
 */
record BlockOperators(
        ModelUnit.Block unit,
        AttentionLayout layout,
        NormParameters attentionNorm,
        LinearOperator qkv,
        Optional<Requantization> requantization,
        MatmulOperator scores,
        MatmulOperator mixing,
        AttentionOperands attention,
        LinearOperator projection,
        NormParameters mlpNorm,
        LinearOperator hidden,
        LinearOperator output) {

    /** The same with products that take some rows of the queries. */
    BlockOperators withQueries(int rows, Kernels kernels) {
        return new BlockOperators(
                unit,
                layout,
                attentionNorm,
                qkv,
                requantization,
                scores.withRows(rows, kernels),
                mixing.withRows(rows, kernels),
                attention,
                projection,
                mlpNorm,
                hidden,
                output);
    }

    String name() {
        return unit.name();
    }
}
