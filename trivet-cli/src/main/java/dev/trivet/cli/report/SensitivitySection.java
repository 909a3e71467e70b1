package dev.trivet.cli.report;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.TreeSet;
import tools.jackson.databind.JsonNode;

/**
 * What the search measured when it shared out the bits, where the file says: loss of each module at each width, and the best
 * model for each size. The document comes with the file, so nothing in it is taken for granted.
 */
final class SensitivitySection {
    private static final int WIDTH = 640;
    private static final int HEIGHT = 240;
    private static final int LEFT = 60;
    private static final int BOTTOM = 36;

    private final Markup page;
    private final JsonNode report;

    SensitivitySection(Markup page, JsonNode report) {
        this.page = page;
        this.report = report;
    }

    /** A model on the frontier. */
    private record Point(double bytes, double omega) {}

    static boolean hasContent(JsonNode report) {
        return !report.path("sensitivity").isEmpty() || points(report).size() > 1;
    }

    void write() {
        if (!hasContent(report)) {
            return;
        }
        page.open("section", "id", "sensitivity").leaf("h2", "Sensitivity and frontier");
        List<Point> points = points(report);
        if (points.size() > 1) {
            frontier(points);
        }
        if (!report.path("sensitivity").isEmpty()) {
            sensitivity();
        }
        page.close();
    }

    private static List<Point> points(JsonNode report) {
        List<Point> points = new ArrayList<>();
        for (JsonNode p : report.path("frontier")) {
            double bytes = p.path("bytes").asDouble(Double.NaN);
            double omega = p.path("omega").asDouble(Double.NaN);
            if (Double.isFinite(bytes) && Double.isFinite(omega)) {
                points.add(new Point(bytes, omega));
            }
        }
        points.sort(java.util.Comparator.comparingDouble(Point::bytes));
        return points;
    }

    private void sensitivity() {
        TreeSet<Integer> widths = new TreeSet<>();
        for (JsonNode module : report.path("sensitivity")) {
            module.path("options").forEach(o -> widths.add(o.path("bits").asInt(0)));
        }
        page.leaf(
                "p", "Loss (omega) of each module at each width, all others as they are. The chosen width is framed.");
        page.open("div", "class", "scroll")
                .open("table", "class", "sensitivity")
                .open("thead")
                .open("tr");
        page.leaf("th", "Module", "scope", "col");
        widths.forEach(w -> page.leaf("th", Figures.bits(w), "scope", "col"));
        page.leaf("th", "Why", "scope", "col").close().close().open("tbody");
        for (JsonNode module : report.path("sensitivity")) {
            page.open("tr").leaf("th", module.path("module").asString("?"), "scope", "row");
            int chosen = module.path("chosen_bits").asInt(0);
            for (int width : widths) {
                String text = "";
                for (JsonNode o : module.path("options")) {
                    if (o.path("bits").asInt(0) == width) {
                        text = Figures.number(o.path("omega").asDouble(Double.NaN));
                    }
                }
                page.leaf("td", text, "class", width == chosen ? "num chosen" : "num");
            }
            page.leaf("td", module.path("reason").asString(""), "class", "words")
                    .close();
        }
        page.close().close().close();
    }

    private void frontier(List<Point> points) {
        double target = report.path("target_bytes").asDouble(Double.NaN);
        double least = points.getFirst().bytes();
        double most = points.getLast().bytes();
        double low = points.stream().mapToDouble(Point::omega).min().orElseThrow();
        double high = points.stream().mapToDouble(Point::omega).max().orElseThrow();
        boolean log = low > 0 && high / low > 30;
        Axis x = new Axis(least, most, LEFT, WIDTH - 16, false);
        Axis y = new Axis(low, high, HEIGHT - BOTTOM, 14, log);
        page.leaf(
                "p",
                "The least loss that was found for each size" + (log ? ", on a logarithmic scale" : "")
                        + (Double.isFinite(target) ? "; the dashed line is the size asked for." : "."));
        page.open("div", "class", "scroll");
        page.open("svg", "viewBox", "0 0 " + WIDTH + " " + HEIGHT, "class", "chart wide", "role", "img");
        page.leaf("title", "Loss over size, " + points.size() + " models on the Pareto frontier");
        for (int i = 0; i <= 4; i++) {
            double bytes = least + (most - least) * i / 4;
            page.leaf(
                    "text",
                    Figures.fixed(bytes / 1e6, 2) + (i == 4 ? " MB" : ""),
                    "x",
                    Figures.at(x.at(bytes)),
                    "y",
                    String.valueOf(HEIGHT - 12),
                    "class",
                    i == 4 ? "end" : "mid");
            double omega = y.value(i / 4.0);
            String at = Figures.at(y.at(omega));
            page.empty(
                    "line",
                    "x1",
                    String.valueOf(LEFT),
                    "x2",
                    String.valueOf(WIDTH - 16),
                    "y1",
                    at,
                    "y2",
                    at,
                    "class",
                    "grid");
            page.leaf(
                    "text",
                    Figures.number(omega),
                    "x",
                    String.valueOf(LEFT - 6),
                    "y",
                    Figures.at(y.at(omega) + 3.5),
                    "class",
                    "end");
        }
        StringBuilder line = new StringBuilder();
        for (Point p : points) {
            line.append(line.isEmpty() ? 'M' : 'L')
                    .append(Figures.at(x.at(p.bytes())))
                    .append(' ')
                    .append(Figures.at(y.at(p.omega())));
        }
        page.empty("path", "class", "line", "d", line.toString());
        if (points.size() <= 200) {
            for (Point p : points) {
                page.open(
                        "circle",
                        "cx",
                        Figures.at(x.at(p.bytes())),
                        "cy",
                        Figures.at(y.at(p.omega())),
                        "r",
                        "2.5",
                        "class",
                        "dot");
                page.leaf("title", Figures.megabytes(Math.round(p.bytes())) + ", omega " + Figures.number(p.omega()))
                        .close();
            }
        }
        if (target >= least && target <= most) {
            String at = Figures.at(x.at(target));
            page.empty("path", "class", "e", "d", "M" + at + " 14V" + (HEIGHT - BOTTOM));
        }
        page.close().close();
        table(points);
    }

    private void table(List<Point> points) {
        page.open("details")
                .open("summary")
                .text(String.format(Locale.ROOT, "As a table, %d models", points.size()))
                .close();
        page.open("div", "class", "scroll").open("table").open("thead").open("tr");
        page.leaf("th", "Bytes", "scope", "col")
                .leaf("th", "Omega", "scope", "col")
                .close()
                .close()
                .open("tbody");
        for (Point p : points.subList(0, Math.min(200, points.size()))) {
            page.open("tr").leaf("td", Figures.fixed(p.bytes(), 0), "class", "num");
            page.leaf("td", Figures.number(p.omega()), "class", "num").close();
        }
        page.close().close().close().close();
    }

    /** Values from {@code low} to {@code high} at coordinates {@code from} to {@code to}. */
    private record Axis(double low, double high, double from, double to, boolean log) {
        double at(double value) {
            double share = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
            return from + (to - from) * (high > low ? share : 0.5);
        }

        double value(double share) {
            return log ? low * Math.pow(high / low, share) : low + (high - low) * share;
        }
    }
}
