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
 * @param roomy attention's products with {@link Kernels#keyPlaces} for the keys of an image, where all of attention runs on bytes and nobody watches
 * @param sideBySide the same on queries, keys and values as the layer before leaves them, where that is as fast
 * @param pieceRequantization how they become the codes that these products read, or the roomy ones split: with rows as far apart
 */
record BlockOperators(
        ModelUnit.Block unit,
        AttentionLayout layout,
        NormParameters attentionNorm,
        LinearOperator qkv,
        Optional<Requantization> requantization,
        MatmulOperator scores,
        MatmulOperator mixing,
        Optional<Products> roomy,
        Optional<Products> sideBySide,
        Optional<Requantization> pieceRequantization,
        AttentionOperands attention,
        LinearOperator projection,
        NormParameters mlpNorm,
        LinearOperator hidden,
        LinearOperator output) {

    /** Attention's two products. */
    record Products(MatmulOperator scores, MatmulOperator mixing) {}

    /** Places of a head's keys. */
    int keys() {
        return scores.shape().n();
    }

    /** The same with roomy products in place of the others, if there are such. */
    BlockOperators withRoom() {
        return roomy.map(products -> with(products.scores, products.mixing)).orElse(this);
    }

    /** The same with products that take some rows of the queries. */
    BlockOperators withQueries(int rows, Kernels kernels) {
        return with(scores.withRows(rows, kernels), mixing.withRows(rows, kernels));
    }

    private BlockOperators with(MatmulOperator someScores, MatmulOperator someMixing) {
        return new BlockOperators(
                unit,
                layout,
                attentionNorm,
                qkv,
                requantization,
                someScores,
                someMixing,
                roomy,
                sideBySide,
                pieceRequantization,
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
