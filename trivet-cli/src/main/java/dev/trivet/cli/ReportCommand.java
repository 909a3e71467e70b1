package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.cli.report.HtmlReport;
import dev.trivet.cli.report.ReportInput;
import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.model.Geometry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code trivet report}: one HTML page about a quantized model. */
@Command(
        name = "report",
        description =
                "Writes one HTML page about a quantized model: size, accuracy, bits, noise, histograms, attention, origin.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class ReportCommand implements Callable<Integer> {
    @Mixin
    CommonOptions common;

    @Parameters(paramLabel = "QUANTIZED", description = "A quantized file.")
    Path model;

    @Option(
            names = "--against",
            required = true,
            paramLabel = "MODEL",
            description = "The float model that it was made from.")
    Path original;

    @Option(
            names = "--architecture",
            paramLabel = "NAME",
            description = "Use this preset for the float model instead of config.json.")
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
            description = "How many of them to run (default: as many as calibrated the model, at most 100).")
    @Nullable
    Integer images;

    @Option(
            names = "--seed",
            paramLabel = "N",
            description = "Draws the images (default: what drew those that calibrated the model).")
    @Nullable
    Long seed;

    @Option(names = "--data", paramLabel = "DIR", description = "Labelled images to measure accuracy on.")
    @Nullable
    Path data;

    @Option(names = "--classes", paramLabel = "FILE", description = "Class order of --data, one folder name per line.")
    @Nullable
    Path classes;

    @Option(
            names = {"-o", "--output"},
            required = true,
            paramLabel = "FILE",
            description = "The page.")
    Path output;

    @Override
    public Integer call() {
        ModelFile quantized = ModelArgument.read(common, model, Optional.empty(), OptionalInt.empty());
        if (!quantized.model().isQuantized()) {
            throw new BadInputException(model, "is not quantized", "quantize it first, or swap the two models");
        }
        ModelFile floating = ModelArgument.read(
                common,
                original,
                Optional.ofNullable(architecture),
                OptionalInt.of(quantized.model().geometry().imageSize()));
        if (floating.model().isQuantized()) {
            throw new BadInputException(
                    original, "is quantized, too", "give the float model that " + model + " was made from");
        }
        if (!floating.model().geometry().equals(quantized.model().geometry())) {
            throw new BadInputException(
                    original, "is not what " + model + " was made from", "give the float model of the same geometry");
        }
        OutputPath.check(
                output,
                Stream.concat(quantized.files().stream(), floating.files().stream())
                        .toList());
        if (classes != null && data == null) {
            throw new BadInputException("--classes is the class order of --data; add that, or leave it out");
        }
        if (images != null && images < 1) {
            throw new BadInputException("--images " + images + ": give at least 1");
        }
        Map<String, String> facts =
                quantized.provenance().map(Provenance::facts).orElse(Map.of());
        long drawnWith = seed != null ? seed : number(facts, "seed", 0);
        int count = images != null ? images : Math.clamp(number(facts, "calibration_images", 16), 1, 100);
        CalibrationSample sample = CalibrationSample.draw(
                calibration, count, drawnWith, quantized.model().config().preprocessing(), false);
        sample.unreadable().forEach(line -> common.err().println("left out: " + line));
        Optional<LabelledImages> labelled = data == null
                ? Optional.empty()
                : Optional.of(Dataset.open(data, quantized.model().config(), classes));
        ReportInput input = new ReportInput(
                floating,
                quantized,
                sample,
                labelled,
                commands(quantized.model().geometry(), facts, sample));
        try (Progress progress = new Progress(common.err())) {
            HtmlReport.write(output, input, common.kernels(), common.threads(), progress::update);
        }
        print();
        return 0;
    }

    private static long number(Map<String, String> facts, String name, long otherwise) {
        try {
            return Long.parseLong(facts.getOrDefault(name, ""));
        } catch (NumberFormatException _) {
            return otherwise;
        }
    }

    /** How to make the file from the images it was made from, where method and bits say all of it, and the page. */
    private List<String> commands(Geometry geometry, Map<String, String> facts, CalibrationSample sample) {
        List<String> commands = new ArrayList<>();
        MethodOptions.of(facts, geometry).ifPresent(method -> {
            List<Object> words =
                    new ArrayList<>(List.of("quantize", original, "--method", method.method, "--bits", method.bits));
            if (architecture != null) {
                words.addAll(List.of("--architecture", architecture));
            }
            words.addAll(List.of("--image-size", geometry.imageSize(), "--calibration", calibration));
            words.addAll(List.of("--images", facts.get("calibration_images"), "--seed", facts.get("seed")));
            words.addAll(List.of("-o", model));
            commands.add(line(words));
        });
        List<Object> words = new ArrayList<>(List.of(
                "report",
                model,
                "--against",
                original,
                "--calibration",
                calibration,
                "--images",
                sample.size(),
                "--seed",
                sample.seed()));
        if (architecture != null) {
            words.addAll(List.of("--architecture", architecture));
        }
        if (data != null) {
            words.addAll(List.of("--data", data));
        }
        if (classes != null) {
            words.addAll(List.of("--classes", classes));
        }
        words.addAll(List.of("-o", output));
        commands.add(line(words));
        return commands;
    }

    /**
     * A line for a shell.
     *
     * @param words what follows the program's name
     */
    static String line(List<?> words) {
        return "trivet "
                + words.stream()
                        .map(String::valueOf)
                        .map(word ->
                                word.matches("[A-Za-z0-9_./:=@%+,-]+") ? word : "'" + word.replace("'", "'\\''") + "'")
                        .collect(Collectors.joining(" "));
    }

    private void print() {
        long bytes;
        try {
            bytes = Files.size(output);
        } catch (IOException e) {
            throw new BadInputException(
                    output, "cannot be read back (" + BadInputException.reason(e) + ")", "write it again", e);
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", model.toString());
        fields.put("against", original.toString());
        fields.put("output", output.toString());
        fields.put("bytes", bytes);
        common.print(
                fields,
                () -> common.out()
                        .printf(java.util.Locale.ROOT, "%s: %,d bytes, open it in a browser%n", output, bytes));
    }
}
