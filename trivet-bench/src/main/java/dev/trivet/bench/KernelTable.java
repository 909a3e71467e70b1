package dev.trivet.bench;

import dev.trivet.cli.bench.PeakCaller;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.MatmulShape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import org.openjdk.jmh.runner.RunnerException;

/**
 * The kernels of all providers beside each other, at the shapes of published models: runs the benchmarks of this package, each in a JVM of
 * its own, and prints Markdown tables of their medians, the ratios between providers, and the share of what the machine can do
 * ({@link RoofBenchmark}, measured in the same run).
 */
public final class KernelTable {
    /** What can be measured. */
    private enum Part {
        PRODUCTS,
        PACKED,
        POINTWISE
    }

    private static final String ABSENT = "-";

    private final Measurement measurement = new Measurement();
    private final boolean onednn = Providers.hasOnednn();

    private KernelTable() {}

    /**
     * Prints the tables.
     *
     * @param args names of {@link Part} and of {@link Stage}, in any case; of what is not named, all
     */
    public static void main(String[] args) throws RunnerException {
        Set<Part> parts = EnumSet.noneOf(Part.class);
        Set<Stage> stages = EnumSet.noneOf(Stage.class);
        for (String argument : args) {
            String name = argument.toUpperCase(Locale.ROOT);
            Optional<Part> part = named(Part.values(), name);
            Optional<Stage> stage = named(Stage.values(), name);
            if (part.isEmpty() && stage.isEmpty()) {
                System.err.println(
                        "usage: KernelTable [" + names(Part.values()) + "]... [" + names(Stage.values()) + "]...");
                System.exit(2);
            }
            part.ifPresent(parts::add);
            stage.ifPresent(stages::add);
        }
        new KernelTable()
                .print(
                        parts.isEmpty() ? EnumSet.allOf(Part.class) : parts,
                        stages.isEmpty() ? EnumSet.allOf(Stage.class) : stages);
    }

    private static <E extends Enum<E>> Optional<E> named(E[] values, String name) {
        return Arrays.stream(values).filter(v -> v.name().equals(name)).findFirst();
    }

    private static String names(Enum<?>[] values) {
        return String.join(
                "|",
                Arrays.stream(values)
                        .map(v -> v.name().toLowerCase(Locale.ROOT))
                        .toList());
    }

    private void print(Set<Part> parts, Set<Stage> stages) throws RunnerException {
        System.out.println("Kernels: " + KernelSelection.get().sentence());
        for (Stage stage : stages) {
            if (parts.contains(Part.PRODUCTS)) {
                products(stage);
            }
            if (parts.contains(Part.PACKED)) {
                packed(stage);
            }
            if (parts.contains(Part.POINTWISE)) {
                pointwise(stage);
            }
        }
    }

    /** One linear layer or attention product: the parameters that it is measured with, and how much it multiplies. */
    private record Entry(String name, String shape, Class<?> benchmark, List<String> parameters, long multiplyAdds) {}

    private static String shape(Stage stage, int outputs, int inputs) {
        return outputs + "x" + inputs + "x" + stage.tokens();
    }

    private static Entry linear(Stage stage, String name, int outputs, int inputs) {
        return new Entry(
                name,
                stage.tokens() + " x " + outputs + " x " + inputs,
                ProductBenchmark.class,
                List.of("shape", shape(stage, outputs, inputs)),
                (long) stage.tokens() * outputs * inputs);
    }

    private static Entry attention(Stage stage, String product) {
        MatmulShape shape = AttentionProductBenchmark.shape(stage, product);
        int batch = AttentionProductBenchmark.batch(stage);
        return new Entry(
                product,
                batch + " of " + shape.m() + " x " + shape.n() + " x " + shape.k(),
                AttentionProductBenchmark.class,
                List.of("stage", stage.name(), "product", product),
                (long) batch * shape.m() * shape.n() * shape.k());
    }

    private void products(Stage stage) throws RunnerException {
        int width = stage.width();
        int hidden = stage.hidden();
        List<Entry> entries = List.of(
                linear(stage, "qkv", 3 * width, width),
                attention(stage, AttentionProductBenchmark.SCORES),
                attention(stage, AttentionProductBenchmark.MIXING),
                linear(stage, "proj", width, width),
                linear(stage, "fc1", hidden, width),
                linear(stage, "fc2", width, hidden));
        double[] peaks = {peak(true), peak(false)};
        System.out.printf(
                Locale.ROOT,
                "%n%s, products; peak %.0f (int8) and %.0f (float32) G multiply-adds/s%n%n",
                stage.title(),
                peaks[0] / 1e9,
                peaks[1] / 1e9);
        header(
                "product",
                "rows x outputs x inputs",
                "int8: reference",
                "vector",
                "oneDNN",
                "vector over reference",
                "oneDNN over vector",
                "oneDNN, of peak",
                "float32: reference",
                "vector",
                "oneDNN",
                "vector over reference",
                "oneDNN over vector",
                "oneDNN, of peak");
        for (Entry entry : entries) {
            List<String> cells = new ArrayList<>(List.of(entry.name, entry.shape));
            for (int type = 0; type < 2; type++) {
                String method = type == 0 ? "int8" : "float32";
                double[] times = new double[3];
                String[] providers = {Providers.REFERENCE, Providers.VECTOR, Providers.ONEDNN};
                for (int p = 0; p < (onednn ? 3 : 2); p++) {
                    List<String> parameters = new ArrayList<>(entry.parameters);
                    parameters.addAll(List.of("provider", providers[p]));
                    times[p] = measurement.microseconds(entry.benchmark, method, parameters);
                    cells.add(microseconds(times[p]));
                }
                if (!onednn) {
                    cells.addAll(List.of(ABSENT, ratio(times[0], times[1]), ABSENT, ABSENT));
                } else {
                    cells.addAll(List.of(
                            ratio(times[0], times[1]),
                            ratio(times[1], times[2]),
                            percent(entry.multiplyAdds / (1e-6 * times[2]) / peaks[type])));
                }
            }
            row(cells);
        }
    }

