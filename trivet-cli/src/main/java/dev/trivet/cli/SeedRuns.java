package dev.trivet.cli;

import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.TrivetModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** What several seeds gave: how far a figure depends on which images were drawn. */
final class SeedRuns {
    /**
     * One seed's file against the float model; accuracy is absent without labelled images.
     *
     * @param images on how many; without labelled ones each seed is judged on images of its own
     */
    record Result(
            long seed,
            Path file,
            long bytes,
            int images,
            Optional<Double> top1,
            double agreement,
            double logitSqnrDb) {}

    private final List<Result> results = new ArrayList<>();
    private final CommonOptions common;
    private final Kernels kernels;
    private final boolean labelled;
    private final boolean strict;
    private double floatTop1;

    /**
     * @param labelled whether the images have labels, so that accuracy means something
     * @param strict stop at the first unreadable image
     */
    SeedRuns(CommonOptions common, Kernels kernels, boolean labelled, boolean strict) {
        this.common = common;
        this.kernels = kernels;
        this.labelled = labelled;
        this.strict = strict;
    }

    void add(long seed, ModelFile source, ModelFile quantized, LabelledImages images) {
        try (TrivetModel a = new TrivetModel(source.model(), kernels, EvalCommand.BATCH);
                TrivetModel b = new TrivetModel(quantized.model(), kernels, EvalCommand.BATCH);
                Progress progress = new Progress(common.err())) {
            Evaluation e = Evaluation.run(
                    List.of(a, b),
                    images,
                    common.threads(),
                    strict,
                    (done, total) -> progress.update("judging seed " + seed, done, total));
            DataOptions.reportUnreadable(common, e);
            floatTop1 = (double) e.scores().get(0).top1() / e.images();
            results.add(new Result(
                    seed,
                    quantized.file(),
                    quantized.bytes(),
                    e.images(),
                    labelled ? Optional.of((double) e.scores().get(1).top1() / e.images()) : Optional.empty(),
                    e.agreement(),
                    e.logitSqnrDb()));
        }
    }

    Map<String, Object> fields() {
        Map<String, Object> fields = new LinkedHashMap<>();
        if (labelled) {
            fields.put("float_top1", floatTop1);
            fields.put(
                    "top1",
                    spread(results.stream().map(r -> r.top1().orElseThrow()).toList()));
        }
        fields.put("agreement", spread(results.stream().map(Result::agreement).toList()));
        fields.put(
                "logit_sqnr_db",
                spread(results.stream().map(Result::logitSqnrDb).toList()));
        List<Map<String, Object>> rows = new ArrayList<>();
        for (Result r : results) {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("seed", r.seed());
            row.put("file", r.file().toString());
            row.put("bytes", r.bytes());
            row.put("images", r.images());
            r.top1().ifPresent(top1 -> row.put("top1", top1));
            row.put("agreement", r.agreement());
            row.put("logit_sqnr_db", r.logitSqnrDb());
            rows.add(row);
        }
        fields.put("images", fewestImages());
        fields.put("seeds", rows);
        return fields;
    }

    private record Spread(double mean, double deviation) {}

    private static Map<String, Double> spread(List<Double> values) {
        Spread s = of(values);
        Map<String, Double> fields = new LinkedHashMap<>();
        fields.put("mean", s.mean);
        fields.put("standard_deviation", s.deviation);
        return fields;
    }

    /** The sample's standard deviation; 0 of one value. */
    private static Spread of(List<Double> values) {
        double mean = values.stream().mapToDouble(Double::doubleValue).average().orElse(Double.NaN);
        double squares =
                values.stream().mapToDouble(v -> (v - mean) * (v - mean)).sum();
        return new Spread(mean, values.size() < 2 ? 0 : Math.sqrt(squares / (values.size() - 1)));
    }

    private int fewestImages() {
        return results.stream().mapToInt(Result::images).min().orElse(0);
    }

    void print() {
        Table table = labelled
                ? new Table("seed", "top-1", "agreement", "logit SQNR", "bytes")
                : new Table("seed", "agreement", "logit SQNR", "bytes");
        for (Result r : results) {
            table.row(cells(String.valueOf(r.seed()), r.top1(), r.agreement(), r.logitSqnrDb(), "" + r.bytes()));
        }
        Optional<Spread> top1 = labelled
                ? Optional.of(
                        of(results.stream().map(r -> r.top1().orElseThrow()).toList()))
                : Optional.empty();
        Spread agreement = of(results.stream().map(Result::agreement).toList());
        Spread sqnr = of(results.stream().map(Result::logitSqnrDb).toList());
        table.row(cells("mean", top1.map(Spread::mean), agreement.mean, sqnr.mean, ""));
        table.row(cells("deviation", top1.map(Spread::deviation), agreement.deviation, sqnr.deviation, ""));
        table.print(common.out());
        int fewest = fewestImages();
        int most = results.stream().mapToInt(Result::images).max().orElse(0);
        common.out()
                .printf(
                        Locale.ROOT,
                        "on %s %s images%s%n",
                        fewest == most ? fewest : fewest + " to " + most,
                        labelled ? "labelled" : "other calibration",
                        labelled ? String.format(Locale.ROOT, "; float %.2f %%", 100 * floatTop1) : "");
    }

    private static String[] cells(String name, Optional<Double> top1, double agreement, double sqnr, String bytes) {
        List<String> cells = new ArrayList<>();
        cells.add(name);
        top1.ifPresent(t -> cells.add(String.format(Locale.ROOT, "%.2f %%", 100 * t)));
        cells.add(String.format(Locale.ROOT, "%.2f %%", 100 * agreement));
        cells.add(String.format(Locale.ROOT, "%.2f dB", sqnr));
        cells.add(bytes);
        return cells.toArray(String[]::new);
    }
}
