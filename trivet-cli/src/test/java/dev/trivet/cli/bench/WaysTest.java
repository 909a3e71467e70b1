package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;

class WaysTest {
    /** Five turns of a rate each; the first {@code quiet} of them at another rate, in quiet. */
    private static Rates rates(double rate, int quiet, double quietRate) {
        double[] each = new double[5];
        boolean[] flags = new boolean[5];
        for (int i = 0; i < 5; i++) {
            flags[i] = i < quiet;
            each[i] = flags[i] ? quietRate : rate;
        }
        return new Rates(each, flags, 1);
    }

    @Test
    void countsTheBetterWay() {
        Rates slow = rates(10, 0, 0);
        Rates fast = rates(12, 0, 0);
        assertThat(new Ways(List.of(slow, fast)).best()).isSameAs(fast);
        assertThat(new Ways(List.of(fast, slow)).best()).isSameAs(fast);
    }

    /** In quiet the other way may be the better one: each state has its own. */
    @Test
    void quietTurnsAreComparedAmongThemselves() {
        Ways ways = new Ways(List.of(rates(10, 3, 30), rates(5, 3, 40)));
        assertThat(ways.quietMedian()).hasValue(40);
        assertThat(ways.quietTurns()).isEqualTo(3);
        assertThat(ways.quietOver(new Ways(List.of(rates(1, 4, 8))))).hasValue(5);
    }

    /** The peer's way that had no quiet might have been its better: then there is nothing to say. */
    @Test
    void saysNothingOfAWayThatHadNoQuiet() {
        Ways ours = new Ways(List.of(rates(10, 3, 30)));
        Ways theirs = new Ways(List.of(rates(1, 5, 10), rates(2, 2, 11)));
        assertThat(theirs.quietMedian()).isEmpty();
        assertThat(theirs.quietTurns()).isEqualTo(2);
        assertThat(ours.quietOver(theirs)).isEmpty();
        assertThat(theirs.quietOver(ours)).isEmpty();
    }

    @Test
    void refusesNone() {
        assertThatThrownBy(() -> new Ways(List.of())).isInstanceOf(IllegalArgumentException.class);
    }
}
