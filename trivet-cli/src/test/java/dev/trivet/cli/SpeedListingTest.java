package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.cli.bench.SpeedReport;
import java.util.OptionalDouble;
import org.junit.jupiter.api.Test;

class SpeedListingTest {
    private static String ratio(OptionalDouble quiet, int ours, int theirs) {
        return SpeedListing.text(
                new SpeedReport.Ratio("m", 2, 8, "the other engine", 3.9, 4.2, quiet, ours, theirs, 9));
    }

    @Test
    void saysQuietTurnsWhereSomeWereNot() {
        assertThat(ratio(OptionalDouble.of(5.25), 4, 3))
                .isEqualTo("m, 2 threads, batch 8: 3.90 times the other engine (by processor time 4.20;"
                        + " 5.25 in quiet turns, 4 and 3 of 9 turns)");
        assertThat(ratio(OptionalDouble.empty(), 2, 5))
                .endsWith("(by processor time 4.20; 2 and 5 of 9 turns were quiet, too few for a ratio)");
        assertThat(ratio(OptionalDouble.of(3.9), 9, 9)).endsWith("(by processor time 4.20)");
    }
}
