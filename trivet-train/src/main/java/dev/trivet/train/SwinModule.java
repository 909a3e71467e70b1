package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.constant_pad_nd;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.SwinNames;
import dev.trivet.model.WindowPartition;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Tensor;

/**
 * A Swin Transformer (Liu et al., 2021), first version, that can be trained, computed as timm computes it: attention within windows, every
 * second block with windows shifted by half and a mask between tokens that only the cyclic shift made neighbours, a bias for each
 * relative position, patch merging between stages, the mean of all tokens.
 *
 * <p>Differs from the published code in how windows are cut: the cyclic shift, the padding and the cutting are one table of token numbers
 * ({@link WindowPartition}) and one {@code index_select}, and another puts tokens back, instead of rolling the map there and back. Where
 * one window is the whole map nothing is moved.
 */
final class SwinModule implements TrainableModel {
    private final SwinConfig config;
    private final TransformerLayers layers;
    private final List<Step> steps = new ArrayList<>();

    /** A unit with its constants. */
    private sealed interface Step extends AutoCloseable {
        @Override
        default void close() {}
    }

    private record Embedding() implements Step {}

    /**
     * @param index number of the block in the model
     * @param positions rows of the relative position bias table, {@code [windowTokens * windowTokens]}
     * @param order what brings tokens into windows and back; empty where that changes nothing
     * @param mask {@code [windows, 1, windowTokens, windowTokens]}; empty without a shift
     */
    private record Block(
            ModelUnit.Block unit, int index, Tensor positions, Optional<WindowOrder> order, Optional<Tensor> mask)
            implements Step {
        /** The same with constants in a device's memory. */
        Block on(Device device) {
            return new Block(
                    unit,
                    index,
                    device.place(positions),
                    order.map(o -> new WindowOrder(device.place(o.sources()), device.place(o.places()), o.padded())),
                    mask.map(device::place));
        }

        @Override
        public void close() {
            positions.close();
            order.ifPresent(WindowOrder::close);
            mask.ifPresent(Tensor::close);
        }
    }

    /**
     * @param sources token at each place of the windows, {@code [windows * windowTokens]}; the number of tokens for padding
     * @param places place of each token, {@code [tokens]}
     */
    private record WindowOrder(Tensor sources, Tensor places, boolean padded) implements AutoCloseable {
        @Override
        public void close() {
            sources.close();
            places.close();
        }
    }

    private record Merging(ModelUnit.Merging unit) implements Step {}

    private record Head() implements Step {}

    /** @param layers owned by the module from here on */
    SwinModule(SwinConfig config, TransformerLayers layers) {
        this.config = config;
        this.layers = layers;
        int blocks = 0;
        for (ModelUnit unit : config.units()) {
            steps.add(
                    switch (unit) {
                        case ModelUnit.Embedding _ -> new Embedding();
                        case ModelUnit.Block block ->
                            step(block, blocks++).on(layers.parameters().device());
                        case ModelUnit.Merging merging -> new Merging(merging);
                        case ModelUnit.Head _ -> new Head();
                    });
        }
    }

    private static Block step(ModelUnit.Block unit, int index) {
        WindowPartition windows = unit.windows().orElseThrow();
        Optional<Tensor> mask = Optional.empty();
        if (windows.shift() > 0) {
            mask = Optional.of(zeros(windows.windows(), 1, windows.windowTokens(), windows.windowTokens()));
            Torch.floats(mask.get()).put(windows.mask());
        }
        return new Block(unit, index, Torch.longs(windows.relativePositions()), order(windows), mask);
    }

    private static Optional<WindowOrder> order(WindowPartition windows) {
        int[] sources = windows.tokens();
        int tokens = windows.side() * windows.side();
        int[] places = new int[tokens];
        boolean moved = sources.length != tokens;
        for (int place = 0; place < sources.length; place++) {
            moved |= sources[place] != place;
            if (sources[place] == WindowPartition.PADDING) {
                sources[place] = tokens;
            } else {
                places[sources[place]] = place;
            }
        }
        return moved
                ? Optional.of(new WindowOrder(Torch.longs(sources), Torch.longs(places), sources.length != tokens))
                : Optional.empty();
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
    public SwinModule replica(UnaryOperator<Arithmetic> change) {
        return new SwinModule(config, layers.replica(change));
    }

    @Override
    public SwinModule on(Device device) {
        return new SwinModule(config, layers.on(device));
    }

    @Override
    public Tensor forward(Tensor patches, Optional<Tensor> kept) {
        Tensor x = patches;
        for (Step step : steps) {
            x = switch (step) {
                case Embedding _ -> embed(x);
                case Block block ->
                    layers.block(
                            block.unit(),
                            block.index(),
                            x,
                            kept,
                            config.layerNormEpsilon(),
                            normed -> attention(block, normed));
                case Merging merging -> merge(merging.unit(), x);
                case Head _ ->
                    layers.dense(SwinNames.HEAD, norm(SwinNames.FINAL_NORM, x).mean(1));
            };
        }
        return x;
    }

    private Tensor embed(Tensor patches) {
        Tensor tokens = norm(SwinNames.PATCH_EMBEDDING_NORM, layers.embedding(patches));
        return config.absolutePositions() ? tokens.add(parameters().get(SwinNames.POSITIONS)) : tokens;
    }

    private Tensor attention(Block block, Tensor x) {
        Optional<Tensor> bias = Optional.of(bias(block));
        if (block.order().isEmpty()) {
            return layers.attention(block.unit(), x, bias);
        }
        WindowOrder order = block.order().get();
        // Padding is zero behind the LayerNorm, so its query, key and value are the biases.
        Tensor tokens = order.padded() ? constant_pad_nd(x, 0, 0, 0, 1) : x;
        return layers.attention(block.unit(), tokens.index_select(1, order.sources()), bias)
                .index_select(1, order.places());
    }

    /** Relative position bias and mask, {@code [1, windows * heads, windowTokens, windowTokens]}. */
    private Tensor bias(Block block) {
        ModelUnit.Block unit = block.unit();
        long tokens = unit.groupTokens();
        Tensor ofHeads = parameters()
                .get(SwinNames.relativePositions(unit.name()))
                .index_select(0, block.positions())
                .view(1, tokens, tokens, unit.heads())
                .permute(0, 3, 1, 2);
        Tensor ofWindows = block.mask().isPresent()
                ? ofHeads.add(block.mask().get())
                : ofHeads.expand(unit.groups(), unit.heads(), tokens, tokens);
        return ofWindows.reshape(1, (long) unit.groups() * unit.heads(), tokens, tokens);
    }

    private Tensor merge(ModelUnit.Merging unit, Tensor x) {
        long batch = x.size(0);
        long width = x.size(2);
        long side = unit.side();
        long half = (side + 1) / 2;
        Tensor map = x.view(batch, side, side, width);
        if (side % 2 != 0) {
            map = constant_pad_nd(map, 0, 0, 0, 1, 0, 1);
        }
        // Upper left, lower left, upper right, lower right: the column of the square before its row.
        Tensor squares = map.view(batch, half, 2, half, 2, width)
                .permute(0, 1, 3, 4, 2, 5)
                .reshape(batch, half * half, 4 * width);
        return layers.dense(unit.reduction(), norm(unit.norm(), squares));
    }

    private Tensor norm(String name, Tensor x) {
        return layers.norm(name, x, config.layerNormEpsilon());
    }

    @Override
    public void close() {
        steps.forEach(Step::close);
        layers.parameters().close();
    }
}
