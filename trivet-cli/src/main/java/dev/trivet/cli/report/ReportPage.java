package dev.trivet.cli.report;

import dev.trivet.format.Provenance;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.Evaluation;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Puts the page together: head, summary, and the sections of the other classes. */
final class ReportPage {
    private static final JsonMapper JSON = new JsonMapper();

    private final Markup page = new Markup();
    private final ReportInput input;
    private final Findings findings;
    private final VitModel model;
    private final Optional<Provenance> provenance;
    /** What the search found; an empty object where the file does not say. */
    private final JsonNode report;

    ReportPage(ReportInput input, Findings findings) {
        this.input = input;
        this.findings = findings;
        model = input.quantized().model();
        provenance = input.quantized().provenance();
        report = provenance.flatMap(Provenance::report).map(JSON::readTree).orElseGet(JSON::createObjectNode);
    }

    String html() {
        String title = model.config().architecture() + ", quantized";
        page.open("html", "lang", "en").open("head");
        page.empty("meta", "charset", "utf-8");
        page.empty("meta", "name", "viewport", "content", "width=device-width, initial-scale=1");
        page.empty("meta", "name", "color-scheme", "content", "light dark");
        // Whatever a stranger's label holds, nothing is ever loaded or run.
        page.empty(
                "meta",
                "http-equiv",
                "Content-Security-Policy",
                "content",
                "default-src 'none'; img-src data:; style-src 'unsafe-inline'");
        page.leaf("title", title).style(style()).close();
        page.open("body").open("main");
        header();
        summary();
        new NoiseSection(page, findings).write();
        new BitsSection(page, model).write();
        new SensitivitySection(page, report).write();
        new AttentionSection(page, model, findings).write();
        new OperandSection(page, input, findings, report).write();
        origin();
        return page.close().close().close().page();
    }

    private static String style() {
        try (InputStream in = ReportPage.class.getResourceAsStream("report.css")) {
            if (in == null) {
                throw new IllegalStateException("the jar lacks report.css");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e); // the jar we run from
        }
    }

    private void header() {
        page.open("header").leaf("p", "Trivet quantization report", "class", "eyebrow");
        page.leaf("h1", model.config().architecture());
        page.leaf(
                "p",
                input.quantized().file().getFileName() + " against "
                        + input.original().file().toAbsolutePath().normalize().getFileName() + " (float32)",
                "class",
                "lead");
        page.open("nav", "aria-label", "Sections");
        Map<String, String> sections = new java.util.LinkedHashMap<>();
        sections.put("summary", "Summary");
        sections.put("noise", "Worst modules");
        sections.put("bits", "Bits");
        if (SensitivitySection.hasContent(report)) {
            sections.put("sensitivity", "Sensitivity");
        }
        sections.put("attention", "Attention");
        sections.put("operands", "Histograms");
        sections.put("origin", "Origin");
        sections.forEach((id, name) -> page.leaf("a", name, "href", "#" + id));
        page.close().close();
    }

    private void summary() {
        long before = input.original().bytes();
        long after = input.quantized().bytes();
        page.open("section", "id", "summary").leaf("h2", "Summary").open("div", "class", "cards");
        card(
                "Size",
                Figures.megabytes(after),
                "from " + Figures.megabytes(before) + ", " + Figures.fixed((double) before / after, 2)
                        + " times smaller");
        findings.evaluation().ifPresentOrElse(this::accuracy, this::agreement);
        card(
                "Parameters",
                String.format(java.util.Locale.ROOT, "%,d", model.parameters()),
                Figures.fixed(8.0 * after / model.parameters(), 2) + " bits each, all of the file counted");
        page.close();
        sizes(before, after);
        page.close();
    }

    private void accuracy(Evaluation e) {
        double before = (double) e.scores().get(0).top1() / e.images();
        double after = (double) e.scores().get(1).top1() / e.images();
        card(
                "Top-1",
                Figures.percent(after),
                String.format(
                        java.util.Locale.ROOT,
                        "float32 %s, %+.2f points, %,d labelled images",
                        Figures.percent(before),
                        100 * (after - before),
                        e.images()));
        card(
                "Top-5",
                Figures.percent((double) e.scores().get(1).top5() / e.images()),
                "float32 " + Figures.percent((double) e.scores().get(0).top5() / e.images()));
        card(
                "Agreement",
                Figures.percent(e.agreement()),
                "same top class; logit SQNR " + Figures.decibels(e.logitSqnrDb()));
        List<Double> seconds = e.timing().inferenceSeconds();
        card(
                "Speed",
                Figures.fixed(seconds.get(0) / seconds.get(1), 2) + " times",
                Figures.fixed(e.images() / seconds.get(1), 1) + " images/s, float32 "
                        + Figures.fixed(e.images() / seconds.get(0), 1) + "; measured in this run, kernels "
                        + findings.kernels());
        if (!e.unreadable().isEmpty()) {
            card("Unreadable", String.valueOf(e.unreadable().size()), "images were left out");
        }
    }

    private void agreement() {
        Findings.Agreement a = findings.agreement();
        card(
                "Agreement",
                Figures.percent(a.agreement()),
                "same top class as float32 on " + a.images()
                        + " calibration images; no labels were given, so this is not accuracy");
        card("Logit SQNR", Figures.decibels(a.logitSqnrDb()), "on the same calibration images");
    }

    private void card(String name, String value, String note) {
        page.open("div", "class", "card").leaf("p", name, "class", "name");
        page.leaf("p", value, "class", "value").leaf("p", note, "class", "note").close();
    }

    private void sizes(long before, long after) {
        double most = Math.max(before, after);
        page.open(
                "div",
                "class",
                "sizes",
                "role",
                "img",
                "aria-label",
                "float32 " + Figures.megabytes(before) + ", quantized " + Figures.megabytes(after));
        for (boolean quantized : new boolean[] {false, true}) {
            long bytes = quantized ? after : before;
            page.open("div", "class", "size").leaf("span", quantized ? "quantized" : "float32");
            page.open("span", "class", "track")
                    .leaf(
                            "span",
                            "",
                            "class",
                            quantized ? "fill q" : "fill f",
                            "style",
                            "width:" + Figures.at(100.0 * bytes / most) + "%");
            page.close().leaf("span", Figures.megabytes(bytes)).close();
        }
        page.close();
    }

    private void origin() {
        page.open("section", "id", "origin").leaf("h2", "Origin");
        Map<String, String> facts = provenance.map(Provenance::facts).orElse(Map.of());
        page.open("div", "class", "scroll").open("table", "class", "facts").open("tbody");
        row("model", input.original().file().toString());
        row("quantized file", input.quantized().file().toString());
        facts.forEach((name, value) -> row(name.replace('_', ' '), value));
        row("kernels of this report", findings.kernels());
        page.close().close().close();
        if (!input.commands().isEmpty()) {
            page.leaf("h3", "To make it again").leaf("pre", String.join("\n", input.commands()));
        }
        provenance.flatMap(Provenance::plan).ifPresent(plan -> {
            page.open("details")
                    .open("summary")
                    .text("The plan that was asked for")
                    .close();
            page.leaf("pre", JSON.writerWithDefaultPrettyPrinter().writeValueAsString(JSON.readTree(plan)));
            page.close();
        });
        page.close();
    }

    private void row(String name, String value) {
        page.open("tr").leaf("th", name, "scope", "row").leaf("td", value).close();
    }
}
