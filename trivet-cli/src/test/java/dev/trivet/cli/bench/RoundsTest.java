package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;

class RoundsTest {
    /** Notes that it ran; takes a little time, because a turn's rate is runs over time. */
    private static Contender noting(String name, List<String> log) {
        return calling(() -> {
            spin(1);
            if (log.isEmpty() || !log.getLast().equals(name)) {
                log.add(name);
            }
        });
    }

    /** Behind the warming up each turn has a pulse before and one behind it. */
    @Test
    void pulsesBeforeAndBehindEachTurn() throws InterruptedException {
        List<String> log = new ArrayList<>();
        Map<String, Contender> contenders = new LinkedHashMap<>();
        contenders.put("a", noting("a", log));
        contenders.put("b", noting("b", log));
        try (Contender pulse = noting("pulse", log)) {
            Map<String, Rates> rates = new Rounds(2, 0.002, 0).measure(contenders, pulse);
            assertThat(log).containsExactly("a", "b", "pulse", "a", "pulse", "b", "pulse", "a", "pulse", "b", "pulse");
            assertThat(rates.keySet()).containsExactly("a", "b");
            assertThat(rates.values())
                    .allSatisfy(r -> assertThat(r.perRound()).hasSize(2))
                    .allSatisfy(r -> assertThat(r.quiet()).hasSize(2));
        } finally {
            contenders.values().forEach(Contender::close);
        }
    }

    @Test
    void nothingIsQuietWhereNobodyLooked() throws InterruptedException {
        try (Contender contender = noting("a", new ArrayList<>())) {
            assertThat(new Rounds(3, 0.002, 0).measure(Map.of("a", contender)).values())
                    .singleElement()
                    .satisfies(r -> assertThat(r.quietTurns()).isZero());
        }
    }

    /** A slow contender's turn is one run of 100 ms, so a fast one's must be as long, though a millisecond was asked for. */
    @Test
    void turnsAreAsLongAsTheSlowestRun() throws InterruptedException {
        AtomicInteger fastRuns = new AtomicInteger();
        AtomicInteger slowRuns = new AtomicInteger();
        Map<String, Contender> contenders = new LinkedHashMap<>();
        contenders.put("fast", sleeping(10, fastRuns));
        contenders.put("slow", sleeping(100, slowRuns));
        // The warming up is three runs of each.
        new Rounds(4, 0.001, 0).measure(contenders);
        contenders.values().forEach(Contender::close);
        assertThat(slowRuns.get()).isEqualTo(3 + 4);
        // Ten runs a turn; a sleep may take longer than it should, even twice as long.
        assertThat(fastRuns.get()).isBetween(3 + 4 * 5, 3 + 4 * 10);
    }

    private static Contender sleeping(int millis, AtomicInteger runs) {
        return calling(() -> {
            runs.incrementAndGet();
            long end = System.nanoTime() + millis * 1_000_000L;
            for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
                LockSupport.parkNanos(left);
            }
        });
    }

    /** A neighbour comes behind the first turn and slows 25 runs of the pulse, ten of which make one; the next turn waits for its end. */
    @Test
    void patientTurnsWaitForQuiet() throws InterruptedException {
        AtomicInteger slowRuns = new AtomicInteger();
        AtomicBoolean measuring = new AtomicBoolean();
        List<Integer> leftAtTurns = new ArrayList<>();
        Map<String, Contender> contenders = new LinkedHashMap<>();
        contenders.put("first", calling(() -> {
            spin(1);
            slowRuns.set(measuring.get() ? 25 : 0);
        }));
        contenders.put("second", calling(() -> {
            spin(1);
            leftAtTurns.add(slowRuns.get());
        }));
        try (Contender pulse = calling(() -> {
            measuring.set(true);
            spin(slowRuns.getAndUpdate(left -> Math.max(0, left - 1)) > 0 ? 5 : 1);
        })) {
            new Rounds(1, 0.001, 2).measure(contenders, pulse);
        } finally {
            contenders.values().forEach(Contender::close);
        }
        assertThat(leftAtTurns.getLast()).isZero();
    }

    private static void spin(int millis) {
        long end = System.nanoTime() + millis * 1_000_000L;
        while (System.nanoTime() < end) {
            Thread.onSpinWait();
        }
    }

    private static Contender calling(Runnable run) {
        return new Contender(
                List.of(new Contender.Caller() {
                    @Override
                    public void run() {
                        run.run();
                    }

                    @Override
                    public void close() {}
                }),
                1);
    }

    /** Ten seconds of watching, then three rounds of four turns that each wait ten seconds. */
    @Test
    void saysHowLongItWaitsAtMost() {
        assertThat(new Rounds(3, 0.5, 10).mostWaiting(4)).isEqualTo(10 + 3 * 4 * 10);
    }
}
