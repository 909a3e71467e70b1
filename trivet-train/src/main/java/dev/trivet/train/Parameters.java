package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.BadInputException;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.TensorSource;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/**
 * The parameters of a model. All are views of one flat vector, all gradients views of another, in the order of a
 * {@link ParameterLayout}; the backward pass adds into the gradient views in place.
 *
 * <p>With quantized weights there are two vectors: the {@link #values} that are learned, and those that the model computes with, which
 * {@link #refresh} makes from them.
 *
 * <p>For one thread; further threads take a {@link #replica}. Native memory is freed by {@link #close()}.
 */
final class Parameters implements AutoCloseable {
    private final ParameterLayout layout;
    private final Tensor values;
    private final Tensor used;
    private final Optional<QuantizedWeights> quantization;
    private final Tensor gradients;
    private final Device device;
    private final Map<String, Tensor> views = new HashMap<>();

    /** All zero. */
    Parameters(ParameterLayout layout) {
        this(layout, Optional.empty());
    }

    /** All zero, with quantized weights. */
    Parameters(ParameterLayout layout, Optional<QuantizedWeights> quantization) {
        this(layout, quantization, zeros(layout.total()), Optional.empty());
    }

    private Parameters(
            ParameterLayout layout, Optional<QuantizedWeights> quantization, Tensor values, Optional<Tensor> shared) {
        this(layout, quantization, values, shared, Device.CPU);
    }

    private Parameters(
            ParameterLayout layout,
            Optional<QuantizedWeights> quantization,
            Tensor values,
            Optional<Tensor> shared,
            Device device) {
        this.layout = layout;
        this.quantization = quantization;
        this.values = values;
        this.device = device;
        used = shared.orElseGet(() -> quantization.isPresent() ? zeros(layout.total()) : new Tensor(values));
        gradients = device.place(zeros(layout.total()));
        for (ParameterLayout.Slot slot : layout.slots()) {
            Tensor parameter = view(used, slot).detach().requires_grad_(true);
            parameter.mutable_grad().put(view(gradients, slot));
            views.put(slot.name(), parameter);
        }
    }

    /** The same values with gradients of its own, for another thread. */
    Parameters replica() {
        return new Parameters(layout, quantization, new Tensor(values), Optional.of(new Tensor(used)));
    }

    /** The same with a copy of what the model computes with in a device's memory, which {@link #fetch} brings up to date. */
    Parameters on(Device device) {
        Tensor copy = device.place(used.clone());
        return new Parameters(layout, quantization, new Tensor(values), Optional.of(copy), device);
    }

    /** Copies what the model computes with from the parameters that this was made of. */
    void fetch(Parameters from) {
        try (NoGradGuard _ = new NoGradGuard()) {
            used.copy_(from.used);
        }
    }

    /** Where the model computes. */
    Device device() {
        return device;
    }

    private static Tensor view(Tensor flat, ParameterLayout.Slot slot) {
        return flat.narrow(0, slot.offset(), slot.size()).view(slot.dimensions());
    }

    ParameterLayout layout() {
        return layout;
    }

    /** All values, {@code [layout().total()]}; writing to it changes the model. */
    Tensor values() {
        return values;
    }

    /** Brings what the model computes with up to date; to be called when {@link #values} have changed, for all replicas at once. */
    void refresh() {
        quantization.ifPresent(weights -> weights.forward(Torch.floats(values), Torch.floats(used)));
    }

    /** Makes the sum of the gradients of what was computed with those of {@link #values()}. */
    void passBack() {
        quantization.ifPresent(weights -> weights.backward(Torch.floats(values), Torch.floats(gradients)));
    }

    Optional<QuantizedWeights> quantization() {
        return quantization;
    }

    /** The gradient of {@link #values()}; to be zeroed before each backward pass. */
    Tensor gradients() {
        return gradients;
    }

    /** Name of the last parameter, the nearest to the loss, whose gradient is not finite. */
    Optional<String> nonFiniteGradient() {
        FloatBuffer all = Torch.floats(gradients);
        for (ParameterLayout.Slot slot : layout.slots().reversed()) {
            for (int i = slot.offset(); i < slot.offset() + slot.size(); i++) {
                if (!Float.isFinite(all.get(i))) {
                    return Optional.of(slot.name());
                }
            }
        }
        return Optional.empty();
    }

    /** @throws IllegalStateException if the model has no such parameter */
    Tensor get(String name) {
        return find(name).orElseThrow(() -> new IllegalStateException("no parameter " + name));
    }

    Optional<Tensor> find(String name) {
        return Optional.ofNullable(views.get(name));
    }

    /** The parameters under timm's names, copied. */
    List<dev.trivet.tensor.Tensor> weights() {
        FloatBuffer all = Torch.floats(values);
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
        FloatBuffer all = Torch.floats(values);
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

    /**
     * Takes the parameters of a float model.
     *
     * @throws IllegalArgumentException if it has not all of them, or a layer is not float
     */
    void load(VitModel model) {
        FloatBuffer all = Torch.floats(values);
        for (ParameterLayout.Slot slot : layout.slots()) {
            float[] found = found(model, slot.name());
            if (found.length != slot.size()) {
                throw new IllegalArgumentException(slot.name() + " has " + found.length + " values");
            }
            all.put(slot.offset(), found);
        }
    }

    private static float[] found(VitModel model, String name) {
        String layer = name.substring(0, name.lastIndexOf('.') < 0 ? name.length() : name.lastIndexOf('.'));
        if (!model.linears().containsKey(layer)) {
            return model.floats(name);
        }
        if (model.linear(layer) instanceof LinearLayer.Float32 linear) {
            return name.endsWith(".bias") ? linear.bias() : linear.weight();
        }
        throw new IllegalArgumentException(layer + " is quantized");
    }

    @Override
    public void close() {
        views.values().forEach(Tensor::close);
        values.close();
        used.close();
        gradients.close();
    }
}
