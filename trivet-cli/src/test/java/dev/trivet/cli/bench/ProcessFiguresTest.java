package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Optional;
import org.junit.jupiter.api.Test;

class ProcessFiguresTest {
    /** proc(5): the name in parentheses, which may hold anything, and the start in hundredths as the 22nd field. */
    private static final String STAT =
            "17 (a ) b) S 1 17 17 0 -1 4194304 100 0 0 0 5 1 0 0 20 0 9 0 100050 1000000 500 18446744073709551615";

    @Test
    void countsFromTheStartOfTheProcess() {
        assertThat(ProcessFigures.age(STAT, "1002.00 1900.00\n", Optional.empty()))
                .isCloseTo(1.5, within(1e-9));
    }

    /** The launcher's build is no part of what a process takes to its first image. */
    @Test
    void leavesTheBuildOut() {
        assertThat(ProcessFigures.age(STAT, "1102.00 1900.00\n", Optional.of("1101.25")))
                .isCloseTo(0.75, within(1e-9));
    }

    @Test
    void aBuildBeforeTheStartDoesNotMatter() {
        assertThat(ProcessFigures.age(STAT, "1002.00 1900.00\n", Optional.of("900.00")))
                .isCloseTo(1.5, within(1e-9));
    }
}
