package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.scaled_dot_product_attention;

import dev.trivet.model.ModelUnit;
import java.util.Optional;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;

/**
 * How a model's products compute: its linear layers and the two products of attention. Everything that is quantized in the deployed model
 * goes through the one that its {@link TrainableModel} was made with, by name; another than {@link #FLOAT} quantizes operands on the way.
 *
 * <p>For one thread; further threads take a {@link #replica}.
 */
@FunctionalInterface
interface Arithmetic {
    /** Plain float products. */
    Arithmetic FLOAT = (name, input, weight, bias) ->
            bias.isPresent() ? torch.linear(input, weight, bias.get()) : torch.linear(input, weight);

    /**
     * A linear layer, {@code input weight^T + bias}.
     *
     * @param name the layer's name without {@code .weight}
     * @param input {@code [..., inputs]}
     * @param weight {@code [outputs, inputs]}
     * @param bias {@code [outputs]}
     */
    Tensor linear(String name, Tensor input, Tensor weight, Optional<Tensor> bias);

    /**
     * Attention within groups, {@code softmax(query key^T / sqrt(headWidth) + bias) value}. With autocast to bfloat16 it is two products
     * with a softmax between them: PyTorch's fused attention is the faster one in float32 and several times slower in bfloat16 (2.10, CPU).
     *
     * @param unit whose attention it is
     * @param query {@code [batch, groups * heads, groupTokens, headWidth]}; {@code key} and {@code value} alike
     * @param bias {@code [1, groups * heads, groupTokens, groupTokens]}
     * @return shaped as {@code query}
     */
    default Tensor attention(ModelUnit.Block unit, Tensor query, Tensor key, Tensor value, Optional<Tensor> bias) {
        if (torch.is_autocast_enabled(DeviceType.CPU)) {
            return mixed(unit, weights(unit, query, key, bias), value);
        }
        return scaled_dot_product_attention(
                query,
                key,
                value,
                bias.map(TensorOptional::new).orElseGet(TensorOptional::new),
                0,
                false,
                new DoubleOptional(),
                false);
    }

    /** The weights of attention, {@code softmax(query key^T / sqrt(headWidth) + bias)}, {@code [batch, groups * heads, groupTokens, groupTokens]}. */
    default Tensor weights(ModelUnit.Block unit, Tensor query, Tensor key, Optional<Tensor> bias) {
        Tensor scores = query.mul(new Scalar(1 / Math.sqrt(unit.headWidth()))).matmul(key.transpose(-2, -1));
        return (bias.isPresent() ? scores.add(bias.get()) : scores).softmax(-1);
    }

    /** Attention's second product, {@code weights value}. */
    default Tensor mixed(ModelUnit.Block unit, Tensor weights, Tensor value) {
        return weights.matmul(value);
    }

    /** To be told what a block gives, {@code [batch, tokens, width]}. */
    default void leaves(ModelUnit.Block unit, Tensor stream) {}

    /** What records the features of a forward pass; empty where nothing does. */
    default Optional<Features.Recording> recording() {
        return Optional.empty();
    }

    /** Ranges of quantized activations; empty where nothing is quantized. */
    default Optional<ActivationRanges> ranges() {
        return Optional.empty();
    }

    /** The same for another thread. */
    default Arithmetic replica() {
        return this;
    }
}
