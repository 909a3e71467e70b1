package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.gelu;
import static org.bytedeco.pytorch.global.torch.layer_norm;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.scaled_dot_product_attention;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.BadInputException;
import dev.trivet.model.Pooling;
import dev.trivet.model.VitConfig;
import dev.trivet.tensor.TensorSource;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorVector;

/**
 * A ViT or DeiT (Dosovitskiy et al., 2021; Touvron et al., 2021) that can be trained, computed as timm's vision transformer
 * computes it: pre-norm blocks {@code x += attention(norm(x)); x += mlp(norm(x))}, attention
 * {@code softmax(q k^T / sqrt(headWidth)) v}, GELU with the exact error function.
 *
 * <p>All parameters are views of one flat vector, all gradients views of another, in the order of
 * {@link ParameterLayout}; the backward pass adds into the gradient views in place. A distilled model without a teacher
 * trains both heads through the mean of their logits, which is what it answers at inference.
 *
 * <p>For one thread; further threads take a {@link #replica}. Native memory is freed by {@link #close()}; {@link #forward} leaves its intermediates to the caller's
 * pointer scope.
 */
final class VitModule implements AutoCloseable {

    /** How a linear layer computes; another than the plain product can quantise weights and inputs on the way. */
    @FunctionalInterface
    interface Projection {
        /**
         * Computes the layer.
         *
         * @param name the layer's name without {@code .weight}
         * @param input {@code [..., inputs]}
         * @param weight {@code [outputs, inputs]}
         * @param bias {@code [outputs]}
         */
        Tensor apply(String name, Tensor input, Tensor weight, Optional<Tensor> bias);

        /** The plain product, {@code input weight^T + bias}. */
        Projection PLAIN = (name, input, weight, bias) ->
                bias.isPresent() ? linear(input, weight, bias.get()) : linear(input, weight);
    }

    private final VitConfig config;
    private final ParameterLayout layout;
    private final Projection projection;
    private final Tensor values;
    private final Tensor gradients;
    private final Map<String, Tensor> parameters = new HashMap<>();

    /** A model with the {@link InitialWeights} of {@code seed}. */
    VitModule(VitConfig config, Projection projection, long seed) {
        this(
                config,
                projection,
                ParameterLayout.of(config),
                zeros(ParameterLayout.of(config).total()));
        InitialWeights.draw(config, layout, seed, floats(values));
    }

    private VitModule(VitConfig config, Projection projection, ParameterLayout layout, Tensor values) {
        this.config = config;
        this.projection = projection;
        this.layout = layout;
        this.values = values;
        gradients = zeros(layout.total());
        for (ParameterLayout.Slot slot : layout.slots()) {
            Tensor parameter = view(values, slot).detach().requires_grad_(true);
            parameter.mutable_grad().put(view(gradients, slot));
            parameters.put(slot.name(), parameter);
        }
    }

    /** The same model for another thread: it shares the parameters and has gradients of its own. */
    VitModule replica() {
        return new VitModule(config, projection, layout, new Tensor(values));
    }

    private static Tensor view(Tensor flat, ParameterLayout.Slot slot) {
        return flat.narrow(0, slot.offset(), slot.size()).view(slot.dimensions());
    }

    /** The memory of a contiguous float32 tensor; valid while the tensor is. */
    static FloatBuffer floats(Tensor tensor) {
        return tensor.data_ptr_float().capacity(tensor.numel()).asBuffer();
    }

    VitConfig config() {
        return config;
    }

    ParameterLayout layout() {
        return layout;
    }

    /** All parameters, {@code [layout().total()]}; writing to it changes the model. */
    Tensor values() {
        return values;
    }

    /** The gradient of {@link #values()}; to be zeroed before each backward pass. */
    Tensor gradients() {
        return gradients;
    }

