package dev.trivet.cli.bench;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Measures contenders turn by turn in one process: every round gives each a turn of about equal length, so that a machine that others use
 * too, or that changes its clock, treats all alike. Ratios are taken within a round; the longer turns wait, the further they are from each other.
 *
 * <p>Turns are as long as a run of the slowest contender takes, or several, so many as what was asked for needs; others run as often as comes nearest. Were its turns longer than the others', theirs would fit
 * between what else the machine does and its would not, most of all behind a moment that was waited for.
 *
 * @param count of rounds that are measured
 * @param seconds length of a turn, at least
 * @param patience seconds that a turn waits at most for a moment in which the machine is as fast as it has been ({@link Pulses}), and that it is
 *     watched before the first turn; 0 to begin at once
 */
public record Rounds(int count, double seconds, double patience) {
    /** Turns before the measurement: the JVM compiles its hot loops and the libraries choose their kernels in them. */
    private static final int WARM_UP_TURNS = 5;

    /** ONNX Runtime's threads wait busily for 40 to 50 ms after a call that was split; nobody else's turn or pulse begins before they sleep. */
    private static final long PAUSE_MILLIS = 100;

    /** Long enough for threads to start within a small part of it, short beside a turn. */
    private static final double PULSE_SECONDS = 0.01;

    /** Between two looks while a turn waits: neighbours come and go by the second. */
    private static final long LOOK_MILLIS = 70;

    public Rounds {
        if (count < 1 || !(seconds > 0) || !(patience >= 0)) {
            throw new IllegalArgumentException(count + " rounds of " + seconds + " s, " + patience + " s of patience");
        }
    }

    /** One contender's turns so far. */
    private static final class Score {
        final Contender contender;
        final List<Double> rates = new ArrayList<>();

        /** Seconds of a run: the fastest of the warming up, or the mean of the fastest turn. */
        double fastest;

        long runs;
        double processorSeconds;

        Score(Contender contender, double fastest) {
            this.contender = contender;
            this.fastest = fastest;
        }

        /** The rate of a turn of so many seconds, by the fastest one; longer where the machine is slower. */
        double turn(double length) {
            int count = Math.clamp(Math.round(length / fastest), 1, 1_000_000);
            double before = processorSeconds();
            double time = contender.seconds(count);
            processorSeconds += processorSeconds() - before;
            runs += count;
            fastest = Math.min(fastest, time / count);
            rates.add((double) count * contender.images() / time);
            return rates.getLast();
        }

        Rates rates(boolean[] quiet) {
            double images = (double) runs * contender.images();
            return new Rates(rates.stream().mapToDouble(r -> r).toArray(), quiet, images / processorSeconds);
        }
    }

    /** Seconds that the turns of so many contenders wait at most. */
    public double mostWaiting(int contenders) {
        return patience * (1 + count * contenders);
    }

    /** Rates of each contender, in the order given; no turn counts as quiet. */
    public <K> Map<K, Rates> measure(Map<K, Contender> contenders) throws InterruptedException {
        Map<K, Score> scores = warm(contenders);
        for (int round = 0; round < count; round++) {
            double length = length(scores);
            for (Score score : scores.values()) {
                Thread.sleep(PAUSE_MILLIS);
                score.turn(length);
            }
        }
        Map<K, Rates> rates = new LinkedHashMap<>();
        scores.forEach((key, score) -> rates.put(key, score.rates(new boolean[count])));
        return rates;
    }

    /**
     * Rates of each contender, in the order given.
     *
     * @param pulse what runs before and behind each turn, to tell quiet ones from others ({@link Pulses}): something short on as many threads as the
     *     contenders use
     */
    public <K> Map<K, Rates> measure(Map<K, Contender> contenders, Contender pulse) throws InterruptedException {
        Map<K, Score> scores = warm(contenders);
        Score beat = new Score(pulse, warm(pulse, PULSE_SECONDS));
        Pulses pulses = new Pulses();
        Thread.sleep(PAUSE_MILLIS);
        watch(beat, pulses);
        for (int round = 0; round < count; round++) {
            double length = length(scores);
            for (Score score : scores.values()) {
                double before = await(beat, pulses);
                score.turn(length);
                Thread.sleep(PAUSE_MILLIS);
                pulses.add(before, beat.turn(PULSE_SECONDS));
            }
        }
        List<Boolean> quiet = pulses.quiet();
        Map<K, Rates> rates = new LinkedHashMap<>();
        scores.forEach((key, score) -> {
            boolean[] flags = new boolean[count];
            for (int round = 0; round < count; round++) {
                flags[round] = quiet.get(round * scores.size() + rates.size());
            }
            rates.put(key, score.rates(flags));
        });
        return rates;
    }

    /** Or else the first turns would take the state the machine happens to be in for its best. */
    private void watch(Score beat, Pulses pulses) throws InterruptedException {
        long end = System.nanoTime() + (long) (1e9 * patience);
        while (System.nanoTime() < end) {
            pulses.look(beat.turn(PULSE_SECONDS));
            Thread.sleep(LOOK_MILLIS);
        }
    }

    /** The last of the pulses that it took. */
    private double await(Score beat, Pulses pulses) throws InterruptedException {
        long end = System.nanoTime() + (long) (1e9 * patience);
        double rate = beat.turn(PULSE_SECONDS);
        while (!pulses.look(rate) && System.nanoTime() < end) {
            Thread.sleep(LOOK_MILLIS);
            rate = beat.turn(PULSE_SECONDS);
        }
        return rate;
    }

    private <K> Map<K, Score> warm(Map<K, Contender> contenders) {
        Map<K, Score> scores = new LinkedHashMap<>();
        contenders.forEach((key, contender) -> scores.put(key, new Score(contender, warm(contender, seconds))));
        return scores;
    }

    /** Seconds of the fastest run. */
    private static double warm(Contender contender, double seconds) {
        double spent = 0;
        double fastest = Double.POSITIVE_INFINITY;
        for (int i = 0; i < 3 || spent < WARM_UP_TURNS * seconds; i++) {
            double time = contender.seconds(1);
            spent += time;
            fastest = Math.min(fastest, time);
        }
        return fastest;
    }

    private double length(Map<?, Score> scores) {
        double slowest =
                scores.values().stream().mapToDouble(s -> s.fastest).max().orElse(seconds);
        return slowest * Math.max(1, Math.ceil(seconds / slowest));
    }

    /** Processor time of this process, in steps of about 10 ms. */
    private static double processorSeconds() {
        return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getProcessCpuTime() / 1e9;
    }
}
