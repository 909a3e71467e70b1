package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class LearningRateScheduleTest {
    private static final double TINY = 1e-15;

    @Test
    void warmsUpInEqualStepsToThePeak() {
        LearningRateSchedule schedule = new LearningRateSchedule(0.8, 0, 4, 12);
        assertThat(schedule.at(0)).isCloseTo(0.2, within(TINY));
        assertThat(schedule.at(1)).isCloseTo(0.4, within(TINY));
        assertThat(schedule.at(2)).isCloseTo(0.6, within(TINY));
        assertThat(schedule.at(3)).isCloseTo(0.8, within(TINY));
    }

    @Test
    void fallsAlongHalfACosine() {
        // 8 steps of cosine: cos(0) = 1, cos(45 deg) = sqrt(1/2), cos(90 deg) = 0, cos(120 deg) would be -1/2.
        LearningRateSchedule schedule = new LearningRateSchedule(0.8, 0, 4, 12);
        assertThat(schedule.at(4)).isCloseTo(0.8, within(TINY));
        assertThat(schedule.at(6)).isCloseTo(0.4 * (1 + Math.sqrt(0.5)), within(TINY));
        assertThat(schedule.at(8)).isCloseTo(0.4, within(TINY));
        assertThat(schedule.at(10)).isCloseTo(0.4 * (1 - Math.sqrt(0.5)), within(TINY));
    }

    @Test
    void endsAtTheFloor() {
        LearningRateSchedule schedule = new LearningRateSchedule(1, 0.1, 0, 3);
        assertThat(schedule.at(0)).isCloseTo(1, within(TINY));
        assertThat(schedule.at(1)).isCloseTo(0.1 + 0.9 * 0.75, within(TINY)); // cos 60 deg = 1/2
        assertThat(schedule.at(2)).isCloseTo(0.1 + 0.9 * 0.25, within(TINY));
        assertThat(schedule.at(3)).isCloseTo(0.1, within(TINY));
    }

    @Property
    void risesThenFallsAndNeverLeavesItsRange(
            @ForAll @IntRange(max = 50) int warmup, @ForAll @IntRange(min = 1, max = 50) int rest) {
        LearningRateSchedule schedule = new LearningRateSchedule(2, 0.5, warmup, warmup + rest);
        for (int step = 0; step < warmup + rest; step++) {
            assertThat(schedule.at(step)).isGreaterThan(step < warmup ? 0 : 0.5).isLessThanOrEqualTo(2);
        }
        for (int step = 1; step < warmup; step++) {
            assertThat(schedule.at(step)).isGreaterThan(schedule.at(step - 1));
        }
        for (int step = warmup + 1; step < warmup + rest; step++) {
            assertThat(schedule.at(step)).isLessThan(schedule.at(step - 1));
        }
    }

    @Test
    void refusesImpossibleNumbers() {
        assertThatIllegalArgumentException().isThrownBy(() -> new LearningRateSchedule(0, 0, 0, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new LearningRateSchedule(1, 2, 0, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new LearningRateSchedule(1, 0, 2, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> new LearningRateSchedule(1, 0, 0, 0));
    }
}
