package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.ptq.LiuSearch;
import dev.trivet.ptq.LiuSettings;
import dev.trivet.ptq.QuantizationPlan;
import dev.trivet.ptq.RankReduction;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
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
    /** How weight scales are shared. */
    enum Granularity {
        CHANNEL,
        TENSOR;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** Which grid activations are on. */
    enum Grid {
        ASYMMETRIC,
        SYMMETRIC;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    @Mixin
    CommonOptions common;

    @Parameters(paramLabel = "MODEL", description = "A float model: a folder or a .safetensors file.")
    Path model;

    @Option(names = "--architecture", paramLabel = "NAME", description = "Use this preset instead of config.json.")
    @Nullable
    String architecture;

    @Option(
            names = "--calibration",
            required = true,
            paramLabel = "DIR",
            description = "Folder of images in any layout, or IDX files; labels are not used.")
    Path calibration;

    @Option(
            names = "--images",
            paramLabel = "N",
            description = "How many images to calibrate with (default: ${DEFAULT-VALUE}).")
    int images = 100;

    @Option(
            names = "--seed",
            paramLabel = "N",
            description = "Draws the images; the same seed gives the same file (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(names = "--bits", paramLabel = "N", description = "Bits of weights and activations; only 8 so far.")
    int bits = 8;

    @Option(
            names = "--weights-per",
            paramLabel = "UNIT",
            description = "One weight scale per ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    Granularity granularity = Granularity.CHANNEL;

    @Option(
            names = "--activations",
            paramLabel = "GRID",
            description = "asymmetric, or symmetric as in the paper (default: ${DEFAULT-VALUE}).")
    Grid grid = Grid.ASYMMETRIC;

    @Option(
            names = "--candidates",
            paramLabel = "N",
            description = "Scales tried per operand and round (default: ${DEFAULT-VALUE}).")
    int candidates = 21;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            description = "Most rounds of the search, 0 to 20; 0 keeps the first guess (default: ${DEFAULT-VALUE}).")
    int rounds = 3;

    @Option(names = "--strict", description = "Stop at the first image that cannot be read.")
    boolean strict;

    @Option(
            names = {"-o", "--output"},
            required = true,
            paramLabel = "FILE",
            description = "The quantized file; missing folders are made.")
    Path output;

    @Override
    public Integer call() {
        LiuSettings settings = settings();
        ModelFile file = ModelArgument.read(common, model, architecture);
        if (file.model().isQuantized()) {
            throw new BadInputException(model, "is quantized already", "quantize the float model");
        }
        checkWritable(file.file());
        CalibrationSample sample = CalibrationSample.draw(
                calibration, images, seed, file.model().config().preprocessing(), strict);
        sample.unreadable().forEach(line -> common.err().println("left out: " + line));
        Kernels kernels = common.kernels();
        common.err()
                .printf(
                        Locale.ROOT,
                        "%d calibration images; the search takes up to %d MB of memory, whatever their number%n",
                        sample.size(),
                        LiuSearch.memoryBound(file.model().vit(), settings) >> 20);
        long start = System.nanoTime();
        VitModel quantized;
        try (Progress progress = new Progress(common.err())) {
            quantized = LiuSearch.quantize(
                    file.model().withLabels(ModelArgument.labels(file.model().config())),
                    kernels,
                    sample,
                    QuantizationPlan.uniform(file.model().vit(), bits, bits, bits),
                    settings,
                    progress::update);
        }
        double seconds = (System.nanoTime() - start) / 1e9;
        QuantizedModelFile.write(output, quantized, provenance(file, sample, settings));
        report(file, quantized, sample, kernels, seconds);
        return 0;
    }

    private LiuSettings settings() {
        if (bits != 8) {
            throw new BadInputException("--bits " + bits + ": this version writes 8 bits; leave the option out");
        }
        if (images < 1) {
            throw new BadInputException("--images " + images + ": give at least 1");
        }
        try {
            return new LiuSettings(
                    false,
                    false,
                    RankReduction.MEAN,
                    false,
                    granularity == Granularity.CHANNEL,
                    grid == Grid.ASYMMETRIC,
                    candidates,
                    rounds,
                    seed,
                    common.threads());
        } catch (IllegalArgumentException e) {
            throw new BadInputException(e.getMessage() + "; correct --candidates, --rounds or --threads", e);
        }
    }

    /** Finds out before the work, not after it. */
    private void checkWritable(Path source) {
        String otherName = "give the name of a file to write";
        if (Files.isDirectory(output)) {
            throw new BadInputException(output, "is a folder", otherName);
        }
        if (Files.exists(output) && !Files.isRegularFile(output)) {
            throw new BadInputException(output, "is not a regular file", otherName);
        }
        try {
            if (Files.exists(output) && Files.isSameFile(output, source)) {
                throw new BadInputException(output, "is the model itself", "give another name");
            }
        } catch (IOException _) {
            // Then they are not the same; writing tells what is wrong.
        }
        @Nullable Path folder = output.toAbsolutePath().getParent();
        while (folder != null && !Files.exists(folder)) {
            folder = folder.getParent(); // missing folders will be made
        }
        if (folder != null && !Files.isDirectory(folder)) {
            throw new BadInputException(folder, "is not a folder", "choose another place for " + output);
        }
        if (folder != null && !Files.isWritable(folder)) {
            throw new BadInputException(
                    output, "cannot be written (no permission in " + folder + ")", "choose another place");
        }
    }

    private Provenance provenance(ModelFile file, CalibrationSample sample, LiuSettings settings) {
        Map<String, String> facts = new TreeMap<>();
        facts.put("tool", "trivet " + TrivetCommand.VERSION);
        facts.put("source_sha256", Sha256.of(file.files()));
        facts.put("calibration_sha256", sample.sha256());
        facts.put("calibration_images", String.valueOf(sample.size()));
        facts.put("seed", String.valueOf(sample.seed()));
        facts.put("weights", bits + " bits per " + (settings.perChannel() ? "channel" : "tensor"));
        facts.put("activations", bits + " bits " + (settings.asymmetric() ? "asymmetric" : "symmetric"));
        facts.put("search", settings.candidates() + " candidates, at most " + settings.rounds() + " rounds, Pearson");
        return new Provenance(facts);
    }

    private void report(ModelFile file, VitModel quantized, CalibrationSample sample, Kernels kernels, double seconds) {
        long bytes;
        try {
            bytes = Files.size(output);
        } catch (IOException e) {
            throw new BadInputException(
                    output, "cannot be read back (" + BadInputException.reason(e) + ")", "write it again", e);
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.file().toString());
        fields.put("output", output.toString());
        fields.put("architecture", quantized.config().architecture());
        fields.put("precision", ModelArgument.precision(quantized));
        fields.put("source_bytes", file.bytes());
        fields.put("bytes", bytes);
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
                                output,
                                ModelArgument.describe(quantized),
                                bytes / 1e6,
                                file.bytes() / 1e6,
                                Progress.duration(seconds)));
    }
}
