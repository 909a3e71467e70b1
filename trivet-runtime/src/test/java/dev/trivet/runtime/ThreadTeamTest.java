package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Teams of two watch, larger ones than the machine sleep; what they do is the same. */
@Timeout(60)
class ThreadTeamTest {
    /** In every round each member reads what all wrote before the meeting; a missed or doubled meeting gives another sum. */
    @ParameterizedTest
    @ValueSource(ints = {2, 3, 7, 64})
    void membersSeeWhatOthersDidBeforeTheyMet(int size) {
        int rounds = 50;
        long[] values = new long[size];
        long[] sums = new long[size];
        ThreadTeam[] team = new ThreadTeam[1];
        team[0] = new ThreadTeam(size, member -> {
            for (int round = 0; round < rounds; round++) {
                values[member] = member + 1L + round;
                team[0].meet(member);
                sums[member] += Arrays.stream(values).sum();
                team[0].meet(member);
            }
        });
        long once = 0;
        for (int round = 0; round < rounds; round++) {
            once += size * (size + 1L) / 2 + (long) size * round;
        }
        try (ThreadTeam closed = team[0]) {
            for (int run = 1; run <= 20; run++) {
                closed.run();
                assertThat(sums).containsOnly(run * once);
            }
        }
    }

    /** The system's limit on threads is reached: those that were started end. */
    @Test
    void startsAllThreadsOrNone() throws InterruptedException {
        List<Thread> started = new ArrayList<>();
        assertThatThrownBy(() -> new ThreadTeam(5, _ -> {}, (_, work) -> {
                    if (started.size() == 3) {
                        throw new OutOfMemoryError("unable to create native thread");
                    }
                    started.add(Thread.ofPlatform().daemon().start(work));
                    return started.getLast();
                }))
                .isInstanceOf(OutOfMemoryError.class);
        for (Thread thread : started) {
            thread.join();
        }
        assertThat(started).hasSize(3);
    }

    @Test
    void sleepersAreWoken() {
        AtomicInteger done = new AtomicInteger();
        ThreadTeam[] team = new ThreadTeam[1];
        team[0] = new ThreadTeam(2, member -> {
            if (member == done.get() % 2) {
                LockSupport.parkNanos(2_000_000); // longer than anybody watches
            }
            team[0].meet(member);
            done.addAndGet(member);
        });
        try (ThreadTeam closed = team[0]) {
            for (int run = 1; run <= 50; run++) {
                closed.run();
                assertThat(done).hasValue(run);
                LockSupport.parkNanos(1_000_000);
            }
        }
    }

    /** Whoever fails, before a meeting that the others wait at or at the end: the caller hears of it and the team goes on. */
    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2})
    void aFailureReachesTheCaller(int broken) {
        AtomicInteger run = new AtomicInteger();
        AtomicInteger met = new AtomicInteger();
        ThreadTeam[] team = new ThreadTeam[1];
        team[0] = new ThreadTeam(3, member -> {
            if (member == broken && run.get() % 2 == 1) {
                if (run.get() % 4 == 1) {
                    throw new IllegalArgumentException("broken " + run);
                }
                throw new AssertionError("broken " + run);
            }
            team[0].meet(member);
            met.incrementAndGet();
        });
        try (ThreadTeam closed = team[0]) {
            for (int i = 1; i <= 40; i++) {
                run.set(i);
                if (i % 2 == 1) {
                    assertThatThrownBy(closed::run)
                            .isInstanceOf(i % 4 == 1 ? IllegalArgumentException.class : AssertionError.class)
                            .hasMessage("broken " + i);
                } else {
                    closed.run();
                }
                assertThat(met).hasValue(i / 2 * 3);
            }
        }
    }

    @Test
    void anIdleTeamIsClosedAtOnceAndMayBeClosedAgain() {
        ThreadTeam team = new ThreadTeam(4, _ -> {});
        team.close();
        team.close();
        assertThat(Thread.getAllStackTraces().keySet())
                .noneMatch(thread -> thread.getName().equals("trivet-3"));
        assertThatThrownBy(team::run).isInstanceOf(IllegalStateException.class).hasMessage("the session is closed");
    }

    @Test
    void closingWaitsThroughAnInterrupt() {
        ThreadTeam team = new ThreadTeam(3, _ -> {});
        team.run();
        Thread.currentThread().interrupt();
        team.run();
        team.close();
        assertThat(Thread.interrupted()).isTrue();
    }
}
