package dev.trivet.cli.bench;

import java.util.Arrays;
import java.util.OptionalDouble;
import java.util.stream.IntStream;

/**
 * Images per second as measured, one figure per round.
 *
 * @param perRound in the order of rounds, so that figures of the same index were measured next to each other
 * @param quiet in which rounds this turn was quiet ({@link Pulses}); all false where nobody looked
 * @param perProcessorSecond images of all rounds over the processor time of all threads: time for which others have the processors does not
 *     show in it, what they do on the other thread of a core does; a thread that waits does not, one that waits busily does
 */
@SuppressWarnings("ArrayRecordComponent") // figures, never compared
public record Rates(double[] perRound, boolean[] quiet, double perProcessorSecond) {
    /** Of fewer turns a median says little. */
    private static final int LEAST_QUIET = 3;

    public Rates {
        if (perRound.length == 0 || perRound.length != quiet.length) {
            throw new IllegalArgumentException(perRound.length + " rounds, " + quiet.length + " flags");
        }
    }

    public double median() {
        return median(perRound);
    }

    public int quietTurns() {
        return (int) IntStream.range(0, quiet.length).filter(i -> quiet[i]).count();
    }

    /** The median of the quiet turns; empty if there were fewer than three. */
    public OptionalDouble quietMedian() {
        double[] rates = IntStream.range(0, quiet.length)
                .filter(i -> quiet[i])
                .mapToDouble(i -> perRound[i])
                .toArray();
        return rates.length < LEAST_QUIET ? OptionalDouble.empty() : OptionalDouble.of(median(rates));
    }

    public double best() {
        return Arrays.stream(perRound).max().orElseThrow();
    }

    /**
     * The median over rounds of this rate over the other's in the same round: what slows the machine for a while slows both.
     *
     * @throws IllegalArgumentException if the numbers of rounds differ
     */
    public double over(Rates other) {
        if (perRound.length != other.perRound.length) {
            throw new IllegalArgumentException(perRound.length + " rounds over " + other.perRound.length);
        }
        double[] ratios = new double[perRound.length];
        for (int i = 0; i < ratios.length; i++) {
            ratios[i] = perRound[i] / other.perRound[i];
        }
        return median(ratios);
    }

    private static double median(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        int middle = sorted.length / 2;
        return sorted.length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }
}
