package dev.trivet.cli.report;

import java.util.List;

/** Signal-to-noise ratio of every module over depth, and what to do about the worst. */
final class NoiseSection {
    private static final int WORST = 6;
    private static final int HEIGHT = 150;
    private static final int LEFT = 40;

    private final Markup page;
    private final Findings findings;

    NoiseSection(Markup page, Findings findings) {
        this.page = page;
        this.findings = findings;
    }

    void write() {
        page.open("section", "id", "noise").leaf("h2", "Worst modules");
        List<ModuleAdvice> worst = ModuleAdvice.worst(findings.modules(), WORST);
        if (findings.modules().isEmpty()) {
            page.leaf("p", "Not measured: " + findings.basis() + ".").close();
            return;
        }
        page.leaf(
                "p",
                "SQNR: each module is given the float model's input, so noise of earlier modules is not in its figure; higher is better. "
                        + "Adds: what it adds to the noise of the quantized model's own stream, as a share of the stream's energy. "
                        + "Modules that take out more noise of earlier ones than they add have pale bars; they need no bits, and are not in the table. For the record: "
                        + findings.basis() + ".");
        if (worst.isEmpty()) {
            page.leaf("p", "No module adds noise.").close();
            return;
        }
        chart();
        page.open("div", "class", "scroll").open("table").open("thead").open("tr");
        for (String name : List.of("Module", "SQNR", "Adds", "Bits", "What to do")) {
            page.leaf("th", name, "scope", "col");
        }
        page.close().close().open("tbody");
        for (ModuleAdvice m : worst) {
            page.open("tr").leaf("th", m.module(), "scope", "row");
            page.leaf("td", m.sqnrText(), "class", "num").leaf("td", m.addedText(), "class", "num");
            page.leaf("td", m.bitsText(), "class", "num");
            page.leaf("td", m.advice(), "class", "words").close();
        }
        page.close().close().close().close();
    }

    private void chart() {
        List<ModuleAdvice> modules = findings.modules();
        double most = modules.stream()
                .mapToDouble(ModuleAdvice::sqnrDb)
                .filter(Double::isFinite)
                .max()
                .orElse(0);
        double top = Math.max(10, 10 * Math.ceil(most / 10));
        int step = 24;
        int width = LEFT + step * modules.size();
        page.open("div", "class", "scroll");
        page.open(
                "svg",
                "viewBox",
                "0 0 " + width + " " + (HEIGHT + 62),
                "class",
                "chart",
                "role",
                "img",
                "style",
                "min-width:" + width * 9 / 10 + "px;max-width:" + width * 3 / 2 + "px");
        page.leaf("title", "SQNR of each module in dB");
        for (double db = 0; db <= top; db += top > 60 ? 20 : 10) {
            String y = Figures.at(y(db, top));
            page.empty(
                    "line", "x1", String.valueOf(LEFT), "x2", String.valueOf(width), "y1", y, "y2", y, "class", "grid");
            page.leaf(
                    "text",
                    Figures.fixed(db, 0),
                    "x",
                    String.valueOf(LEFT - 6),
                    "y",
                    Figures.at(y(db, top) + 3.5),
                    "class",
                    "end");
        }
        page.leaf("text", "dB", "x", "0", "y", Figures.at(y(0, top) + 3.5));
        for (int i = 0; i < modules.size(); i++) {
            ModuleAdvice m = modules.get(i);
            double db = Double.isNaN(m.sqnrDb()) ? 0 : Math.clamp(m.sqnrDb(), 0, top);
            int x = LEFT + i * step + 4;
            String kind = m.module().endsWith(".attn") ? "attn" : m.module().endsWith(".mlp") ? "mlp" : "other";
            page.open(
                    "rect",
                    "x",
                    String.valueOf(x),
                    "y",
                    Figures.at(y(db, top)),
                    "width",
                    "16",
                    "height",
                    Figures.at(HEIGHT + 10 - y(db, top)),
                    "rx",
                    "2",
                    "class",
                    m.repairs() ? kind + " pale" : kind);
            page.leaf(
                            "title",
                            m.module() + ": " + Figures.decibels(m.sqnrDb()) + ", adds " + m.addedText() + " at "
                                    + m.bitsText())
                    .close();
            page.leaf(
                    "text",
                    shortName(m.module()),
                    "transform",
                    "translate(" + (x + 11) + " " + (HEIGHT + 16) + ") rotate(-90)",
                    "class",
                    "end");
        }
        page.close().close();
        page.open("p", "class", "legend").leaf("span", "attention", "class", "key attn");
        page.leaf("span", "MLP", "class", "key mlp")
                .leaf("span", "others", "class", "key other")
                .close();
    }

    private static double y(double db, double top) {
        return 10 + HEIGHT * (1 - db / top);
    }

    /** A module's name without what all share: 0.attn, 2.5.mlp, 1.merge, embed. */
    private static String shortName(String module) {
        return module.replaceAll("layers\\.|blocks\\.|patch_", "").replace("downsample", "merge");
    }
}
