package dev.trivet.train;

import dev.trivet.model.ModelUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What the blocks of a model computed in a forward pass, to be compared with a teacher's (as TinyBERT does, Jiao et al., 2020, for the ternary models of TernaryBERT):
 *
 * <pre>
 *   attention:  mean over blocks, images, heads and queries of  KL(teacher's weights || own)
 *   streams:    mean over blocks of  ||own - teacher's||^2 / ||teacher's||^2
 * </pre>
 *
 * TinyBERT takes squared errors of the scores before softmax, and of the stream without the division; divided, a block of large values counts no more than another.
 * Logarithms are of weights plus 1e-6, so that a masked pair costs nothing.
 *
 * @param attention weights of each block, {@code [batch, groups * heads, groupTokens, groupTokens]}
 * @param streams what each block gives, {@code [batch, tokens, width]}
 */
record Features(List<Tensor> attention, List<Tensor> streams) {
    private static final double LEAST = 1e-6;

    Features {
        attention = List.copyOf(attention);
        streams = List.copyOf(streams);
    }

    /** How far the attention is from a teacher's. */
    Tensor attentionLoss(Features teacher) {
        Tensor sum = divergence(attention.getFirst(), teacher.attention.getFirst());
        for (int i = 1; i < attention.size(); i++) {
            sum = sum.add(divergence(attention.get(i), teacher.attention.get(i)));
        }
        return sum.mul(new Scalar(1.0 / attention.size()));
    }

    private static Tensor divergence(Tensor own, Tensor teacher) {
        Tensor wanted = teacher.to(ScalarType.Float);
        Scalar least = new Scalar(LEAST);
        Tensor gap =
                wanted.add(least).log().sub(own.to(ScalarType.Float).add(least).log());
        double rows = (double) own.numel() / own.size(-1);
        return wanted.mul(gap).sum().mul(new Scalar(1 / rows));
    }

    /** How far the streams are from a teacher's. */
    Tensor streamLoss(Features teacher) {
        Tensor sum = distance(streams.getFirst(), teacher.streams.getFirst());
        for (int i = 1; i < streams.size(); i++) {
            sum = sum.add(distance(streams.get(i), teacher.streams.get(i)));
        }
        return sum.mul(new Scalar(1.0 / streams.size()));
    }

    private static Tensor distance(Tensor own, Tensor teacher) {
        Tensor wanted = teacher.to(ScalarType.Float);
        Tensor gap = own.to(ScalarType.Float).sub(wanted);
        return gap.square().sum().div(wanted.square().sum());
    }

    /** Another arithmetic with its features recorded, where and while that is asked for. */
    static final class Recording implements Arithmetic {
        private final Arithmetic inner;
        private final List<Tensor> attention = new ArrayList<>();
        private final List<Tensor> streams = new ArrayList<>();
        private boolean on;

        Recording(Arithmetic inner) {
            this.inner = inner;
        }

        /** Records from here on. */
        void start() {
            on = true;
        }

        /** What was recorded since the start; no more is recorded. */
        Features take() {
            Features taken = new Features(attention, streams);
            attention.clear();
            streams.clear();
            on = false;
            return taken;
        }

        @Override
        public Tensor linear(String name, Tensor input, Tensor weight, Optional<Tensor> bias) {
            return inner.linear(name, input, weight, bias);
        }

        @Override
        public Tensor attention(ModelUnit.Block unit, Tensor query, Tensor key, Tensor value, Optional<Tensor> bias) {
            if (!on) {
                return inner.attention(unit, query, key, value, bias);
            }
            Tensor weights = inner.weights(unit, query, key, bias);
            attention.add(weights);
            return inner.mixed(unit, weights, value);
        }

        @Override
        public void leaves(ModelUnit.Block unit, Tensor stream) {
            if (on) {
                streams.add(stream);
            }
        }

        @Override
        public Optional<Recording> recording() {
            return Optional.of(this);
        }

        @Override
        public Optional<ActivationRanges> ranges() {
            return inner.ranges();
        }

        @Override
        public Arithmetic replica() {
            return new Recording(inner.replica());
        }
    }
}
