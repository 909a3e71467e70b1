package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class PulsesTest {
    private static List<Boolean> quiet(double[]... turns) {
        Pulses pulses = new Pulses();
        for (double[] turn : turns) {
            pulses.add(turn[0], turn[1]);
        }
        return pulses.quiet();
    }

    private static double[] turn(double before, double behind) {
        return new double[] {before, behind};
    }

    @Test
    void needsBothSidesOfATurn() {
        assertThat(quiet(turn(100, 98), turn(98, 40), turn(40, 60), turn(60, 99), turn(99, 101)))
                .containsExactly(true, false, false, false, true);
    }

    @Test
    void forgivesTheClock() {
        assertThat(quiet(turn(100, 100), turn(100, 81), turn(79, 100))).containsExactly(true, true, false);
    }

    /** A single fast pulse is a moment that no turn had: it must not make all others loud. */
    @Test
    void asksForAFastPair() {
        assertThat(quiet(turn(50, 100), turn(100, 50), turn(50, 51))).containsExactly(true, true, true);
    }

    @Test
    void aTurnBeginsNearTheFastestPulseSoFar() {
        Pulses pulses = new Pulses();
        assertThat(pulses.near(50)).isTrue();
        assertThat(pulses.near(41)).isTrue();
        assertThat(pulses.near(39)).isFalse();
        assertThat(pulses.near(100)).isTrue();
        assertThat(pulses.near(50)).isFalse();
    }
}
