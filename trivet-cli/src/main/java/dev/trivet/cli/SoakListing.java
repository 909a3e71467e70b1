package dev.trivet.cli;

import dev.trivet.cli.bench.Soak;
import java.io.PrintWriter;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;

/** What a soak prints. */
final class SoakListing {
    private static final double MEGABYTE = 1e6;

    private SoakListing() {}

    /** One line about a sample. */
    static String text(Soak.Sample sample) {
        return String.format(
                Locale.ROOT,
                "%.1f min: %d images, %s MB resident, %.1f MB heap",
                sample.seconds() / 60,
                sample.images(),
                megabytes(sample.residentBytes()),
                sample.heapBytes() / MEGABYTE);
    }

    private static String megabytes(OptionalLong bytes) {
        return bytes.isPresent() ? String.format(Locale.ROOT, "%.1f", bytes.getAsLong() / MEGABYTE) : "-";
    }

    static Map<String, Object> fields(Soak.Result result) {
        Map<String, Object> fields = new LinkedHashMap<>();
        Soak.Sample last = result.samples().getLast();
        fields.put("seconds", last.seconds());
        fields.put("images", last.images());
        fields.put("identical", result.difference().isEmpty());
        fields.put("difference", result.difference());
        fields.put("images_per_second_first", result.firstRate());
        fields.put("images_per_second_last", result.lastRate());
        fields.put("resident_drift_bytes", result.drift());
        fields.put("samples", result.samples());
        return fields;
    }

    static void print(Soak.Result result, PrintWriter out) {
        Table table = new Table("minutes", "images", "images/s", "MB resident", "MB heap", "MB classes and code");
        List<Soak.Sample> samples = result.samples();
        for (int i = 0; i < samples.size(); i++) {
            Soak.Sample sample = samples.get(i);
            table.row(
                    String.format(Locale.ROOT, "%.2f", sample.seconds() / 60),
                    Long.toString(sample.images()),
                    i == 0 ? "" : String.format(Locale.ROOT, "%.1f", result.rate(i)),
                    megabytes(sample.residentBytes()),
                    String.format(Locale.ROOT, "%.1f", sample.heapBytes() / MEGABYTE),
                    String.format(Locale.ROOT, "%.1f", sample.nonHeapBytes() / MEGABYTE));
        }
        table.print(out);
        out.println(result.difference()
                .map(d -> String.format(
                        Locale.ROOT,
                        "a result DIFFERS from the first: thread %d, its run %d, batch %d, logit %d",
                        d.thread(),
                        d.run(),
                        d.batch(),
                        d.logit()))
                .orElse("every result was the first one, bit for bit"));
        if (result.drift().isPresent()) {
            out.println(String.format(
                    Locale.ROOT,
                    "resident memory at the end less that after the first interval: %+.1f MB",
                    result.drift().getAsLong() / MEGABYTE));
        }
    }
}
