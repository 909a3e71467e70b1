package dev.trivet.train;

import dev.trivet.model.ModelUnit;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/** Watches another arithmetic for the first product that reads or gives what is no finite number. */
final class NonFinite implements Arithmetic {
    /** What was found first. */
    static final class Search {
        private Optional<String> found = Optional.empty();

        Optional<String> found() {
            return found;
        }

        private Tensor check(String where, Tensor x) {
            if (found.isEmpty() && !x.isfinite().all().item_bool()) {
                found = Optional.of(where);
            }
            return x;
        }
    }

    private final Arithmetic inner;
    private final Search search;

    NonFinite(Arithmetic inner, Search search) {
        this.inner = inner;
        this.search = search;
    }

    @Override
    public Tensor linear(String name, Tensor input, Tensor weight, Optional<Tensor> bias) {
        search.check("the input of " + name, input);
        search.check("the weights of " + name, weight);
        return search.check(name, inner.linear(name, input, weight, bias));
    }

    @Override
    public Tensor attention(ModelUnit.Block unit, Tensor query, Tensor key, Tensor value, Optional<Tensor> bias) {
        return search.check(unit.attention(), inner.attention(unit, query, key, value, bias));
    }

    @Override
    public Optional<ActivationRanges> ranges() {
        return inner.ranges();
    }
}
