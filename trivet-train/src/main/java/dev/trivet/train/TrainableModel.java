package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.model.Geometry;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Tensor;

/**
 * A model that can be trained: parameters and a forward pass that PyTorch differentiates. What trains it need not know which model it
 * is.
 *
 * <p>For one thread; further threads take a {@link #replica}. Native memory is freed by {@link #close()}; {@link #forward} leaves its
 * intermediates to the caller's pointer scope.
 */
sealed interface TrainableModel extends AutoCloseable permits VitModule, SwinModule {
    /**
     * A model with the {@link InitialWeights} of {@code seed}.
     *
     * @param arithmetic how its linear layers and attention compute
     * @throws BadInputException if a model of this geometry has parameters that training does not know
     */
    static TrainableModel of(Geometry geometry, Arithmetic arithmetic, long seed) {
        return of(geometry, arithmetic, new Parameters(ParameterLayout.of(geometry)), seed);
    }

    /** The same on given parameters, which the model owns from here on. */
    static TrainableModel of(Geometry geometry, Arithmetic arithmetic, Parameters parameters, long seed) {
        ParameterLayout layout = parameters.layout();
        TransformerLayers layers = new TransformerLayers(parameters, arithmetic);
        InitialWeights.draw(
                layout,
                PatchGrid.of(geometry),
                seed,
                Torch.floats(layers.parameters().values()));
        return switch (geometry) {
            case VitConfig vit -> new VitModule(vit, layers);
            case SwinConfig swin -> new SwinModule(swin, layers);
        };
    }

    /**
     * The same with 8-bit activations and quantized weights.
     *
     * @param inner quantizer of every matrix between patch embedding and heads
     * @param outer quantizer of those two
     * @param ranges of the activations; stay the caller's
     * @param recorded whether its features can be recorded
     */
    static TrainableModel quantized(
            Geometry geometry,
            Preprocessing preprocessing,
            WeightQuantizer inner,
            WeightQuantizer outer,
            ActivationRanges ranges,
            boolean recorded,
            long seed) {
        ParameterLayout layout = ParameterLayout.of(geometry);
        QuantizedWeights weights = new QuantizedWeights(layout, geometry, preprocessing, inner, outer);
        Arithmetic arithmetic = new FakeQuantization(ranges);
        return of(
                geometry,
                recorded ? new Features.Recording(arithmetic) : arithmetic,
                new Parameters(layout, Optional.of(weights)),
                seed);
    }

    Geometry geometry();

    /** How its linear layers and attention compute. */
    Arithmetic arithmetic();

    /** Ranges of quantized activations; empty for a float model. */
    default Optional<ActivationRanges> ranges() {
        return arithmetic().ranges();
    }

    Parameters parameters();

    /** The same model for another thread: it shares the values of the parameters and has gradients of its own. */
    default TrainableModel replica() {
        return replica(UnaryOperator.identity());
    }

    /** The same with another arithmetic, made from a replica of its own. */
    TrainableModel replica(UnaryOperator<Arithmetic> change);

    /** The same with parameters of its own in a device's memory, see {@link Parameters#on}; ranges are shared. */
    TrainableModel on(Device device);

    /**
     * Logits {@code [batch, classes]}.
     *
     * @param patches {@code [batch, patches, patchLength]}, see {@link ImageBatch}
     * @param kept what {@link DropPath} leaves of each residual branch, {@code [blocks, 2, batch, 1, 1]}; empty for all
     */
    Tensor forward(Tensor patches, Optional<Tensor> kept);

    @Override
    void close();
}
