package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.cli.report.HtmlReport;
import dev.trivet.cli.report.ReportInput;
import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.ptq.Quantization;
import dev.trivet.ptq.QuantizationPlan;
import java.nio.file.Path;
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

/** {@code trivet quantize}: a float model to a quantized file. */
@Command(
        name = "quantize",
        description = "Quantizes a float model with a few unlabelled images.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class QuantizeCommand implements Callable<Integer> {
    /** Images that seeds are compared on where none are labelled. */
    private static final int OTHERS = 200;
    /** With fewer calibration images fits follow single ones. */
    private static final int FEW_IMAGES = 16;

    @Mixin
    CommonOptions common;

    @Mixin
    MethodOptions method;

    @Mixin
    MixedOptions mixed;

    @Parameters(
            paramLabel = "MODEL",
            description = "A float model: a folder, a weights file, or a name on the Hugging Face hub.")
    Path model;

    @Mixin
    SourceOptions source;

    @Option(
            names = "--calibration",
            paramLabel = "DIR",
            description = "Folder of images in any layout, or IDX files; labels are not used.")
    @Nullable
    Path calibration;

    @Option(
            names = "--images",
            paramLabel = "N",
            description = "How many images to calibrate with (default: ${DEFAULT-VALUE}).")
    int images = 128;

    @Option(
            names = "--seed",
            paramLabel = "N",
            description = "Draws the images and what the method draws; the same seed gives the same file (default:"
                    + " ${DEFAULT-VALUE}).")
    long seed;

    @Option(
            names = "--seeds",
            paramLabel = "N",
            description = "Quantize with so many seeds, a file each, and report mean and spread.")
    @Nullable
    Integer seeds;

    @Option(
            names = "--data",
            paramLabel = "DIR",
            description = "Labelled images that --seeds and --report measure on; they are never calibrated on.")
    @Nullable
    Path data;

    @Option(names = "--classes", paramLabel = "FILE", description = "Class order of --data, one folder name per line.")
    @Nullable
    Path classes;

    @Option(names = "--plan", paramLabel = "FILE", description = "Take the widths of all operators from there (JSON).")
    @Nullable
    Path planFile;

    @Option(
            names = "--plan-only",
            description = "Print what would be done with each operator, and stop; with --json in the form that --plan"
                    + " takes.")
    boolean planOnly;

    @Option(names = "--resume", description = "Continue a run that was cut off; its state is in OUTPUT.partial.")
    boolean resume;

    @Option(names = "--report", paramLabel = "FILE", description = "Write a page (HTML) about the result.")
    @Nullable
    Path report;

    @Option(names = "--strict", description = "Stop at the first image that cannot be read.")
    boolean strict;

    @Option(
            names = {"-o", "--output"},
            paramLabel = "FILE",
            description = "The quantized file; missing folders are made.")
    @Nullable
    Path output;

    @Override
    public Integer call() {
        mixed.check();
        checkNumbers();
        method.check(common.spec.commandLine().getParseResult());
        if (planFile != null) {
            method.checkNoWidths(common.spec.commandLine().getParseResult());
        }
        method.settings(seed, common.threads());
        ModelFile file = ModelArgument.read(common, model, source);
        if (file.model().isQuantized()) {
            throw new BadInputException(model, "is quantized already", "quantize the float model");
        }
        QuantizationPlan plan = plan(file);
        if (planOnly) {
            new PlanListing(file.model(), plan, method).print(common);
            return 0;
        }
        Path target = required(output, "the quantized file goes", "-o FILE");
        Path folder = required(calibration, "the calibration images are", "--calibration DIR");
        checkOutputs(file, target);
        Optional<LabelledImages> labelled = Optional.ofNullable(data)
                .map(root -> Dataset.open(root, file.model().config(), classes));
        Kernels kernels = common.kernels();
        if (seeds == null) {
            long start = System.nanoTime();
            CalibrationSample sample = sample(file, folder, seed);
            quantize(file, kernels, plan, sample, target);
            double seconds = (System.nanoTime() - start) / 1e9;
            ModelFile quantized = ModelFile.read(target, Optional.empty());
            print(file, quantized, sample, kernels, seconds);
            writeReport(file, quantized, sample, labelled, kernels);
        } else {
            runSeeds(file, folder, kernels, plan, target, labelled);
        }
        return 0;
    }

    private void checkOutputs(ModelFile file, Path target) {
        int count = seeds == null ? 1 : seeds;
        for (int s = 0; s < count; s++) {
            OutputPath.check(ofSeed(target, s), file.files());
        }
        if (report != null) {
            OutputPath.check(report, file.files());
            if (report.toAbsolutePath()
                            .normalize()
                            .equals(target.toAbsolutePath().normalize())
                    || OutputPath.isSame(report, target)) {
                throw new BadInputException(report, "is where the quantized file goes", "give the page another name");
            }
        }
    }

    private static Path required(@Nullable Path path, String what, String option) {
        if (path == null) {
            throw new BadInputException("where " + what + " is not said; give " + option);
        }
        return path;
    }

    private void checkNumbers() {
        if (images < 1) {
            throw new BadInputException("--images " + images + ": give at least 1");
        }
        if (seeds != null && (seeds < 1 || seeds > 1000)) {
            throw new BadInputException("--seeds " + seeds + " is not between 1 and 1000; correct it");
        }
        if (planFile != null && mixed.mixed) {
            throw new BadInputException("--plan and --mixed both choose widths; leave one of them out");
        }
        if (mixed.mixed && method.weights().ternary()) {
            throw new BadInputException(
                    "--mixed gives every module a width of its own, 2 bits or more; leave it or ternary out");
        }
        if (data != null && seeds == null && report == null) {
            throw new BadInputException("--data is for --seeds and --report; use trivet eval for a file");
        }
        if (classes != null && data == null) {
            throw new BadInputException("--classes is the class order of --data; add that, or leave it out");
        }
        if (report != null && seeds != null) {
            throw new BadInputException("--report is about one file; leave --seeds out");
        }
    }

    private QuantizationPlan plan(ModelFile file) {
        return planFile == null
                ? method.plan(file.model().geometry())
                : PlanFile.read(planFile, file.model().geometry());
    }

    private CalibrationSample sample(ModelFile file, Path folder, long drawn) {
        CalibrationSample sample = CalibrationSample.draw(
                folder, images, drawn, file.model().config().preprocessing(), strict);
        sample.unreadable().forEach(line -> common.err().println("left out: " + line));
        return sample;
    }

    private void quantize(
            ModelFile file, Kernels kernels, QuantizationPlan plan, CalibrationSample sample, Path target) {
        QuantizationRun run = new QuantizationRun(common, file, kernels, method, mixed, plan, sample, target);
        Quantization quantization = run.quantization(plan);
        long bound = quantization.memoryBound();
        if (mixed.mixed) {
            bound = Math.max(bound, quantization.sensitivityMemoryBound());
        }
        common.err()
                .printf(
                        Locale.ROOT,
                        "%d calibration images; the search takes up to %d MB of memory beside the model, whatever their"
                                + " number%n",
                        sample.size(),
                        bound >> 20);
        if (sample.size() < FEW_IMAGES) {
            common.err()
                    .println("few calibration images: " + FEW_IMAGES
                            + " and more give a better model, 128 are the default; trivet compare says how good it is");
        }
        try (Progress progress = new Progress(common.err())) {
            run.run(resume, progress);
        }
    }

    private void runSeeds(
            ModelFile file,
            Path folder,
            Kernels kernels,
            QuantizationPlan plan,
            Path target,
            Optional<LabelledImages> labelled) {
        SeedRuns runs = new SeedRuns(common, kernels, labelled.isPresent(), strict);
        int count = seeds == null ? 1 : seeds;
        for (int s = 0; s < count; s++) {
            CalibrationSample sample = sample(file, folder, seed + s);
            LabelledImages judges = labelled.orElseGet(() -> sample.others(OTHERS));
            if (judges.size() == 0) {
                throw new BadInputException(
                        folder, "has no images left to judge by", "lower --images or give labelled ones with --data");
            }
            Path one = ofSeed(target, s);
            common.err().println("seed " + (seed + s) + " to " + one);
            quantize(file, kernels, plan, sample, one);
            runs.add(seed + s, file, ModelFile.read(one, Optional.empty()), judges);
        }
        Map<String, Object> fields = new LinkedHashMap<>(runs.fields());
        fields.put("kernels", kernels.description());
        common.print(fields, runs::print);
    }

    /** @param s which of the seeds; the first has the name that was given */
    private Path ofSeed(Path target, int s) {
        if (s == 0) {
            return target;
        }
        String name = target.getFileName().toString();
        int dot = name.lastIndexOf('.');
        String stem = dot > 0 ? name.substring(0, dot) : name;
        return target.resolveSibling(stem + "-seed" + (seed + s) + (dot > 0 ? name.substring(dot) : ""));
    }

    private void print(ModelFile file, ModelFile quantized, CalibrationSample sample, Kernels kernels, double seconds) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.file().toString());
        fields.put("output", quantized.file().toString());
        fields.put("architecture", quantized.model().config().architecture());
        fields.put("method", method.method.toString());
        fields.put("precision", ModelArgument.precision(quantized.model()));
        fields.put("source_bytes", file.bytes());
        fields.put("bytes", quantized.bytes());
        fields.put("calibration_images", sample.size());
        fields.put("seed", sample.seed());
        fields.put("seconds", seconds);
        fields.put("threads", common.threads());
        fields.put("kernels", kernels.description());
        fields.put("unreadable", sample.unreadable());
        common.print(
                fields,
                () -> common.out()
                        .printf(
                                Locale.ROOT,
                                "%s: %s, %.2f MB from %.2f MB in %s%n",
                                quantized.file(),
                                ModelArgument.describe(quantized.model()),
                                quantized.bytes() / 1e6,
                                file.bytes() / 1e6,
                                Progress.duration(seconds)));
    }

    private void writeReport(
            ModelFile file,
            ModelFile quantized,
            CalibrationSample sample,
            Optional<LabelledImages> labelled,
            Kernels kernels) {
        if (report == null) {
            return;
        }
        String command =
                ReportCommand.line(common.spec.commandLine().getParseResult().originalArgs());
        try (Progress progress = new Progress(common.err())) {
            HtmlReport.write(
                    report,
                    new ReportInput(file, quantized, sample, labelled, List.of(command)),
                    kernels,
                    common.threads(),
                    progress::update);
        }
        common.err().println("report: " + report);
    }
}
