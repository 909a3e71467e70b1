package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.gelu;
import static org.bytedeco.pytorch.global.torch.layer_norm;

import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitNames;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;

/**
 * What ViT and Swin have in common, on the parameters of one model: pre-norm blocks
 * {@code x += projection(attention(norm(x))); x += mlp(norm(x))}, attention {@code softmax(q k^T / sqrt(headWidth) + bias) v}, GELU with
 * the exact error function, and every linear layer and attention by the model's {@link Arithmetic}.
 *
 * @param parameters the model's
 * @param arithmetic how linear layers and attention compute
 */
record TransformerLayers(Parameters parameters, Arithmetic arithmetic) {
    TransformerLayers replica(UnaryOperator<Arithmetic> change) {
        return new TransformerLayers(parameters.replica(), change.apply(arithmetic.replica()));
    }

    /** The same with a copy of the parameters in a device's memory. */
    TransformerLayers on(Device device) {
        return new TransformerLayers(parameters.on(device), arithmetic.replica());
    }

    /** Patches {@code [batch, patches, patchLength]} to tokens {@code [batch, patches, width]}. */
    Tensor embedding(Tensor patches) {
        Tensor kernel = parameters.get(VitNames.PATCH_EMBEDDING + ".weight").flatten(1, -1);
        return arithmetic.linear(VitNames.PATCH_EMBEDDING, patches, kernel, bias(VitNames.PATCH_EMBEDDING));
    }

    /**
     * A block.
     *
     * @param index number of the block in the model
     * @param x {@code [batch, tokens, width]}
     * @param kept see {@link TrainableModel#forward}
     * @param attention from normalized tokens to mixed values, both {@code [batch, tokens, width]}
     */
    Tensor block(
            ModelUnit.Block unit,
            int index,
            Tensor x,
            Optional<Tensor> kept,
            float epsilon,
            UnaryOperator<Tensor> attention) {
        Tensor mixed = attention.apply(norm(unit.attentionNorm(), x, epsilon));
        Tensor attended = x.add(kept(dense(unit.projection(), mixed), kept, index, 0));
        Tensor hidden = gelu(dense(unit.hidden(), norm(unit.mlpNorm(), attended, epsilon)));
        Tensor stream = attended.add(kept(dense(unit.mlpOutput(), hidden), kept, index, 1));
        arithmetic.leaves(unit, stream);
        return stream;
    }

    private static Tensor kept(Tensor branch, Optional<Tensor> kept, int block, int which) {
        return kept.isEmpty() ? branch : branch.mul(kept.get().select(0, block).select(0, which));
    }

    /**
     * Attention within each group of tokens, without the projection behind it.
     *
     * @param x {@code [batch, groups * groupTokens, width]}
     * @param bias added to the scores, {@code [1, groups * heads, groupTokens, groupTokens]}
     * @return shaped as {@code x}
     */
    Tensor attention(ModelUnit.Block unit, Tensor x, Optional<Tensor> bias) {
        long batch = x.size(0);
        long groups = unit.groups();
        long heads = unit.heads();
        long tokens = unit.groupTokens();
        long headWidth = unit.headWidth();
        Tensor qkv = dense(unit.qkv(), x)
                .view(batch, groups, tokens, 3, heads, headWidth)
                .permute(3, 0, 1, 4, 2, 5)
                .flatten(2, 3);
        Tensor mixed = arithmetic.attention(unit, qkv.select(0, 0), qkv.select(0, 1), qkv.select(0, 2), bias);
        return mixed.view(batch, groups, heads, tokens, headWidth)
                .transpose(2, 3)
                .reshape(batch, groups * tokens, heads * headWidth);
    }

    /** LayerNorm over the last dimension. */
    Tensor norm(String name, Tensor x, float epsilon) {
        return layer_norm(
                x,
                new long[] {x.size(-1)},
                new TensorOptional(parameters.get(name + ".weight")),
                new TensorOptional(parameters.get(name + ".bias")),
                epsilon,
                false);
    }

    /** A linear layer, {@code [..., inputs]} to {@code [..., outputs]}. */
    Tensor dense(String name, Tensor x) {
        return arithmetic.linear(name, x, parameters.get(name + ".weight"), bias(name));
    }

    private Optional<Tensor> bias(String name) {
        return parameters.find(name + ".bias");
    }
}
