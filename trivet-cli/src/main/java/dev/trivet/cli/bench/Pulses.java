package dev.trivet.cli.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * Which turns had the machine to themselves. A processor of a rented machine is often one of two threads of a core, and what the other thread
 * does, somebody else's, shows in no counter: everything just takes longer, and not everything alike. So the same small piece of work, a
 * <em>pulse</em>, runs on all threads before and behind each turn, and a turn is quiet if both of its pulses were nearly as fast as the machine
 * can be: {@code min(before, behind) >= 0.8 third}, where {@code third} is the third fastest of all pulses, those taken while nothing ran
 * among them. Not the fastest, because one alone may be an accident.
 *
 * <p>Not seen are a disturbance that comes and goes within a turn, so turns should be shorter than what disturbs, and one that stays from the first
 * pulse to the last. Not thread-safe.
 */
final class Pulses {
    /** The lightest neighbour slows a pulse to two fifths, changes of the clock by less than a tenth (docs/decisions.md, "Quiet turns"). */
    private static final double NEAR = 0.8;

    private static final int YARDSTICK = 3;

    /** At most so many as the yardstick needs, the slowest first. */
    private final List<Double> fastest = new ArrayList<>();

    private final List<Double> slower = new ArrayList<>();

    /** Notes a pulse, and says whether it is nearly as fast as the machine has been: whether a turn should begin now. */
    boolean look(double rate) {
        fastest.add(rate);
        Collections.sort(fastest);
        if (fastest.size() > YARDSTICK) {
            fastest.removeFirst();
        }
        return rate >= NEAR * fastest.getFirst();
    }

    /**
     * Notes the pulses of the next turn.
     *
     * @param before what {@link #look} saw last
     */
    void add(double before, double behind) {
        look(behind);
        slower.add(Math.min(before, behind));
    }

    /** One flag for each turn, in the order they were added. */
    List<Boolean> quiet() {
        return slower.stream().map(r -> r >= NEAR * fastest.getFirst()).toList();
    }
}
