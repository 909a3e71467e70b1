package dev.trivet.runtime;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.ModelUnit;

/** The operators of one pre-norm block, attention then MLP, made ready to run. */
record BlockOperators(
        ModelUnit.Block unit,
        AttentionLayout layout,
        NormParameters attentionNorm,
        LinearOperator qkv,
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
