package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.cli.bench.Agreement;
import dev.trivet.cli.bench.Lineup;
import dev.trivet.cli.bench.Rates;
import dev.trivet.cli.bench.Rounds;
import dev.trivet.cli.bench.TestImages;
import dev.trivet.format.ModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.RandomModel;
import dev.trivet.model.VitModel;
import dev.trivet.onnx.OnnxExport;
import dev.trivet.onnx.OnnxRuntime;
import dev.trivet.ptq.RangeQuantization;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code trivet bench}: how fast models run, alone or beside another engine. */
@Command(
        name = "bench",
        description = "Latency, throughput and where the time goes, alone or against ONNX Runtime.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class BenchCommand implements Callable<Integer> {
    private static final long SEED = 1;

    /** Images per second of a model on Trivet over those of something else. */
    private record Ratio(String model, int threads, int batch, String over, double ratio) {}

    @Mixin
    OutputOptions output;

    @Parameters(
            paramLabel = "MODEL",
            arity = "0..*",
            description = "Models, float or quantized, measured turn by turn.")
    List<Path> models = List.of();

    @Option(
            names = "--random",
            description = "Measure --architecture with random weights, float and quantized, in place of a MODEL.")
    boolean random;

    @Mixin
    SourceOptions source;

    @Option(names = "--against", paramLabel = "ENGINE", description = "Compare with this engine: onnxruntime.")
    @Nullable
    String against;

    @Option(
            names = "--threads",
            split = ",",
            paramLabel = "N",
            description = "Numbers of threads to measure (default: 1 and one per processor).")
    List<Integer> threads = List.of();

    @Option(
            names = "--batch",
            split = ",",
            paramLabel = "N",
            description = "Images of one call, several to measure each (default: 1,8).")
    List<Integer> batches = List.of(1, 8);

    @Option(names = "--rounds", paramLabel = "N", description = "Rounds measured (default: ${DEFAULT-VALUE}).")
    int rounds = 9;

    @Option(
            names = "--turn",
            paramLabel = "SECONDS",
            description = "Length of one engine's turn in a round (default: ${DEFAULT-VALUE}).")
    double turn = 0.3;

    @Override
    public Integer call() throws Exception {
        Rounds measuring = rounds();
        Optional<OnnxRuntime> peer = peer();
        Kernels kernels = output.kernels();
        List<Lineup.Subject> subjects = subjects(kernels);
        Path folder = Files.createTempDirectory("trivet-bench");
        try {
            List<Lineup.Subject> exported = new ArrayList<>();
            for (Lineup.Subject subject : subjects) {
                Optional<Path> file = Optional.empty();
                if (peer.isPresent()) {
                    Path onnx = folder.resolve(exported.size() + ".onnx");
                    OnnxExport.write(subject.model(), TrivetCommand.VERSION, onnx);
                    file = Optional.of(onnx);
                }
                exported.add(new Lineup.Subject(subject.name(), subject.model(), file));
            }
            measure(exported, kernels, peer, measuring);
        } finally {
            delete(folder);
        }
        return 0;
    }

    private Rounds rounds() {
        if (rounds < 1 || rounds > 10_000 || !(turn > 0 && turn <= 600)) {
            throw new BadInputException("--rounds must be in 1..10000 and --turn in (0, 600]; correct them");
        }
        for (int n : threads()) {
            check(n, "--threads");
        }
        batches.forEach(n -> check(n, "--batch"));
        return new Rounds(rounds, turn);
    }

    private static void check(int n, String option) {
        if (n < 1 || n > 1024) {
            throw new BadInputException(option + " " + n + " is not between 1 and 1024; correct it");
        }
    }

    private List<Integer> threads() {
        int processors = Runtime.getRuntime().availableProcessors();
        return !threads.isEmpty() ? threads : processors == 1 ? List.of(1) : List.of(1, processors);
    }

    private Optional<OnnxRuntime> peer() {
        if (against == null) {
            return Optional.empty();
        }
        if (!against.equals("onnxruntime")) {
            throw new BadInputException("--against " + against + ": no such engine; give onnxruntime");
        }
        return Optional.of(OnnxRuntime.find()
                .orElseThrow(() -> new BadInputException("--against onnxruntime: its module is not on the class path;"
                        + " start bench with ./trivet, which fetches it")));
    }

    private List<Lineup.Subject> subjects(Kernels kernels) {
        List<Lineup.Subject> subjects = new ArrayList<>();
        if (random) {
            String name = source.architecture()
                    .orElseThrow(() -> new BadInputException("--random needs --architecture NAME; add it"));
            VitModel model = RandomModel.of(name, SEED);
            subjects.add(new Lineup.Subject(name + " float32", model, Optional.empty()));
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment pixels =
                        arena.allocateFrom(ValueLayout.JAVA_FLOAT, TestImages.of(model.geometry(), 1, SEED));
                subjects.add(new Lineup.Subject(
                        name + " W8A8", RangeQuantization.of(model, kernels, pixels), Optional.empty()));
            }
        }
        for (Path path : models) {
            ModelFile file = ModelArgument.read(output, path, source);
            subjects.add(new Lineup.Subject(ModelArgument.describe(file.model()), file.model(), Optional.empty()));
        }
        if (subjects.isEmpty()) {
            throw new BadInputException("nothing to measure; give a MODEL, or --random --architecture NAME");
        }
        return subjects;
    }

    private void measure(List<Lineup.Subject> subjects, Kernels kernels, Optional<OnnxRuntime> peer, Rounds measuring)
            throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        List<Ratio> ratios = new ArrayList<>();
        Table table =
                new Table("model", "engine", "threads", "batch", "calls x threads", "ms a call", "images/s", "best");
        for (int threadCount : threads()) {
            for (int batch : batches) {
                try (Lineup lineup = new Lineup(subjects, kernels, peer, threadCount, batch)) {
                    lineup.agreements().forEach((model, a) -> output.err().println(agreement(model, a)));
                    Map<Lineup.Entry, Rates> rates = measuring.measure(lineup.contenders());
                    rates.forEach((entry, r) -> {
                        rows.add(fields(entry, threadCount, batch, r));
                        table.row(cells(entry, threadCount, batch, r));
                    });
                    ratios.addAll(ratios(subjects, rates, threadCount, batch));
                }
            }
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("kernels", kernels.description());
        fields.put("measurements", rows);
        fields.put("ratios", ratios);
        output.print(fields, () -> {
            table.print(output.out());
            output.out().println();
            for (Ratio ratio : ratios) {
                output.out()
                        .printf(
                                Locale.ROOT,
                                "%s, %s threads, batch %s: %.2f x %s%n",
                                ratio.model(),
                                ratio.threads(),
                                ratio.batch(),
                                ratio.ratio(),
                                ratio.over());
            }
        });
    }

    private static String agreement(String model, Agreement a) {
        return String.format(
                Locale.ROOT,
                "%s: outputs agree within %.2g, %.1f dB; same class for %d of %d",
                model,
                a.largest(),
                a.sqnrDb(),
                a.sameTop1(),
                a.images());
    }

    private static Map<String, Object> fields(Lineup.Entry entry, int threads, int batch, Rates rates) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", entry.model());
        fields.put("engine", entry.engine());
        fields.put("threads", threads);
        fields.put("batch", batch);
        fields.put("callers", entry.callers());
        fields.put("threads_per_call", entry.threadsPerCall());
        fields.put("images_per_second", rates.median());
        fields.put("best_images_per_second", rates.best());
        fields.put("milliseconds_per_call", 1000.0 * entry.callers() * batch / rates.median());
        return fields;
    }

    private static String[] cells(Lineup.Entry entry, int threads, int batch, Rates rates) {
        return new String[] {
            entry.model(),
            entry.engine(),
            Integer.toString(threads),
            Integer.toString(batch),
            entry.callers() + " x " + entry.threadsPerCall(),
            String.format(Locale.ROOT, "%.2f", 1000.0 * entry.callers() * batch / rates.median()),
            String.format(Locale.ROOT, "%.1f", rates.median()),
            String.format(Locale.ROOT, "%.1f", rates.best())
        };
    }

    /** Of each model Trivet's best against the other engine's best, and each quantized model against the float one. */
    private static List<Ratio> ratios(
            List<Lineup.Subject> subjects, Map<Lineup.Entry, Rates> rates, int threads, int batch) {
        List<Ratio> ratios = new ArrayList<>();
        for (Lineup.Subject subject : subjects) {
            Rates ours = best(rates, subject.name(), true, false).orElseThrow();
            best(rates, subject.name(), false, false)
                    .ifPresent(theirs -> ratios.add(new Ratio(
                            subject.name(), threads, batch, "the other engine's images/s", ours.over(theirs))));
            if (batch == 1 && threads > 1) {
                Rates alone = best(rates, subject.name(), true, true).orElseThrow();
                best(rates, subject.name(), false, true)
                        .ifPresent(theirs -> ratios.add(new Ratio(
                                subject.name(),
                                threads,
                                batch,
                                "the other engine, one call at a time",
                                alone.over(theirs))));
            }
            for (Lineup.Subject other : subjects) {
                if (subject.model().isQuantized() && !other.model().isQuantized()) {
                    ratios.add(new Ratio(
                            subject.name(),
                            threads,
                            batch,
                            other.name(),
                            ours.over(best(rates, other.name(), true, false).orElseThrow())));
                }
            }
        }
        return ratios;
    }

    private static Optional<Rates> best(Map<Lineup.Entry, Rates> rates, String model, boolean trivet, boolean alone) {
        return rates.entrySet().stream()
                .filter(e -> e.getKey().model().equals(model)
                        && e.getKey().engine().equals(Lineup.TRIVET) == trivet
                        && (!alone || e.getKey().callers() == 1))
                .map(Map.Entry::getValue)
                .max(Comparator.comparingDouble(Rates::median));
    }

    private static void delete(Path folder) {
        try (var files = Files.list(folder)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
            Files.delete(folder);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
