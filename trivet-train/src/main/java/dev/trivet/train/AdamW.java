package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.zeros;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as PyTorch computes it, on one flat vector of all
 * parameters:
 *
 * <pre>
 *   p -= rate * decay * p              (matrices only)
 *   m += (1 - b1) * (g - m)
 *   v  = b2 * v + (1 - b2) * g * g
 *   p -= rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 * </pre>
 *
 * Written here rather than taken from the library because a checkpoint needs its moments, which the Java binding does not
 * give back, and because a few long vector operations cost less than the library's loop over some eighty short ones.
 */
final class AdamW implements AutoCloseable {
    private static final double BETA1 = 0.9;
    private static final double BETA2 = 0.999;
    private static final double EPSILON = 1e-8;

    private final Tensor values;
    private final Tensor gradients;
    private final Tensor decays;
    private final Tensor mean;
    private final Tensor variance;
    private final double weightDecay;
    private long steps;

    /**
     * @param decays 1 where weight decay applies, 0 elsewhere; copied
     */
    AdamW(Tensor values, Tensor gradients, float[] decays, double weightDecay) {
        this.values = values;
        this.gradients = gradients;
        this.weightDecay = weightDecay;
        this.decays = zeros(values.numel());
        Torch.floats(this.decays).put(decays);
        mean = zeros(values.numel());
        variance = zeros(values.numel());
    }

    /** One step; to be called within a pointer scope, which frees the temporaries. */
    void step(double rate) {
        steps++;
        double correction1 = 1 - Math.pow(BETA1, (double) steps);
        double correction2 = Math.sqrt(1 - Math.pow(BETA2, (double) steps));
        values.addcmul_(values, decays, new Scalar(-rate * weightDecay));
        mean.lerp_(gradients, new Scalar(1 - BETA1));
        variance.mul_(new Scalar(BETA2)).addcmul_(gradients, gradients, new Scalar(1 - BETA2));
        Tensor divisor = variance.sqrt().div_(new Scalar(correction2)).add_(new Scalar(EPSILON));
        values.addcdiv_(mean, divisor, new Scalar(-rate / correction1));
    }

    Tensor mean() {
        return mean;
    }

    Tensor variance() {
        return variance;
    }

    long steps() {
        return steps;
    }

    void steps(long taken) {
        steps = taken;
    }

    @Override
    public void close() {
        decays.close();
        mean.close();
        variance.close();
    }
}
