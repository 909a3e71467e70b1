package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.format.MappedModel;
import dev.trivet.kernel.Kernels;
import dev.trivet.runtime.TrivetModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code trivet classify}: labels with probabilities. */
@Command(name = "classify", description = "Labels images.", mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class ClassifyCommand implements Callable<Integer> {
    @Mixin
    CommonOptions common;

    @Parameters(index = "0", paramLabel = "MODEL", description = "A float or quantized model, or a hub name.")
    Path model;

    @Parameters(index = "1..*", arity = "1..*", paramLabel = "IMAGE", description = "JPEG or PNG files.")
    List<Path> images;

    @Mixin
    SourceOptions source;

    @Option(names = "--top", paramLabel = "N", description = "Labels per image (default: ${DEFAULT-VALUE}).")
    int top = 5;

    @Option(names = "--strict", description = "Stop at the first image that cannot be read.")
    boolean strict;

    private record Result(String image, List<TrivetModel.Prediction> predictions) {}

    @Override
    public Integer call() {
        if (top < 1) {
            throw new BadInputException("--top " + top + ": give at least 1");
        }
        Kernels kernels;
        Path file;
        String precision;
        TrivetModel compiled;
        try (MappedModel mapped = ModelArgument.map(common, model, source)) {
            file = mapped.file();
            precision = ModelArgument.precision(mapped.model());
            kernels = common.kernels();
            compiled = new TrivetModel(mapped.model(), kernels, 1);
        }
        List<Result> results = new ArrayList<>();
        List<String> unreadable = new ArrayList<>();
        try (TrivetModel loaded = compiled;
                Progress progress = new Progress(common.err())) {
            for (Path image : images) {
                try {
                    results.add(new Result(image.toString(), loaded.classify(image, top)));
                } catch (BadInputException e) {
                    if (strict) {
                        throw e;
                    }
                    unreadable.add(String.valueOf(e.getMessage()));
                }
                progress.update("classifying", results.size() + unreadable.size(), images.size());
            }
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.toString());
        fields.put("precision", precision);
        fields.put("kernels", kernels.description());
        fields.put("images", results);
        fields.put("unreadable", unreadable);
        common.print(fields, () -> results.forEach(this::print));
        unreadable.forEach(line -> common.err().println("trivet: " + line));
        return unreadable.isEmpty() ? 0 : 2;
    }

    private void print(Result result) {
        common.out().println(result.image());
        for (TrivetModel.Prediction p : result.predictions()) {
            common.out().printf(Locale.ROOT, "  %5.1f %%  %s%n", 100 * p.probability(), p.label());
        }
    }
}
