package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.aminmax;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.model.Geometry;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.quant.ActivationQuantizer;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.bytedeco.pytorch.T_TensorTensor_T;
import org.bytedeco.pytorch.Tensor;

/**
 * The range of each 8-bit activation of a model, learned by watching training batches:
 *
 * <pre>range += (1 - d) * (range of the batch - range)      d = min(0.99, (1 + t) / (10 + t)) after t steps</pre>
 *
 * for its least and largest value. Within a step ranges stand still, and what they are at the end goes into the quantized file, so the
 * simulation and the integer executor round alike. TerViT's published relatives take each batch's own range, which no static file can.
 *
 * <p>A range becomes a quantizer as TerViT has it: symmetric after LayerNorm, for q, k, v and (our choice, the text does not say) for the
 * input of the attention projection; least to largest value, widened to zero, after GELU; zero to the largest after softmax. Pixels
 * need no range ({@link QuantizedWeights}).
 *
 * <p>Ranges are read by several threads and changed by {@link #update} between steps; each thread has an {@link Observer} of its own.
 */
final class ActivationRanges implements AutoCloseable {
    private static final double DECAY = 0.99;
    private static final int BYTE = 255;

    /** How a range becomes a quantizer. */
    private enum Form {
        /** A linear layer's input: codes 0 to 255 around 128. */
        SYMMETRIC,
        /** A linear layer's input: all codes between least and largest value. */
        MIN_MAX,
        /** An operand of a product: codes -128 to 127. */
        SIGNED,
        /** Attention weights: codes 0 to 255 from zero up. */
        FROM_ZERO
    }

    private final Map<String, Integer> places = new HashMap<>();
    private final List<Form> forms = new ArrayList<>();
    /** Least, then largest values; NaN while nothing was seen. */
    private final Tensor values;

    private final FloatBuffer ranges;

    private final List<Observer> observers = new ArrayList<>();
    private List<ActivationQuantizer> quantizers = List.of();

    /** Ranges of all activations of a model, none seen yet. */
    ActivationRanges(Geometry geometry) {
        for (ModelUnit unit : geometry.units()) {
            switch (unit) {
                case ModelUnit.Embedding _ -> {}
                case ModelUnit.Block block -> {
                    add(block.qkv(), Form.SYMMETRIC);
                    add(left(block.scores()), Form.SIGNED);
                    add(right(block.scores()), Form.SIGNED);
                    add(left(block.mixing()), Form.FROM_ZERO);
                    add(right(block.mixing()), Form.SIGNED);
                    add(block.projection(), Form.SYMMETRIC);
                    add(block.hidden(), Form.SYMMETRIC);
                    add(block.mlpOutput(), Form.MIN_MAX);
                }
                case ModelUnit.Merging merging -> add(merging.reduction(), Form.SYMMETRIC);
                case ModelUnit.Head head -> head.linears().forEach(name -> add(name, Form.SYMMETRIC));
            }
        }
        values = zeros(2, forms.size());
        ranges = Torch.floats(values);
        for (int i = 0; i < ranges.capacity(); i++) {
            ranges.put(i, Float.NaN);
        }
    }

    private void add(String name, Form form) {
        places.put(name, forms.size());
        forms.add(form);
    }

    /** Name of a product's left operand. */
    static String left(String product) {
        return product + ".left";
    }

    /** Name of a product's right operand. */
    static String right(String product) {
        return product + ".right";
    }

    /** Whether every activation has a range. */
    boolean known() {
        return !quantizers.isEmpty();
    }

    /** The quantizer of an operand; empty for pixels. For {@link #known} ranges. */
    Optional<ActivationQuantizer> quantizer(String operand) {
        return Optional.ofNullable(places.get(operand)).map(quantizers::get);
    }

    /** The state, {@code [2, operands]}, for a checkpoint. */
    Tensor values() {
        return values;
    }

    /** To be called when {@link #values} were written. */
    void refresh() {
        List<ActivationQuantizer> made = new ArrayList<>();
        for (int i = 0; i < forms.size(); i++) {
            float low = ranges.get(i);
            float high = ranges.get(forms.size() + i);
            if (Float.isNaN(low) || Float.isNaN(high)) {
                quantizers = List.of();
                return;
            }
            made.add(quantizer(forms.get(i), low, high));
        }
        quantizers = List.copyOf(made);
    }