    /**
     * Logits {@code [batch, classes]}.
     *
     * @param patches {@code [batch, patches, patchLength]}, see {@link ImageBatch}
     */
    Tensor forward(Tensor patches) {
        long batch = patches.size(0);
        Tensor kernel = parameter("patch_embed.proj.weight").view(config.width(), config.patchLength());
        Tensor x =
                projection.apply("patch_embed.proj", patches, kernel, Optional.of(parameter("patch_embed.proj.bias")));
        if (config.prefixTokens() > 0) {
            TensorVector tokens = new TensorVector();
            if (config.classToken()) {
                tokens.push_back(token("cls_token", batch, x));
            }
            if (config.distilled()) {
                tokens.push_back(token("dist_token", batch, x));
            }
            tokens.push_back(x);
            x = cat(tokens, 1);
        }
        x = x.add(parameter("pos_embed"));
        for (int i = 0; i < config.depth(); i++) {
            String block = "blocks." + i + ".";
            x = x.add(attention(block + "attn.", norm(block + "norm1", x)));
            Tensor hidden = gelu(dense(block + "mlp.fc1", norm(block + "norm2", x)));
            x = x.add(dense(block + "mlp.fc2", hidden));
        }
        if (config.pooling() == Pooling.AVERAGE) {
            Tensor mean = x.narrow(1, config.prefixTokens(), config.patches()).mean(1);
            return dense("head", norm("fc_norm", mean));
        }
        if (config.distilled()) {
            Tensor both = norm("norm", x.narrow(1, 0, 2));
            return dense("head", both.select(1, 0))
                    .add(dense("head_dist", both.select(1, 1)))
                    .mul(new Scalar(0.5));
        }
        // The norm works token by token, so it is enough to do it for the one that is used.
        return dense("head", norm("norm", x.select(1, 0)));
    }

    private Tensor token(String name, long batch, Tensor like) {
        return parameter(name).expand(batch, 1, config.width()).to(like.scalar_type());
    }

    private Tensor attention(String prefix, Tensor x) {
        long batch = x.size(0);
        Tensor qkv = dense(prefix + "qkv", x)
                .view(batch, config.tokens(), 3, config.heads(), config.headWidth())
                .permute(2, 0, 3, 1, 4);
        Tensor mixed = scaled_dot_product_attention(qkv.select(0, 0), qkv.select(0, 1), qkv.select(0, 2));
        return dense(prefix + "proj", mixed.transpose(1, 2).reshape(batch, config.tokens(), config.width()));
    }

    private Tensor norm(String name, Tensor x) {
        return layer_norm(
                x,
                new long[] {config.width()},
                new TensorOptional(parameter(name + ".weight")),
                new TensorOptional(parameter(name + ".bias")),
                config.layerNormEpsilon(),
                false);
    }

    private Tensor dense(String name, Tensor x) {
        return projection.apply(
                name, x, parameter(name + ".weight"), Optional.ofNullable(parameters.get(name + ".bias")));
    }

    private Tensor parameter(String name) {
        Tensor parameter = parameters.get(name);
        if (parameter == null) {
            throw new IllegalStateException("no parameter " + name);
        }
        return parameter;
    }

    /** The parameters under timm's names, copied. */
    List<dev.trivet.tensor.Tensor> weights() {
        FloatBuffer all = floats(values);
        List<dev.trivet.tensor.Tensor> weights = new ArrayList<>();
        for (ParameterLayout.Slot slot : layout.slots()) {
            float[] copy = new float[slot.size()];
            all.get(slot.offset(), copy);
            weights.add(dev.trivet.tensor.Tensor.ofFloats(slot.name(), copy, slot.dimensions()));
        }
        return weights;
    }

    /**
     * Takes the parameters from a checkpoint with timm's names; tensors that the model does not have are passed over.
     *
     * @throws BadInputException if one is missing or has another shape
     */
    void load(TensorSource source) {
        FloatBuffer all = floats(values);
        for (ParameterLayout.Slot slot : layout.slots()) {
            dev.trivet.tensor.Tensor weight = source.find(slot.name())
                    .orElseThrow(() -> new BadInputException(
                            source.file(), "has no tensor " + slot.name(), "give weights that fit the config"));
            if (!weight.shape().equals(slot.shape()) || !weight.isFloating()) {
                throw new BadInputException(
                        source.file(),
                        "has tensor " + slot.name() + " as " + weight.dtype() + " " + weight.shapeText() + " where the "
                                + "config asks for floats " + slot.shape(),
                        "give weights that fit the config");
            }
            all.put(slot.offset(), weight.toFloats());
        }
    }

    @Override
    public void close() {
        parameters.values().forEach(Tensor::close);
        values.close();
        gradients.close();
    }
}
