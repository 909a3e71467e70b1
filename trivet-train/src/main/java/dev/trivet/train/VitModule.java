package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.cat;

import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.Pooling;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitNames;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/**
 * A ViT or DeiT (Dosovitskiy et al., 2021; Touvron et al., 2021) that can be trained, computed as timm's vision transformer
 * computes it. A distilled model without a teacher trains both heads through the mean of their logits, which is what it answers at
 * inference.
 */
final class VitModule implements TrainableModel {
    private final VitConfig config;
    private final TransformerLayers layers;
    private final List<ModelUnit.Block> blocks;

    /** @param layers owned by the module from here on */
    VitModule(VitConfig config, TransformerLayers layers) {
        this.config = config;
        this.layers = layers;
        blocks = config.units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(ModelUnit.Block.class::cast)
                .toList();
    }

    @Override
    public Geometry geometry() {
        return config;
    }

    @Override
    public Arithmetic arithmetic() {
        return layers.arithmetic();
    }

    @Override
    public Parameters parameters() {
        return layers.parameters();
    }

    @Override
    public VitModule replica(UnaryOperator<Arithmetic> change) {
        return new VitModule(config, layers.replica(change));
    }

    @Override
    public VitModule on(Device device) {
        return new VitModule(config, layers.on(device));
    }

    @Override
    public Tensor forward(Tensor patches, Optional<Tensor> kept) {
        Tensor x = withPrefix(layers.embedding(patches)).add(parameters().get(VitNames.POSITIONS));
        for (int i = 0; i < blocks.size(); i++) {
            ModelUnit.Block block = blocks.get(i);
            x = layers.block(
                    block,
                    i,
                    x,
                    kept,
                    config.layerNormEpsilon(),
                    normed -> layers.attention(block, normed, Optional.empty()));
        }
        if (config.pooling() == Pooling.AVERAGE) {
            return layers.dense(
                    VitNames.HEAD,
                    norm(x.narrow(1, config.prefixTokens(), config.patches()).mean(1)));
        }
        if (config.distilled()) {
            Tensor both = norm(x.narrow(1, 0, 2));
            return layers.dense(VitNames.HEAD, both.select(1, 0))
                    .add(layers.dense(VitNames.DISTILLATION_HEAD, both.select(1, 1)))
                    .mul(new Scalar(0.5));
        }
        // The norm works token by token, so it is enough to do it for the one that is used.
        return layers.dense(VitNames.HEAD, norm(x.select(1, 0)));
    }

    private Tensor withPrefix(Tensor x) {
        if (config.prefixTokens() == 0) {
            return x;
        }
        TensorVector tokens = new TensorVector();
        if (config.classToken()) {
            tokens.push_back(token(VitNames.CLASS_TOKEN, x));
        }
        if (config.distilled()) {
            tokens.push_back(token(VitNames.DISTILLATION_TOKEN, x));
        }
        tokens.push_back(x);
        return cat(tokens, 1);
    }

    private Tensor token(String name, Tensor like) {
        return parameters().get(name).expand(like.size(0), 1, config.width()).to(like.scalar_type());
    }

    private Tensor norm(Tensor x) {
        return layers.norm(VitNames.finalNorm(config), x, config.layerNormEpsilon());
    }

    @Override
    public void close() {
        layers.parameters().close();
    }
}
