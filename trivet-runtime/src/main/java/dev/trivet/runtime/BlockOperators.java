package dev.trivet.runtime;

import dev.trivet.kernel.AttentionOperands;
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

    String name() {
        return unit.name();
    }
}
