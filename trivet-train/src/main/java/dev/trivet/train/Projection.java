package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.linear;

import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/**
 * How a linear layer computes. Every linear layer of every model goes through the one that its {@link TrainableModel} was made with, by
 * name; another than the plain product can quantise weights and inputs on the way.
 */
@FunctionalInterface
interface Projection {
    /** The plain product, {@code input weight^T + bias}. */
    Projection PLAIN =
            (name, input, weight, bias) -> bias.isPresent() ? linear(input, weight, bias.get()) : linear(input, weight);

    /**
     * Computes the layer.
     *
     * @param name the layer's name without {@code .weight}
     * @param input {@code [..., inputs]}
     * @param weight {@code [outputs, inputs]}
     * @param bias {@code [outputs]}
     */
    Tensor apply(String name, Tensor input, Tensor weight, Optional<Tensor> bias);
}
