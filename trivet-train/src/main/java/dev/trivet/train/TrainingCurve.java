package dev.trivet.train;

import dev.trivet.train.TrainingListener.EpochReport;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;

/** Loss and accuracies over the epochs as a picture that needs nothing beside it. */
final class TrainingCurve {
    private static final int WIDTH = 720;
    private static final int HEIGHT = 320;
    private static final int LEFT = 50;
    private static final int RIGHT = 50;
    private static final int TOP = 40;
    private static final int BOTTOM = 40;

    private TrainingCurve() {}

    /** A row of values on an axis. */
    private record Line(String name, String colour, ToDoubleFunction<EpochReport> value) {}

    /** @param reports at least one */
    static String svg(List<EpochReport> reports) {
        Line loss = new Line("loss (right)", "#888888", EpochReport::loss);
        List<Line> accuracies = List.of(
                new Line("train accuracy", "#4477aa", EpochReport::trainAccuracy),
                new Line("test accuracy", "#cc3311", EpochReport::testAccuracy));
        double highestLoss =
                reports.stream().mapToDouble(EpochReport::loss).max().orElse(1);
        double least = reports.stream()
                .mapToDouble(r -> Math.min(r.trainAccuracy(), r.testAccuracy()))
                .min()
                .orElse(0);
        double floor = Math.floor(10 * least) / 10;
        StringBuilder svg = new StringBuilder();
        append(
                svg,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">",
                WIDTH,
                HEIGHT);
        append(svg, "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>", WIDTH, HEIGHT);
        for (int tick = 0; tick <= 4; tick++) {
            double share = tick / 4.0;
            double y = y(share);
            append(
                    svg,
                    "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#dddddd\"/>",
                    LEFT,
                    WIDTH - RIGHT,
                    y,
                    y);
            append(
                    svg,
                    "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.1f %%</text>",
                    LEFT - 4,
                    y + 4,
                    100 * (floor + share * (1 - floor)));
            append(svg, "<text x=\"%d\" y=\"%.1f\">%.2f</text>", WIDTH - RIGHT + 4, y + 4, share * highestLoss);
        }
        stages(svg, reports);
        int column = LEFT;
        for (Line line : accuracies) {
            column = draw(svg, reports, line, floor, 1, column);
        }
        draw(svg, reports, loss, 0, highestLoss, column);
        append(
                svg,
                "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">epoch %d of %d</text>",
                WIDTH / 2,
                HEIGHT - 8,
                reports.getLast().epoch(),
                Math.max(reports.getLast().epochs(), reports.getLast().epoch()));
        return svg.append("</svg>\n").toString();
    }

    /** A vertical line where another stage begins. */
    private static void stages(StringBuilder svg, List<EpochReport> reports) {
        for (int i = 0; i < reports.size(); i++) {
            String stage = reports.get(i).stage();
            if (i == 0 || !reports.get(i - 1).stage().equals(stage)) {
                double x = x(i, reports.size());
                append(
                        svg,
                        "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#aaaaaa\" stroke-dasharray=\"3\"/>",
                        x,
                        x,
                        TOP,
                        HEIGHT - BOTTOM);
                append(
                        svg,
                        "<text x=\"%.1f\" y=\"%d\">%s</text>",
                        x + 3,
                        HEIGHT - BOTTOM + 14,
                        stage.replaceAll("[^a-z0-9]", ""));
            }
        }
    }

    /** @return where the next line's name goes */
    private static int draw(
            StringBuilder svg, List<EpochReport> reports, Line line, double lowest, double highest, int column) {
        StringBuilder points = new StringBuilder();
        for (int i = 0; i < reports.size(); i++) {
            double share = (line.value().applyAsDouble(reports.get(i)) - lowest) / Math.max(highest - lowest, 1e-9);
            append(points, "%.1f,%.1f ", x(i, reports.size()), y(Math.clamp(share, 0, 1)));
        }
        append(
                svg,
                "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>",
                points.toString().strip(),
                line.colour());
        append(svg, "<text x=\"%d\" y=\"24\" fill=\"%s\">%s</text>", column, line.colour(), line.name());
        return column + 130;
    }

    private static double x(int index, int count) {
        return LEFT + (WIDTH - LEFT - RIGHT) * (count == 1 ? 0.5 : (double) index / (count - 1));
    }

    private static double y(double share) {
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
    }

    @SuppressWarnings("AnnotateFormatMethod") // the annotation is another library's
    private static void append(StringBuilder to, String format, Object... values) {
        to.append(String.format(Locale.ROOT, format, values));
    }
}
