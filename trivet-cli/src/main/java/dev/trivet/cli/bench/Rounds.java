package dev.trivet.cli.bench;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Measures contenders turn by turn in one process: every round gives each a turn of about equal length, so that a machine that others use
 * too, or that changes its clock, treats all alike. Ratios are taken within a round.
 *
 * @param count of rounds that are measured
 * @param seconds length of a turn; a turn is at least one run
 */
public record Rounds(int count, double seconds) {
    /** Turns before the measurement: the JVM compiles its hot loops and the libraries choose their kernels in them. */
    private static final int WARM_UP_TURNS = 5;

    /** ONNX Runtime's threads wait busily for a while after a run; nobody else's turn begins before they sleep. */
    private static final long PAUSE_MILLIS = 30;

    public Rounds {
        if (count < 1 || !(seconds > 0)) {
            throw new IllegalArgumentException(count + " rounds of " + seconds + " s");
        }
    }

    /** One contender's turns so far. */
    private static final class Score {
        final Contender contender;
        final int runs;
        final List<Double> rates = new ArrayList<>();
        double processorSeconds;

        Score(Contender contender, int runs) {
            this.contender = contender;
            this.runs = runs;
        }

        void turn() {
            double before = processorSeconds();
            double time = contender.seconds(runs);
            processorSeconds += processorSeconds() - before;
            rates.add((double) runs * contender.images() / time);
        }

        Rates rates() {
            double images = (double) rates.size() * runs * contender.images();
            return new Rates(rates.stream().mapToDouble(r -> r).toArray(), images / processorSeconds);
        }
    }

    /** Rates of each contender, in the order given. */
    public <K> Map<K, Rates> measure(Map<K, Contender> contenders) throws InterruptedException {
        Map<K, Score> scores = new LinkedHashMap<>();
        contenders.forEach((key, contender) -> scores.put(key, new Score(contender, warm(contender))));
        for (int round = 0; round < count; round++) {
            for (Score score : scores.values()) {
                Thread.sleep(PAUSE_MILLIS);
                score.turn();
            }
        }
        Map<K, Rates> rates = new LinkedHashMap<>();
        scores.forEach((key, score) -> rates.put(key, score.rates()));
        return rates;
    }

    /** How many runs make a turn, judged by the last run before the measurement. */
    private int warm(Contender contender) {
        double spent = 0;
        double last = 0;
        for (int i = 0; i < 3 || spent < WARM_UP_TURNS * seconds; i++) {
            last = contender.seconds(1);
            spent += last;
        }
        return (int) Math.clamp(Math.round(seconds / last), 1, 1_000_000);
    }

    /** Processor time of this process, in steps of about 10 ms. */
    private static double processorSeconds() {
        return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getProcessCpuTime() / 1e9;
    }
}
