package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class PulsesTest {
    private static List<Boolean> quiet(double[]... turns) {
        Pulses pulses = new Pulses();
        for (double[] turn : turns) {
            pulses.look(turn[0]);
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

    /** One fast pulse, or two, may be accidents: they do not make all others loud. */
    @Test
    void twoFastPulsesAreNoYardstick() {
        assertThat(quiet(turn(50, 100), turn(100, 50), turn(50, 51))).containsExactly(true, true, true);
    }

    /** The machine was seen to be faster while nothing ran; a neighbour that came then and stayed disturbs every turn. */
    @Test
    void whatWasSeenBeforeCounts() {
        Pulses pulses = new Pulses();
        for (double rate : new double[] {100, 98, 99, 50}) {
            pulses.look(rate);
        }
        pulses.add(50, 50);
        assertThat(pulses.quiet()).containsExactly(false);
    }

    @Test
    void aTurnBeginsNearTheThirdFastestPulseSoFar() {
        Pulses pulses = new Pulses();
        assertThat(pulses.look(50)).isTrue();
        assertThat(pulses.look(100)).isTrue();
        assertThat(pulses.look(100)).isTrue();
        assertThat(pulses.look(41)).isTrue();
        assertThat(pulses.look(39)).isFalse();
        assertThat(pulses.look(100)).isTrue();
        assertThat(pulses.look(50)).isFalse();
        assertThat(pulses.look(81)).isTrue();
    }
}