    /** Multiply-adds per second. */
    private double peak(boolean integer) throws RunnerException {
        double time = measurement.microseconds(RoofBenchmark.class, integer ? "int8" : "float32", List.of());
        return PeakCaller.multiplyAdds(integer) / (1e-6 * time);
    }

    private void packed(Stage stage) throws RunnerException {
        if (!onednn) {
            System.out.println("packed weights need oneDNN, which does not load here");
            return;
        }
        System.out.printf("%n%s, packed weights (oneDNN, int8)%n%n", stage.title());
        header(
                "layer",
                "rows x outputs x inputs",
                "expanded",
                "ternary",
                "ternary over expanded",
                "4 bits",
                "4 bits over expanded");
        int width = stage.width();
        for (Entry entry : List.of(
                linear(stage, "qkv", 3 * width, width),
                linear(stage, "proj", width, width),
                linear(stage, "fc1", stage.hidden(), width),
                linear(stage, "fc2", width, stage.hidden()))) {
            double expanded = packed(entry, PackedWeightsBenchmark.EXPANDED, 2);
            double ternary = packed(entry, PackedWeightsBenchmark.PACKED, 2);
            double four = packed(entry, PackedWeightsBenchmark.PACKED, 4);
            row(List.of(
                    entry.name,
                    entry.shape,
                    microseconds(expanded),
                    microseconds(ternary),
                    ratio(expanded, ternary),
                    microseconds(four),
                    ratio(expanded, four)));
        }
    }

    private double packed(Entry entry, String weights, int bits) throws RunnerException {
        List<String> parameters = new ArrayList<>(entry.parameters);
        parameters.addAll(List.of("weights", weights, "bits", Integer.toString(bits)));
        return measurement.microseconds(PackedWeightsBenchmark.class, "int8", parameters);
    }

    private void pointwise(Stage stage) throws RunnerException {
        System.out.printf("%n%s, between products%n%n", stage.title());
        header(
                "pass",
                "int8: reference",
                "vector",
                "vector over reference",
                "GB/s",
                "of a copy",
                "float32: reference",
                "vector",
                "vector over reference",
                "GB/s",
                "of a copy");
        for (PointwisePass.Kind kind : PointwisePass.Kind.values()) {
            List<String> cells = new ArrayList<>(List.of(kind.text()));
            cells.addAll(pointwise(stage, kind, true));
            cells.addAll(kind.ofFloats() ? pointwise(stage, kind, false) : List.of("", "", "", "", ""));
            row(cells);
        }
    }

    private List<String> pointwise(Stage stage, PointwisePass.Kind kind, boolean integer) throws RunnerException {
        double[] times = new double[2];
        for (int p = 0; p < times.length; p++) {
            List<String> parameters = List.of(
                    "provider",
                    p == 0 ? Providers.REFERENCE : Providers.VECTOR,
                    "stage",
                    stage.name(),
                    "pass",
                    kind.name(),
                    "integer",
                    Boolean.toString(integer));
            times[p] = measurement.microseconds(PointwiseBenchmark.class, "pass", parameters);
        }
        long bytes = PointwisePass.bytes(kind, stage, integer);
        double copy = measurement.copy(bytes);
        return List.of(
                microseconds(times[0]),
                microseconds(times[1]),
                ratio(times[0], times[1]),
                String.format(Locale.ROOT, "%.1f", bytes / times[1] / 1e3),
                percent(copy / times[1]));
    }

    private static String microseconds(double time) {
        return String.format(Locale.ROOT, time < 100 ? "%.1f" : "%.0f", time);
    }

    /** How many times as fast the second one is. */
    private static String ratio(double slow, double fast) {
        return String.format(Locale.ROOT, slow / fast < 10 ? "%.2f" : "%.0f", slow / fast);
    }

    private static String percent(double share) {
        return String.format(Locale.ROOT, "%.0f %%", 100 * share);
    }

    private static void header(String... names) {
        row(List.of(names));
        row(Arrays.stream(names)
                .map(n -> n.equals(names[0]) || n.startsWith("rows") ? "---" : "---:")
                .toList());
    }

    private static void row(List<String> cells) {
        System.out.println("| " + String.join(" | ", cells) + " |");
    }
}
