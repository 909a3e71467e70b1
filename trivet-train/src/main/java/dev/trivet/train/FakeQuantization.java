package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.hardtanh;

import dev.trivet.model.ModelUnit;
import dev.trivet.quant.ActivationQuantizer;
import java.util.Optional;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Products of 8-bit activations, simulated in floats: each operand is rounded to what its codes stand for before it is multiplied. Weights
 * come quantized already ({@link QuantizedWeights}). Where the float model has one fused attention, this has two products with a softmax
 * between them, as the executor has.
 *
 * <p>Ranges are watched wherever a gradient is wanted, and while they are not known; then nothing is rounded.
 */
final class FakeQuantization implements Arithmetic {
    private final ActivationRanges ranges;
    private final ActivationRanges.Observer observer;

    FakeQuantization(ActivationRanges ranges) {
        this.ranges = ranges;
        observer = ranges.observer();
    }

    @Override
    public Tensor linear(String name, Tensor input, Tensor weight, Optional<Tensor> bias) {
        return FLOAT.linear(name, operand(name, input), weight, bias);
    }

    @Override
    public Tensor attention(ModelUnit.Block unit, Tensor query, Tensor key, Tensor value, Optional<Tensor> bias) {
        return mixed(unit, weights(unit, query, key, bias), value);
    }

    @Override
    public Tensor weights(ModelUnit.Block unit, Tensor query, Tensor key, Optional<Tensor> bias) {
        Tensor left = operand(ActivationRanges.left(unit.scores()), query);
        Tensor right = operand(ActivationRanges.right(unit.scores()), key);
        return FLOAT.weights(unit, left, right, bias);
    }

    @Override
    public Tensor mixed(ModelUnit.Block unit, Tensor weights, Tensor value) {
        Tensor left = operand(ActivationRanges.left(unit.mixing()), weights);
        return FLOAT.mixed(unit, left, operand(ActivationRanges.right(unit.mixing()), value));
    }

    private Tensor operand(String name, Tensor x) {
        if (!ranges.known()) {
            observer.see(name, x);
            return x;
        }
        if (GradMode.is_enabled()) {
            observer.see(name, x);
        }
        return ranges.quantizer(name).map(quantizer -> round(x, quantizer)).orElse(x);
    }

    /**
     * What the codes of {@code x} stand for, with the gradient straight through the rounding and zero where values are clipped:
     *
     * <pre>y = scale * round(clamp(x, low, high) / scale)      dy/dx = 1 where low &lt; x &lt; high, else 0</pre>
     *
     * Clamping is the operation that PyTorch differentiates; its result, which the backward pass does not need, is then rounded in place by
     * {@link CodeRounding}: fewer passes over memory than {@code x + (y - x).detach()}, and fewer than PyTorch's own fused quantizer takes time
     * for, which is not vectorised. With autocast, operands that come from a product are in bfloat16 and stay so.
     */
    static Tensor round(Tensor x, ActivationQuantizer quantizer) {
        float low = (quantizer.lowest() - quantizer.zeroPoint()) * quantizer.scale();
        float high = (quantizer.highest() - quantizer.zeroPoint()) * quantizer.scale();
        Tensor y = hardtanh(x, new Scalar((double) low), new Scalar((double) high));
        try (NoGradGuard _ = new NoGradGuard()) {
            CodeRounding.apply(y, quantizer);
        }
        return y;
    }

    @Override
    public Arithmetic replica() {
        return new FakeQuantization(ranges);
    }

    @Override
    public Optional<ActivationRanges> ranges() {
        return Optional.of(ranges);
    }
}