    private static ActivationQuantizer quantizer(Form form, float low, float high) {
        float largest = positive(Math.max(Math.abs(low), Math.abs(high)));
        return switch (form) {
            case SYMMETRIC -> new ActivationQuantizer(largest / 127, 128, 0, BYTE);
            case SIGNED -> new ActivationQuantizer(largest / 127, 0, -128, 127);
            case FROM_ZERO -> new ActivationQuantizer(positive(high) / BYTE, 0, 0, BYTE);
            case MIN_MAX -> {
                float least = Math.min(low, 0);
                float scale = positive(Math.max(high, 0) - least) / BYTE;
                int zero = (int) Math.rint((double) -least / scale);
                yield new ActivationQuantizer(scale, Math.min(Math.max(zero, 0), BYTE), 0, BYTE);
            }
        };
    }

    /** A range of nothing but zeros, or of what is no number, still has a step. */
    private static float positive(float width) {
        return width > 1e-12f && width < 1e12f ? width : width >= 1e12f ? 1e12f : 1e-12f;
    }

    /** Quantizers of the attention products as the executor has them. */
    Map<String, MatmulQuantizers> products(Geometry geometry) {
        Map<String, MatmulQuantizers> products = new HashMap<>();
        for (ModelUnit unit : geometry.units()) {
            if (unit instanceof ModelUnit.Block block) {
                for (String name : List.of(block.scores(), block.mixing())) {
                    products.put(name, new MatmulQuantizers(of(left(name)), of(right(name))));
                }
            }
        }
        return products;
    }

    /** Quantizers of everything that has a range, by name. */
    Map<String, ActivationQuantizer> quantizers() {
        Map<String, ActivationQuantizer> all = new HashMap<>();
        places.forEach((name, place) -> all.put(name, quantizers.get(place)));
        return all;
    }

    private ActivationQuantizer of(String operand) {
        return quantizers.get(Objects.requireNonNull(places.get(operand), operand));
    }

    /** Sees activations on one thread. */
    final class Observer {
        private final float[] lows = new float[forms.size()];
        private final float[] highs = new float[forms.size()];

        private Observer() {
            reset();
        }

        void see(String operand, Tensor x) {
            Integer place = places.get(operand);
            if (place == null) {
                return;
            }
            T_TensorTensor_T both = aminmax(x.detach());
            lows[place] = Math.min(lows[place], both.get0().item_float());
            highs[place] = Math.max(highs[place], both.get1().item_float());
        }

        private void reset() {
            Arrays.fill(lows, Float.POSITIVE_INFINITY);
            Arrays.fill(highs, Float.NEGATIVE_INFINITY);
        }
    }

    /** Another one who sees activations. */
    Observer observer() {
        Observer observer = new Observer();
        observers.add(observer);
        return observer;
    }

    /**
     * Takes in what all observers saw since the last time.
     *
     * @param steps steps done before
     */
    void update(long steps) {
        double decay = Math.min(DECAY, (1.0 + steps) / (10.0 + steps));
        int count = forms.size();
        for (int i = 0; i < count; i++) {
            float low = Float.POSITIVE_INFINITY;
            float high = Float.NEGATIVE_INFINITY;
            for (Observer observer : observers) {
                low = Math.min(low, observer.lows[i]);
                high = Math.max(high, observer.highs[i]);
            }
            move(i, low, decay);
            move(count + i, high, decay);
        }
        observers.forEach(Observer::reset);
        refresh();
    }

    /** Drops what all observers saw since the last time. */
    void forget() {
        observers.forEach(Observer::reset);
    }

    private void move(int at, float seen, double decay) {
        float before = ranges.get(at);
        if (Float.isFinite(seen)) {
            ranges.put(at, Float.isNaN(before) ? seen : (float) (before + (1 - decay) * (seen - before)));
        }
    }

    @Override
    public void close() {
        values.close();
    }
}
