package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

class RatesTest {
    private static Rates rates(double... perRound) {
        return new Rates(perRound, new boolean[perRound.length], 1);
    }

    @Test
    void takesTheMiddleOfQuietTurns() {
        boolean[] quiet = {true, false, true, true, false};
        Rates rates = new Rates(new double[] {90, 1, 100, 95, 2}, quiet, 1);
        assertThat(rates.quietTurns()).isEqualTo(3);
        assertThat(rates.quietMedian()).hasValue(95);
        assertThat(rates.median()).isEqualTo(90);
    }

    @Test
    void hasNoMedianOfTwoQuietTurns() {
        Rates rates = new Rates(new double[] {90, 91, 1}, new boolean[] {true, true, false}, 1);
        assertThat(rates.quietTurns()).isEqualTo(2);
        assertThat(rates.quietMedian()).isEmpty();
    }

    @Test
    void takesTheMiddle() {
        assertThat(rates(5, 1, 3).median()).isEqualTo(3);
        assertThat(rates(5, 1, 3, 4).median()).isEqualTo(3.5);
        assertThat(rates(5, 1, 3).best()).isEqualTo(5);
    }

    /** In the second round something else took half of the machine: each ratio stays 2. */
    @Test
    void comparesWithinARound() {
        Rates fast = rates(100, 50, 90);
        Rates slow = rates(50, 25, 45);
        assertThat(fast.over(slow)).isEqualTo(2);
        assertThat(rates(30, 10, 20).over(rates(10, 10, 10))).isCloseTo(2, within(1e-12));
    }

    @Test
    void refusesOtherRounds() {
        assertThatThrownBy(() -> rates(1, 2).over(rates(1))).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(RatesTest::rates).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new Rates(new double[] {1}, new boolean[2], 1))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
