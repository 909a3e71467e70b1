package dev.trivet.train;

import dev.trivet.model.Geometry;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.TernaryWeights;
import java.util.Optional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Scales that are learned with the weights: Esser et al., <i>Learned Step Size Quantization</i> (LSQ, ICLR 2020), section 2. With
 * {@code y = s round(clamp(x / s, -Qn, Qp))} and the gradient straight through the rounding,
 *
 * <pre>
 *   dy/ds = round(x / s) - x / s   inside,   -Qn or Qp   where x is clipped
 *   dL/ds = g sum of dL/dy dy/ds,  g = 1 / sqrt(N Qp) for N values x
 * </pre>
 *
 * <p>Where we differ: what is learned is the logarithm of a factor, {@code s = s0 exp(f)}, {@code dL/df = s dL/ds}, because AdamW moves each parameter by about the learning
 * rate whatever its size, and a scale of 0.02 is not to move by 0.001 a step. {@code s0} is the scale of the range first watched for activations (LSQ: {@code 2 mean|x| / sqrt(Qp)}, made for few
 * bits) and stays; for ternary weights it is the scale that the weights have at each step, so that the factor is what the rule of TWN lacks. AdamW also cancels g; it still
 * keeps scales from ruling the norm of the gradient that is clipped. Zero points stay.
 *
 * <p>The factors are at the end of the vector of parameters, so optimizer, average and checkpoint treat them as they do the weights; they do not decay.
 */
final class LearnedScale {
    private static final String ACTIVATIONS = "activations.log_scale";

    private LearnedScale() {}

    /** The layout of a model with such scales. */
    static ParameterLayout with(
            ParameterLayout layout,
            Geometry geometry,
            ActivationRanges ranges,
            TrainingSettings.Quantization.LearnedScales learned) {
        ParameterLayout all = learned.activations() ? layout.with(ACTIVATIONS, ranges.size()) : layout;
        if (learned.weights()) {
            for (VitTensors.Linear layer : VitTensors.of(geometry).linears()) {
                all = all.with(nameOf(layer), layer.outputs());
            }
        }
        return all;
    }

    /** Where the activations' factors are, in the order of the ranges. */
    static Optional<ParameterLayout.Slot> ofActivations(ParameterLayout layout) {
        return layout.find(ACTIVATIONS);
    }

    /** Name of the factors of a matrix, one an output; where the matrix has one scale, only the first is used. */
    static String nameOf(VitTensors.Linear layer) {
        return layer.weight() + ".log_scale";
    }

    /** A quantizer with its step times {@code exp(factor)}. */
    static ActivationQuantizer apply(ActivationQuantizer quantizer, float factor) {
        return factor == 0
                ? quantizer
                : new ActivationQuantizer(
                        (float) (quantizer.scale() * Math.exp(factor)),
                        quantizer.zeroPoint(),
                        quantizer.lowest(),
                        quantizer.highest());
    }

    /** A ternary scale times {@code exp(factor)}, as a file has it. */
    static float ofWeights(float scale, float factor) {
        return factor == 0 ? scale : TernaryWeights.storedScale(scale * Math.exp(factor));
    }

    /**
     * Sum of {@code dL/dy s dy/ds}: {@code y - x} inside, {@code y} where x is clipped, each times the gradient.
     *
     * @param x before rounding
     * @param y after it, of the same shape
     * @param gradient of y
     */
    static double slope(Tensor x, Tensor y, Tensor gradient, ActivationQuantizer quantizer) {
        double low = (quantizer.lowest() - quantizer.zeroPoint()) * quantizer.scale();
        double high = (quantizer.highest() - quantizer.zeroPoint()) * quantizer.scale();
        Tensor inside = x.ge(new Scalar(low)).logical_and(x.le(new Scalar(high)));
        return y.sub(x.mul(inside))
                .mul(gradient)
                .sum(new org.bytedeco.pytorch.ScalarTypeOptional(ScalarType.Double))
                .item_double();
    }

    /** With LSQ's g. */
    static double balanced(double slope, long count, int largestCode) {
        return count == 0 ? 0 : slope / Math.sqrt((double) count * largestCode);
    }
}
