package dev.trivet.cli.report;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.JsonNode;

/** Histograms of every operator's weights and operands, folded away by module, with what the search said about the operator. */
final class OperandSection {
    private static final int WIDTH = 300;
    private static final int HEIGHT = 84;

    private final Markup page;
    private final VitModel original;
    private final VitModel quantized;
    private final Findings findings;
    private final Map<String, ModuleAdvice> modules = new HashMap<>();
    private final Map<String, JsonNode> found = new HashMap<>();

    OperandSection(Markup page, ReportInput input, Findings findings, JsonNode report) {
        this.page = page;
        this.findings = findings;
        original = input.original().model();
        quantized = input.quantized().model();
        findings.modules().forEach(m -> modules.put(m.module(), m));
        for (JsonNode operator : report.path("operators")) {
            found.put(operator.path("operator").asString(""), operator);
        }
    }

    void write() {
        page.open("section", "id", "operands").leaf("h2", "Histograms");
        page.leaf(
                "p",
                "Filled: codes of the quantized model, each as wide as what it stands for. Line: values of the float model, where it has the same operand; a rewritten layer's input has no counterpart. "
                        + "Dashed: the ends of the interval. Ticks: levels that were picked one by one. Heights are square roots of the density, so that tails can be seen. "
                        + "Weights are in steps of their channel.");
        page.open("p", "class", "legend")
                .leaf("span", "codes", "class", "key q")
                .leaf("span", "float values", "class", "key f");
        page.leaf("span", "interval", "class", "key e").close();
        for (ModelUnit unit : quantized.geometry().units()) {
            if (unit instanceof ModelUnit.Block block) {
                module(block.attention(), List.of(block.qkv(), block.scores(), block.mixing(), block.projection()));
                module(block.mlp(), List.of(block.hidden(), block.mlpOutput()));
            } else {
                module(unit.name(), unit.operators());
            }
        }
        page.close();
    }

    private void module(String module, List<String> operators) {
        page.open("details").open("summary").leaf("span", module);
        ModuleAdvice noise = modules.get(module);
        if (noise != null) {
            page.leaf("span", noise.bitsText() + ", " + Figures.decibels(noise.sqnrDb()), "class", "note");
        }
        page.close();
        for (String operator : operators) {
            page.leaf("h3", operator);
            choice(operator);
            List<OperandHistogram> histograms = new ArrayList<>();
            if (quantized.linears().get(operator) instanceof LinearLayer.Quantized q) {
                histograms.add(OperandHistogram.of(q, original.linear(operator)));
            }
            histograms.addAll(findings.operands().histograms(operator));
            if (histograms.isEmpty()) {
                page.leaf("p", "runs in float32");
            }
            page.open("div", "class", "panels");
            histograms.forEach(h -> panel(operator, h));
            page.close();
        }
        page.close();
    }

    /** What the search chose and what else it tried. */
    private void choice(String operator) {
        JsonNode said = found.get(operator);
        if (said == null) {
            return;
        }
        JsonNode error = said.path("held_out_error");
        page.leaf(
                "p",
                "Chosen: " + said.path("choice").asString("?")
                        + (error.isNumber() ? ", held-out error " + Figures.number(error.asDouble()) : ""));
        JsonNode tried = said.path("tried");
        if (tried.isArray() && !tried.isEmpty()) {
            page.open("details", "class", "tried")
                    .open("summary")
                    .text("tried: " + tried.size())
                    .close();
            page.open("ul");
            for (JsonNode t : tried) {
                page.leaf(
                        "li",
                        t.path("description").asString("?")
                                + (t.path("error").isNumber()
                                        ? ": " + Figures.number(t.path("error").asDouble())
                                        : ""));
            }
            page.close().close();
        }
    }

    private void panel(String operator, OperandHistogram h) {
        boolean weights = h.operand().equals("weights");
        String title = h.operand() + ", " + h.bits() + (h.pickedLevels().length > 0 ? ", picked levels" : "");
        page.open("figure", "class", "panel").leaf("figcaption", title);
        page.open("svg", "viewBox", "0 0 " + WIDTH + " " + (HEIGHT + 22), "role", "img");
        page.leaf(
                "title",
                operator + ", " + title + ": interval " + Figures.number(h.low()) + " to " + Figures.number(h.high()));
        List<OperandHistogram.Cell> cells = h.cells();
        List<OperandHistogram.Cell> floats = h.hasCounterpart() ? h.floatCells() : List.of();
        double most = Math.max(densest(cells), densest(floats));
        page.empty("path", "class", "q", "d", outline(h, cells, most) + "Z");
        if (!floats.isEmpty()) {
            page.empty("path", "class", "f", "d", outline(h, floats, most));
        }
        StringBuilder ticks = new StringBuilder();
        for (double level : h.pickedLevels()) {
            ticks.append('M')
                    .append(Figures.at(x(h, level)))
                    .append(' ')
                    .append(HEIGHT)
                    .append("v6");
        }
        if (!ticks.isEmpty()) {
            page.empty("path", "class", "t", "d", ticks.toString());
        }
        page.empty("path", "class", "axis", "d", "M0 " + HEIGHT + "H" + WIDTH);
        for (double end : new double[] {h.low(), h.high()}) {
            String x = Figures.at(x(h, end));
            page.empty("path", "class", "e", "d", "M" + x + " 0V" + HEIGHT);
            page.leaf("text", Figures.number(end), "x", x, "y", String.valueOf(HEIGHT + 18), "class", "mid");
        }
        if (h.low() < 0 && h.high() > 0) {
            double zero = x(h, 0);
            if (zero - x(h, h.low()) > 40 && x(h, h.high()) - zero > 40) {
                page.leaf("text", "0", "x", Figures.at(zero), "y", String.valueOf(HEIGHT + 18), "class", "mid");
            }
        }
        page.close();
        page.leaf(
                        "p",
                        (weights ? "" : "step " + Figures.number(h.step()) + ", ") + "at the lowest level "
                                + Figures.percent(h.atLow())
                                + ", at the highest " + Figures.percent(h.atHigh())
                                + (h.hasCounterpart()
                                        ? ", float values beyond " + Figures.percent(h.outside())
                                        : ", no float counterpart"),
                        "class",
                        "note")
                .close();
    }

    private static double densest(List<OperandHistogram.Cell> cells) {
        return cells.stream().mapToDouble(OperandHistogram.Cell::density).max().orElse(0);
    }

    private static double x(OperandHistogram h, double value) {
        return WIDTH * (value - h.from()) / (h.to() - h.from());
    }

    /** A stair over the cells. */
    private static String outline(OperandHistogram h, List<OperandHistogram.Cell> cells, double most) {
        StringBuilder d =
                new StringBuilder("M" + Figures.at(x(h, cells.getFirst().from())) + " " + HEIGHT);
        for (OperandHistogram.Cell c : cells) {
            double y = HEIGHT - (HEIGHT - 4) * Math.sqrt(most > 0 ? c.density() / most : 0);
            d.append('V').append(Figures.at(y)).append('H').append(Figures.at(x(h, c.to())));
        }
        return d.append('V').append(HEIGHT).toString();
    }
}
