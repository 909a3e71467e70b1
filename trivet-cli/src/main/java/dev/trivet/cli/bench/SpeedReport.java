package dev.trivet.cli.bench;

import dev.trivet.model.VitModel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;

/**
 * What the rounds of one number of threads and one batch size say.
 *
 * @param measurements of every contender
 * @param ratios between them
 */
public record SpeedReport(List<Measurement> measurements, List<Ratio> ratios) {
    /**
     * One contender.
     *
     * @param callers calls at the same time
     * @param quietTurns turns that had the machine to themselves ({@link Pulses})
     * @param quietImagesPerSecond {@link Rates#quietMedian}
     * @param imagesPerProcessorSecond {@link Rates#perProcessorSecond}
     * @param millisecondsPerCall time of one call, from the median
     * @param rooflineShare multiply-adds of the products over those of {@link PeakCaller} in the same rounds and on as many threads; 0 for the peaks
     *     themselves
     * @param multiplyAddsPerSecond of the products, from the median
     */
    public record Measurement(
            String model,
            String engine,
            int threads,
            int batch,
            int callers,
            int threadsPerCall,
            double imagesPerSecond,
            double bestImagesPerSecond,
            int quietTurns,
            OptionalDouble quietImagesPerSecond,
            double imagesPerProcessorSecond,
            double millisecondsPerCall,
            double rooflineShare,
            double multiplyAddsPerSecond) {}

    /**
     * Images per second of a model on Trivet over something else's.
     *
     * @param ratio by the clock, the median over rounds
     * @param processorRatio by the processor time of all rounds
     * @param quietRatio median of the quiet turns over the median of the other's, not of ratios within rounds as {@code ratio} is, for few
     *     rounds have both ({@link Ways#quietOver}); empty if some way had fewer than three
     * @param quietTurns how many each way of Trivet has at least
     * @param othersQuietTurns and of the other
     * @param turns of each way
     */
    public record Ratio(
            String model,
            int threads,
            int batch,
            String over,
            double ratio,
            double processorRatio,
            OptionalDouble quietRatio,
            int quietTurns,
            int othersQuietTurns,
            int turns) {}

    public SpeedReport {
        measurements = List.copyOf(measurements);
        ratios = List.copyOf(ratios);
    }

    /**
     * What the rounds of one number of threads and one batch size say.
     *
     * @param trimmed whether the other engine's models were exported without what the head does not read
     */
    public static SpeedReport of(
            List<Lineup.Subject> subjects, Map<Lineup.Entry, Rates> rates, int threads, int batch, boolean trimmed) {
        List<Measurement> measurements = new ArrayList<>();
        rates.forEach((entry, r) -> {
            boolean less = trimmed || entry.engine().equals(Lineup.TRIVET);
            measurements.add(measurement(subjects, rates, entry, r, threads, batch, less));
        });
        List<Ratio> ratios = new ArrayList<>();
        for (Lineup.Subject subject : subjects) {
            String name = subject.name();
            boolean less = trimmed && !subject.model().geometry().headReadsAll();
            String peer = less ? "the other engine with a trimmed graph" : "the other engine";
            Ways ours = ways(rates, name, true, false).orElseThrow();
            ways(rates, name, false, false)
                    .ifPresent(theirs -> ratios.add(ratio(name, threads, batch, peer, ours, theirs)));
            if (batch == 1 && threads > 1) {
                Ways alone = ways(rates, name, true, true).orElseThrow();
                ways(rates, name, false, true)
                        .ifPresent(theirs ->
                                ratios.add(ratio(name, threads, batch, peer + ", one call at a time", alone, theirs)));
            }
            for (Lineup.Subject other : subjects) {
                if (subject.model().isQuantized() && !other.model().isQuantized()) {
                    Ways theirs = ways(rates, other.name(), true, false).orElseThrow();
                    ratios.add(ratio(name, threads, batch, other.name() + " on trivet", ours, theirs));
                }
            }
        }
        return new SpeedReport(measurements, ratios);
    }

    private static Ratio ratio(String model, int threads, int batch, String over, Ways ours, Ways theirs) {
        Rates best = ours.best();
        Rates othersBest = theirs.best();
        return new Ratio(
                model,
                threads,
                batch,
                over,
                best.over(othersBest),
                best.perProcessorSecond() / othersBest.perProcessorSecond(),
                ours.quietOver(theirs),
                ours.quietTurns(),
                theirs.quietTurns(),
                best.perRound().length);
    }

    /** Of an engine and a model; empty if the engine has no such model. */
    private static Optional<Ways> ways(Map<Lineup.Entry, Rates> rates, String model, boolean trivet, boolean alone) {
        List<Rates> each = rates.entrySet().stream()
                .filter(e -> e.getKey().model().equals(model)
                        && e.getKey().engine().equals(Lineup.TRIVET) == trivet
                        && (!alone || e.getKey().callers() == 1))
                .map(Map.Entry::getValue)
                .toList();
        return each.isEmpty() ? Optional.empty() : Optional.of(new Ways(each));
    }

    private static Measurement measurement(
            List<Lineup.Subject> subjects,
            Map<Lineup.Entry, Rates> rates,
            Lineup.Entry entry,
            Rates r,
            int threads,
            int batch,
            boolean trimmed) {
        Optional<VitModel> model = subjects.stream()
                .filter(s -> s.name().equals(entry.model()))
                .map(Lineup.Subject::model)
                .findFirst();
        boolean integer = model.map(VitModel::isQuantized).orElse(entry.model().equals(Lineup.INTEGER_PEAK));
        String peakName = integer ? Lineup.INTEGER_PEAK : Lineup.FLOAT_PEAK;
        long each = model.map(m -> trimmed ? MultiplyAdds.needed(m.geometry()) : MultiplyAdds.of(m.geometry()))
                .orElseGet(() -> PeakCaller.multiplyAdds(integer));
        Rates peak = ways(rates, peakName, true, false).orElseThrow().best();
        int images = model.isPresent() ? batch : 1;
        return new Measurement(
                entry.model(),
                entry.engine(),
                threads,
                images,
                entry.callers(),
                entry.threadsPerCall(),
                r.median(),
                r.best(),
                r.quietTurns(),
                r.quietMedian(),
                r.perProcessorSecond(),
                1000.0 * entry.callers() * images / r.median(),
                model.isPresent() ? r.over(peak) * each / PeakCaller.multiplyAdds(integer) : 0,
                r.median() * each);
    }
}
