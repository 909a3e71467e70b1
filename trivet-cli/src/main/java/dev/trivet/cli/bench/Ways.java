package dev.trivet.cli.bench;

import java.util.Comparator;
import java.util.List;
import java.util.OptionalDouble;

/**
 * The ways in which one engine may use its threads for a model, measured in the same rounds: one call on all of them, or one on each, or at batch 1 one call on
 * one of them. The engine is judged by its best way.
 *
 * @param rates of each way, at least one
 */
record Ways(List<Rates> rates) {
    Ways {
        if (rates.isEmpty()) {
            throw new IllegalArgumentException("no way");
        }
        rates = List.copyOf(rates);
    }

    /** The way with the highest median of all rounds. */
    Rates best() {
        return rates.stream().max(Comparator.comparingDouble(Rates::median)).orElseThrow();
    }

    /** The highest median of quiet turns; empty unless every way has one, for the way without might be the better. */
    OptionalDouble quietMedian() {
        return rates.stream().allMatch(r -> r.quietMedian().isPresent())
                ? rates.stream().mapToDouble(r -> r.quietMedian().getAsDouble()).max()
                : OptionalDouble.empty();
    }

    /** Quiet turns of the way that has the fewest. */
    int quietTurns() {
        return rates.stream().mapToInt(Rates::quietTurns).min().orElseThrow();
    }

    /** {@link #quietMedian} over the other's; empty if one of them has none. */
    OptionalDouble quietOver(Ways other) {
        OptionalDouble ours = quietMedian();
        OptionalDouble theirs = other.quietMedian();
        return ours.isPresent() && theirs.isPresent()
                ? OptionalDouble.of(ours.getAsDouble() / theirs.getAsDouble())
                : OptionalDouble.empty();
    }
}
