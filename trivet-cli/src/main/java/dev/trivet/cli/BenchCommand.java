package dev.trivet.cli;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.BadInputException;
import dev.trivet.cli.bench.Agreement;
import dev.trivet.cli.bench.Anatomy;
import dev.trivet.cli.bench.FirstImage;
import dev.trivet.cli.bench.Lineup;
import dev.trivet.cli.bench.ProcessFigures;
import dev.trivet.cli.bench.Rates;
import dev.trivet.cli.bench.Rounds;
import dev.trivet.cli.bench.Soak;
import dev.trivet.cli.bench.SoakCaller;
import dev.trivet.cli.bench.SpeedReport;
import dev.trivet.cli.bench.TestImages;
import dev.trivet.format.MappedModel;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.RandomModel;
import dev.trivet.model.VitModel;
import dev.trivet.onnx.OnnxExport;
import dev.trivet.onnx.OnnxRuntime;
import dev.trivet.ptq.RangeQuantization;
import dev.trivet.runtime.ModelExecutor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
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
    private static final String ONNX_RUNTIME = "onnxruntime";

    private static final int SOAK_BATCHES = 8;
    private static final double LONGEST_SOAK = 60 * 24 * 365;

    @Mixin
    OutputOptions output;

    @Mixin
    PackedWeights packing;

    @Parameters(
            paramLabel = "MODEL",
            arity = "0..*",
            description = "Models, float or quantized, measured turn by turn.")
    List<Path> models = List.of();

    @Option(
            names = "--random",
            description = "Measure --architecture with random weights, float and quantized by ranges.")
    boolean random;

    @Mixin
    SourceOptions source;

    @Option(
            names = {"-o", "--output"},
            paramLabel = "FILE",
            description =
                    "With --random, instead of measuring: write the quantized model, to be loaded by another run.")
    @Nullable
    Path written;

    @Option(names = "--against", paramLabel = "ENGINE", description = "Compare with this engine: " + ONNX_RUNTIME + ".")
    @Nullable
    String against;

    @Option(
            names = "--trim",
            description = "Give the other engine models without what the head does not read of the last block"
                    + " (export --trim); Trivet always leaves it out.")
    boolean trim;

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
    List<Integer> batches = List.of();

    @Option(
            names = "--soak",
            paramLabel = "MINUTES",
            description = "Instead of measuring, run one MODEL for so long on the same "
                    + SOAK_BATCHES
                    + " batches and check that results and memory stay the same (default: all processors, batch 1).")
    @Nullable
    Double soak;

    @Option(names = "--rounds", paramLabel = "N", description = "Rounds measured (default: ${DEFAULT-VALUE}).")
    int rounds = 9;

    @Option(
            names = "--turn",
            paramLabel = "SECONDS",
            description = "Length of one engine's turn in a round, at least (default: ${DEFAULT-VALUE}).")
    double turn = 0.3;

    @Option(
            names = "--patience",
            paramLabel = "SECONDS",
            description = "How long a turn waits at most for a moment in which the machine is as fast as it has been,"
                    + " where others use it, too (default: ${DEFAULT-VALUE}).")
    double patience;

    @Option(
            names = "--image",
            paramLabel = "FILE",
            description = "The first image to be classified (default: a made-up one, without decoding).")
    @Nullable
    Path image;

    @Override
    public Integer call() throws Exception {
        Rounds measuring = rounds();
        if (soak != null) {
            checkSoak(soak);
            return soak(soak);
        }
        if (written != null) {
            return write(written);
        }
        Optional<MappedModel> ahead = models.stream().findFirst().map(path -> ModelArgument.map(output, path, source));
        Kernels kernels = packing.kernels(output);
        Optional<FirstImage> first = ahead.map(mapped ->
                FirstImage.of(ModelArgument.describe(mapped.model()), mapped, kernels, Optional.ofNullable(image)));
        List<Lineup.Subject> subjects = new ArrayList<>();
        Set<String> names = new HashSet<>();
        for (Path path : models) {
            VitModel model = ModelArgument.read(output, path, source).model();
            String name = ModelArgument.describe(model);
            if (!names.add(name)) {
                name += " (" + path + ")";
            }
            subjects.add(new Lineup.Subject(name, model, Optional.empty()));
        }
        if (random) {
            subjects.addAll(random(kernels));
        }
        if (subjects.isEmpty()) {
            throw new BadInputException("nothing to measure; give a MODEL, or --random --architecture NAME");
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("kernels", kernels.description());
        fields.put("trimmed_exports", trim);
        fields.put("processors", Runtime.getRuntime().availableProcessors());
        fields.put("first_image", first);
        first.ifPresent(f -> output.err().println(SpeedListing.text(f)));
        measure(subjects, kernels, measuring, fields);
        return 0;
    }

    private Rounds rounds() {
        if (rounds < 1 || rounds > 10_000 || !(turn > 0 && turn <= 600)) {
            throw new BadInputException("--rounds must be in 1..10000 and --turn in (0, 600]; correct them");
        }
        if (!(patience >= 0 && patience <= 3600)) {
            throw new BadInputException("--patience must be in [0, 3600] seconds; correct it");
        }
        threads().forEach(n -> check(n, "--threads"));
        batches().forEach(n -> check(n, "--batch"));
        if (against != null && !against.equals(ONNX_RUNTIME)) {
            throw new BadInputException("--against " + against + ": no such engine; give " + ONNX_RUNTIME);
        }
        if (trim && against == null) {
            throw new BadInputException(
                    "--trim is about the graphs that the other engine gets; add --against, or leave it out");
        }
        Set<Path> given = new HashSet<>();
        for (Path path : models) {
            if (!given.add(path)) {
                throw new BadInputException(path, "is given twice", "name each model once");
            }
        }
        if (random && source.architecture().isEmpty()) {
            throw new BadInputException("--random needs --architecture NAME; add it");
        }
        if (random && !models.isEmpty()) {
            throw new BadInputException(
                    "--random measures --architecture alone; give the models to another bench, or leave --random out");
        }
        if (random && source.imageSize().isPresent()) {
            throw new BadInputException("--random runs at the architecture's own size; leave --image-size out");
        }
        if (written != null && (!random || against != null)) {
            throw new BadInputException("--output goes with --random and without --against; correct that");
        }
        if (random && image != null) {
            throw new BadInputException("--image needs a MODEL; add one or leave --image out");
        }
        return new Rounds(rounds, turn, patience);
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

    private List<Integer> batches() {
        return batches.isEmpty() ? List.of(1, 8) : batches;
    }

    private void checkSoak(double minutes) {
        if (!(minutes > 0 && minutes <= LONGEST_SOAK)) {
            throw new BadInputException("--soak " + minutes + " is not a number of minutes up to a year; correct it");
        }
        if (models.size() != 1 || against != null || image != null) {
            throw new BadInputException(
                    "--soak runs one MODEL and nothing else; leave --against, --image and others out");
        }
        if (threads.size() > 1 || batches.size() > 1) {
            throw new BadInputException(
                    "--soak takes one number of --threads and one of --batch; leave the others out");
        }
    }

    /** The exit code: 0 if every result was the same, 1 otherwise. */
    private int soak(double minutes) throws InterruptedException {
        Kernels kernels = packing.kernels(output);
        VitModel model = ModelArgument.read(output, models.getFirst(), source).model();
        int images = batches.isEmpty() ? 1 : batches.getFirst();
        float[] pixels = TestImages.of(model.geometry(), SOAK_BATCHES * images, SEED);
        List<SoakCaller> callers = new ArrayList<>();
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, images)) {
            Soak.Result result;
            try {
                for (int t = 0; t < threads().getLast(); t++) {
                    callers.add(new SoakCaller(executor, pixels, SOAK_BATCHES, images));
                }
                result = new Soak(callers, SOAK_BATCHES, images)
                        .run(60 * minutes, s -> output.err().println(SoakListing.text(s)));
            } finally {
                callers.forEach(SoakCaller::close);
            }
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("kernels", kernels.description());
            fields.put("model", ModelArgument.describe(model));
            fields.put("threads", callers.size());
            fields.put("batch", images);
            fields.putAll(SoakListing.fields(result));
            output.print(fields, () -> SoakListing.print(result, output.out()));
            return result.difference().isEmpty() ? 0 : 1;
        }
    }

    /** The model that was asked for, in float32 and quantized. */
    private List<VitModel> randomModels(Kernels kernels) {
        VitModel model = RandomModel.of(source.architecture().orElseThrow(), SEED);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment pixels = arena.allocateFrom(JAVA_FLOAT, TestImages.of(model.geometry(), 1, SEED));
            return List.of(model, RangeQuantization.of(model, kernels, pixels));
        }
    }

    private List<Lineup.Subject> random(Kernels kernels) {
        return randomModels(kernels).stream()
                .map(m -> new Lineup.Subject("random " + ModelArgument.describe(m), m, Optional.empty()))
                .toList();
    }

    private int write(Path file) {
        VitModel quantized = randomModels(output.kernels()).getLast();
        QuantizedModelFile.write(
                file,
                quantized,
                new Provenance(Map.of("tool", "trivet " + TrivetCommand.VERSION, "method", "random weights, ranges")));
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", ModelArgument.describe(quantized));
        fields.put("output", file.toString());
        fields.put("bytes", file.toFile().length());
        output.print(
                fields,
                () -> output.out()
                        .println(String.format(
                                Locale.ROOT,
                                "%s with random weights: %,d bytes in %s",
                                ModelArgument.describe(quantized),
                                file.toFile().length(),
                                file)));
        return 0;
    }

    private OnnxRuntime peer() {
        return OnnxRuntime.find()
                .orElseThrow(() -> new BadInputException("--against " + ONNX_RUNTIME
                        + ": its module is not on the class path; start bench with ./trivet, which fetches it"));
    }

    private void measure(List<Lineup.Subject> subjects, Kernels kernels, Rounds measuring, Map<String, Object> fields)
            throws IOException, InterruptedException {
        Optional<OnnxRuntime> peer = against == null ? Optional.empty() : Optional.of(peer());
        Path folder = temporaryFolder();
        List<SpeedReport> reports = new ArrayList<>();
        Map<String, Agreement> agreements = new LinkedHashMap<>();
        Map<String, Anatomy> anatomies = new LinkedHashMap<>();
        try {
            List<Lineup.Subject> exported = peer.isPresent() ? exported(subjects, folder) : subjects;
            for (int threadCount : threads()) {
                for (int batch : batches()) {
                    output.err().println(SpeedListing.announcement(threadCount, batch));
                    try (Lineup lineup = new Lineup(exported, kernels, peer, threadCount, batch)) {
                        lineup.agreements().forEach((model, a) -> {
                            if (agreements.put(model, a) == null) {
                                output.err().println(SpeedListing.text(model, a));
                            }
                        });
                        if (patience > 0) {
                            double most =
                                    measuring.mostWaiting(lineup.contenders().size());
                            output.err().println(SpeedListing.waiting(most));
                        }
                        Map<Lineup.Entry, Rates> rates = measuring.measure(lineup.contenders(), lineup.pulse());
                        SpeedReport report = SpeedReport.of(subjects, rates, threadCount, batch, trim);
                        report.ratios().forEach(r -> output.err().println(SpeedListing.text(r)));
                        reports.add(report);
                    }
                }
            }
            for (Lineup.Subject subject : subjects) {
                anatomies.put(
                        subject.name(),
                        Anatomy.of(subject.model(), kernels, batches().getLast(), SEED, rounds * turn));
            }
        } finally {
            delete(folder);
        }
        OptionalLong peak = ProcessFigures.peakResidentBytes();
        fields.put("peak_resident_bytes", peak);
        fields.put("agreement", agreements);
        Map<String, Object> shares = new LinkedHashMap<>();
        Map<String, Object> weightBytes = new LinkedHashMap<>();
        anatomies.forEach((model, a) -> {
            shares.put(model, a.shares());
            weightBytes.put(model, a.weightBytes());
        });
        fields.put("weight_bytes", weightBytes);
        fields.put("operator_shares", shares);
        fields.put(
                "measurements",
                reports.stream().flatMap(r -> r.measurements().stream()).toList());
        fields.put("ratios", reports.stream().flatMap(r -> r.ratios().stream()).toList());
        output.print(fields, () -> SpeedListing.print(reports, agreements, anatomies, output.out()));
    }

    private List<Lineup.Subject> exported(List<Lineup.Subject> subjects, Path folder) {
        List<Lineup.Subject> exported = new ArrayList<>();
        for (Lineup.Subject subject : subjects) {
            Path file = folder.resolve(exported.size() + ".onnx");
            // A signal runs no finally block; the last registered goes first, so the folder is empty when its turn
            // comes.
            file.toFile().deleteOnExit();
            OnnxExport.write(subject.model(), TrivetCommand.VERSION, trim, file);
            exported.add(new Lineup.Subject(subject.name(), subject.model(), Optional.of(file)));
        }
        return exported;
    }

    private static Path temporaryFolder() {
        try {
            Path folder = Files.createTempDirectory("trivet-bench");
            folder.toFile().deleteOnExit();
            return folder;
        } catch (IOException e) {
            throw new BadInputException(
                    Path.of(System.getProperty("java.io.tmpdir")),
                    "no folder can be made in it (" + BadInputException.reason(e) + ")",
                    "set another with TRIVET_JAVA_OPTS=-Djava.io.tmpdir=DIR",
                    e);
        }
    }

    private static void delete(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
            Files.delete(folder);
        } catch (IOException _) {
            // What is left goes when the process ends; an error that led here is worth more.
        }
    }
}
