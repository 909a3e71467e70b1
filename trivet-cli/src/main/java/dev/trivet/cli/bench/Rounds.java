package dev.trivet.cli.bench;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Measures contenders turn by turn in one process: every round gives each a turn of about equal length, so that a machine that others use
 * too, or that changes its clock, treats all alike. Ratios are taken within a round.
 *
 * @param count of rounds that are measured
 * @param seconds length of a turn; a turn is at least one run
 */
public record Rounds(int count, double seconds) {
    /** Runs before the measurement: the JVM compiles its hot loops and the libraries choose their kernels in them. */
    private static final double WARM_UP_SECONDS = 1.5;

    /** ONNX Runtime's threads wait busily for a while after a run; nobody else's turn begins before they sleep. */
    private static final long PAUSE_MILLIS = 30;

    public Rounds {
        if (count < 1 || !(seconds > 0)) {
            throw new IllegalArgumentException(count + " rounds of " + seconds + " s");
        }
    }

    /** Images per second of each contender, in the order given. */
    public <K> Map<K, Rates> measure(Map<K, Contender> contenders) throws InterruptedException {
        Map<K, Integer> runs = new LinkedHashMap<>();
        Map<K, double[]> rates = new LinkedHashMap<>();
        for (Map.Entry<K, Contender> entry : contenders.entrySet()) {
            runs.put(entry.getKey(), warm(entry.getValue()));
            rates.put(entry.getKey(), new double[count]);
        }
        for (int round = 0; round < count; round++) {
            for (Map.Entry<K, Contender> entry : contenders.entrySet()) {
                Thread.sleep(PAUSE_MILLIS);
                int each = runs.getOrDefault(entry.getKey(), 1);
                double time = entry.getValue().seconds(each);
                rates.getOrDefault(entry.getKey(), new double[0])[round] =
                        (double) each * entry.getValue().images() / time;
            }
        }
        Map<K, Rates> measured = new LinkedHashMap<>();
        rates.forEach((key, values) -> measured.put(key, new Rates(values)));
        return Collections.unmodifiableMap(measured);
    }

    /** How many runs make a turn, judged by the last run before the measurement. */
    private int warm(Contender contender) {
        double spent = 0;
        double last = 0;
        for (int i = 0; i < 3 || spent < WARM_UP_SECONDS; i++) {
            last = contender.seconds(1);
            spent += last;
        }
        return (int) Math.clamp(Math.round(seconds / last), 1, 1_000_000);
    }
}
