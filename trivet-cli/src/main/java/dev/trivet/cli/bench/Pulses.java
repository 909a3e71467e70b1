package dev.trivet.cli.bench;

import java.util.ArrayList;
import java.util.List;

/**
 * Which turns had the machine to themselves. A processor of a rented machine is often one of two threads of a core, and what the other thread
 * does, somebody else's, shows in no counter: everything just takes longer, and not everything alike. So the same small piece of work, a
 * <em>pulse</em>, runs on all threads before and behind each turn, and a turn is quiet if both of its pulses were nearly as fast as the best pair:
 * {@code min(before, behind) >= 0.8 max over turns of min(before, behind)}. The best pair and not the best pulse, because one pulse may hit a moment
 * that no turn had.
 *
 * <p>Not seen are a disturbance that comes and goes within a turn, so turns should be shorter than what disturbs, and one that stays through all of them.
 * Not thread-safe.
 */
final class Pulses {
    /** Neighbours slow a pulse by a third and more (docs/decisions.md), changes of the clock by a few percent. */
    private static final double NEAR = 0.8;

    private final List<Double> slower = new ArrayList<>();
    private double best;

    /** Whether a pulse is nearly as fast as the fastest so far, itself among them: whether a turn should begin now. */
    boolean near(double rate) {
        best = Math.max(best, rate);
        return rate >= NEAR * best;
    }

    /** Notes the pulses of the next turn. */
    void add(double before, double behind) {
        slower.add(Math.min(before, behind));
    }

    /** One flag for each turn, in the order they were added. */
    List<Boolean> quiet() {
        double limit = NEAR * slower.stream().mapToDouble(r -> r).max().orElse(0);
        return slower.stream().map(r -> r >= limit).toList();
    }
}
