package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class RoundsTest {
    /** Notes that it ran; takes a little time, because a turn's rate is runs over time. */
    private static Contender noting(String name, List<String> log) {
        return new Contender(
                List.of(new Contender.Caller() {
                    @Override
                    public void run() {
                        long end = System.nanoTime() + 1_000_000;
                        while (System.nanoTime() < end) {
                            Thread.onSpinWait();
                        }
                        if (log.isEmpty() || !log.getLast().equals(name)) {
                            log.add(name);
                        }
                    }

                    @Override
                    public void close() {}
                }),
                1);
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

    /** Ten seconds of watching, then three rounds of four turns that each wait ten seconds and take half a one. */
    @Test
    void saysHowLongItTakesAtMost() {
        assertThat(new Rounds(3, 0.5, 10).mostSeconds(4)).isEqualTo(10 + 3 * 4 * 10.5);
    }
}
