package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.zeros;

import java.util.List;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;

/**
 * Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) for the weight matrices
 * within the model: the momentum is replaced by the nearest orthogonal matrix, so that every direction of it moves the weights by the
 * same amount, not only the few large ones.
 *
 * <pre>
 *   m += (1 - b) * (g - m)
 *   u  = orthogonal(g + b * (m - g))                         (Nesterov momentum, b = 0.95)
 *   p -= rate * (weightDecay * p + scale * sqrt(max(rows, columns)) * u)
 * </pre>
 *
 * The orthogonal factor comes from five Newton-Schulz steps {@code X = aX + (bA + cA^2)X, A = XX^T} on the normalised
 * matrix, with the authors' a, b, c; the singular values end near 1, not at it, which does not matter.
 *
 * <p>The scaling by {@code sqrt(max(rows, columns))} is that of Liu et al., "Muon is scalable for LLM training" (2025): it
 * gives the update a root mean square of {@code scale}, so that one rate serves this and {@link AdamW}. Their scale is 0.2;
 * ours is 0.5, as the matrices bear a larger rate than tokens, norms and head do (three times as much again was too much).
 * We run equal matrices of a stage's blocks as one batched product.
 */
final class Muon implements AutoCloseable {
    private static final double MOMENTUM = 0.95;
    private static final double SCALE = 0.5;
    private static final int ITERATIONS = 5;

    private final Tensor momentum;
    private final List<Group> groups;
    private final double weightDecay;

    private record Group(Tensor values, Tensor gradients, Tensor momentum) implements AutoCloseable {
        @Override
        public void close() {
            values.close();
            gradients.close();
            momentum.close();
        }
    }

    Muon(Tensor values, Tensor gradients, ParameterLayout layout, double weightDecay) {
        this.weightDecay = weightDecay;
        momentum = zeros(layout.total());
        groups = layout.matrixGroups().stream()
                .map(group -> new Group(view(values, group), view(gradients, group), view(momentum, group)))
                .toList();
    }

    private static Tensor view(Tensor flat, ParameterLayout.MatrixGroup group) {
        return flat.as_strided(
                new long[] {group.count(), group.rows(), group.columns()},
                new long[] {group.stride(), group.columns(), 1},
                new LongOptional(group.offset()));
    }

    /**
     * One step; it leaves zero gradients, so that an AdamW over all parameters does not move these. To be called within a
     * pointer scope, which frees the temporaries.
     */
    void step(double rate) {
        for (Group group : groups) {
            Tensor gradient = group.gradients();
            group.momentum().lerp_(gradient, new Scalar(1 - MOMENTUM));
            Tensor update = orthogonal(gradient.lerp(group.momentum(), new Scalar(MOMENTUM)));
            double scale = SCALE * Math.sqrt((double) Math.max(update.size(1), update.size(2)));
            group.values().mul_(new Scalar(1 - rate * weightDecay)).add_(update, new Scalar(-rate * scale));
            gradient.zero_();
        }
    }

    /** The orthogonal factor of each matrix of {@code [n, rows, columns]}, about. */
    static Tensor orthogonal(Tensor matrices) {
        boolean tall = matrices.size(1) > matrices.size(2);
        Tensor x = tall ? matrices.transpose(1, 2) : matrices;
        Tensor norm = x.norm(new ScalarOptional(new Scalar(2)), new long[] {1, 2}, true);
        x = x.div(norm.add(new Scalar(1e-7)));
        for (int i = 0; i < ITERATIONS; i++) {
            Tensor square = x.bmm(x.transpose(1, 2));
            Tensor polynomial = square.mul(new Scalar(-4.7750)).add(square.bmm(square), new Scalar(2.0315));
            x = x.mul(new Scalar(3.4445)).add(polynomial.bmm(x));
        }
        return tall ? x.transpose(1, 2) : x;
    }

    /** {@code [parameters]}, zero where this optimiser has none. */
    Tensor momentum() {
        return momentum;
    }

    @Override
    public void close() {
        groups.forEach(Group::close);
        momentum.close();
    }
}
