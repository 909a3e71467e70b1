package dev.trivet.cli;

import dev.trivet.cli.bench.Agreement;
import dev.trivet.cli.bench.Anatomy;
import dev.trivet.cli.bench.FirstImage;
import dev.trivet.cli.bench.SpeedReport;
import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** What {@code bench} prints of speeds. Single lines are fit for standard error, too, whatever names strangers' files give. */
final class SpeedListing {
    private static final double MEGABYTE = 1e6;

    private SpeedListing() {}

    static String announcement(int threads, int batch) {
        return "measuring " + state(threads, batch) + " ...";
    }

    private static String state(int threads, int batch) {
        return threads + (threads == 1 ? " thread" : " threads") + ", batch " + batch;
    }

    /** @param most seconds, if every turn waits as long as it may */
    static String waiting(double most) {
        return String.format(Locale.ROOT, "turns wait for quiet moments, %.0f s altogether at most", most);
    }

    static String text(String model, Agreement agreement) {
        return harmless(model + ": " + agreement.text());
    }

    static String text(SpeedReport.Ratio r) {
        return harmless(String.format(
                Locale.ROOT,
                "%s, %s: %.2f times %s (by processor time %.2f%s)",
                r.model(),
                state(r.threads(), r.batch()),
                r.ratio(),
                r.over(),
                r.processorRatio(),
                quiet(r)));
    }

    /** Nothing where all turns were quiet. */
    private static String quiet(SpeedReport.Ratio r) {
        if (r.quietTurns() == r.turns() && r.othersQuietTurns() == r.turns()) {
            return "";
        }
        String of =
                String.format(Locale.ROOT, "%d and %d of %d turns", r.quietTurns(), r.othersQuietTurns(), r.turns());
        return r.quietRatio().isPresent()
                ? String.format(
                        Locale.ROOT, "; %.2f in quiet turns, %s", r.quietRatio().getAsDouble(), of)
                : "; " + of + " were quiet, too few for a ratio";
    }

    static String text(FirstImage first) {
        String memory = first.residentBytes().isPresent()
                ? String.format(
                        Locale.ROOT, ", %.0f MB resident", first.residentBytes().getAsLong() / MEGABYTE)
                : "";
        return harmless(String.format(
                Locale.ROOT,
                "%s: first logits %.2f s after the process started%s",
                first.model(),
                first.seconds(),
                memory));
    }

    private static String text(String model, Anatomy anatomy) {
        String shares = anatomy.shares().entrySet().stream()
                .map(e -> String.format(Locale.ROOT, "%s %.0f %%", e.getKey().replace('_', ' '), 100 * e.getValue()))
                .collect(Collectors.joining(", "));
        return harmless(String.format(
                Locale.ROOT,
                "%s: linear weights take %.2f MB in memory; time in %s",
                model,
                anatomy.weightBytes() / MEGABYTE,
                shares));
    }

    private static String harmless(String text) {
        return text.replaceAll("[\\p{Cc}\\p{Cf}]", " ");
    }

    static void print(
            List<SpeedReport> reports,
            Map<String, Agreement> agreements,
            Map<String, Anatomy> anatomies,
            PrintWriter out) {
        agreements.forEach((model, agreement) -> out.println(text(model, agreement)));
        anatomies.forEach((model, anatomy) -> out.println(text(model, anatomy)));
        out.println();
        Table table = new Table(
                "model",
                "engine",
                "threads",
                "batch",
                "calls x threads",
                "ms a call",
                "images/s",
                "best",
                "quiet",
                "of them",
                "images/CPU s",
                "of peak");
        reports.stream().flatMap(r -> r.measurements().stream()).forEach(m -> table.row(cells(m)));
        table.print(out);
        out.println();
        reports.stream().flatMap(r -> r.ratios().stream()).forEach(r -> out.println(text(r)));
    }

    private static String[] cells(SpeedReport.Measurement m) {
        boolean roof = m.rooflineShare() == 0;
        return new String[] {
            m.model(),
            m.engine(),
            Integer.toString(m.threads()),
            roof ? "" : Integer.toString(m.batch()),
            m.callers() + " x " + m.threadsPerCall(),
            String.format(Locale.ROOT, "%.2f", m.millisecondsPerCall()),
            roof ? "" : String.format(Locale.ROOT, "%.1f", m.imagesPerSecond()),
            roof ? "" : String.format(Locale.ROOT, "%.1f", m.bestImagesPerSecond()),
            roof || m.quietImagesPerSecond().isEmpty()
                    ? ""
                    : String.format(
                            Locale.ROOT, "%.1f", m.quietImagesPerSecond().getAsDouble()),
            Integer.toString(m.quietTurns()),
            roof ? "" : String.format(Locale.ROOT, "%.1f", m.imagesPerProcessorSecond()),
            roof
                    ? String.format(Locale.ROOT, "%.0f G/s", m.multiplyAddsPerSecond() / 1e9)
                    : String.format(Locale.ROOT, "%.0f %%", 100 * m.rooflineShare())
        };
    }
}
