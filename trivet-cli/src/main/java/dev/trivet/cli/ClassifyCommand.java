package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.ImageFolder;
import dev.trivet.format.MappedModel;
import dev.trivet.kernel.Kernels;
import dev.trivet.runtime.DatasetRun;
import dev.trivet.runtime.TrivetModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code trivet classify}: labels with probabilities, in the order of the images. */
@Command(name = "classify", description = "Labels images.", mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class ClassifyCommand implements Callable<Integer> {
    @Mixin
    CommonOptions common;

    @Mixin
    PackedWeights packing;

    @Parameters(index = "0", paramLabel = "MODEL", description = "A float or quantized model, or a hub name.")
    Path model;

    @Parameters(
            index = "1..*",
            arity = "1..*",
            paramLabel = "IMAGE",
            description = "JPEG or PNG files, or folders of them.")
    List<Path> images;

    @Mixin
    SourceOptions source;

    @Option(names = "--top", paramLabel = "N", description = "Labels per image (default: ${DEFAULT-VALUE}).")
    int top = 5;

    @Option(names = "--strict", description = "Stop at the first image that cannot be read.")
    boolean strict;

    private record Result(String image, List<TrivetModel.Prediction> predictions) {}

    /** An image's labels or why it has none. */
    private record Outcome(Optional<Result> result, Optional<BadInputException> failure) {}

    @Override
    public Integer call() {
        if (top < 1) {
            throw new BadInputException("--top " + top + ": give at least 1");
        }
        List<Path> files;
        Kernels kernels;
        Path file;
        String precision;
        TrivetModel compiled;
        try (MappedModel mapped = ModelArgument.map(common, model, source)) {
            file = mapped.file();
            precision = ModelArgument.precision(mapped.model());
            files = files(); // after the model, in case the two were swapped
            kernels = packing.kernels(common);
            compiled = new TrivetModel(mapped.model(), kernels, 1, common.threads());
        }
        List<Result> results = new ArrayList<>();
        List<String> unreadable = new ArrayList<>();
        try (TrivetModel loaded = compiled) {
            classify(loaded, files, results, unreadable);
        }
        if (common.json) {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("model", file.toString());
            fields.put("precision", precision);
            fields.put("kernels", kernels.description());
            fields.put("images", results);
            fields.put("unreadable", unreadable);
            common.print(fields, () -> {});
            unreadable.forEach(line -> common.err().println("trivet: " + line));
        }
        return unreadable.isEmpty() ? 0 : 2;
    }

    /** Folders give their images in order, those of folders below them included. */
    private List<Path> files() {
        List<Path> files = new ArrayList<>();
        for (Path image : images) {
            if (Files.isDirectory(image)) {
                ImageFolder folder = ImageFolder.unlabelled(image);
                for (int i = 0; i < folder.size(); i++) {
                    files.add(folder.path(i));
                }
            } else {
                files.add(image);
            }
        }
        return files;
    }

    /** Whether nobody reads any more ({@code | head}) or the disk is full, so that the rest would be in vain. */
    private boolean isUnread() {
        common.out().flush();
        return common.spec.commandLine().getOut().checkError();
    }

    /** Text comes out image by image; of one JSON object nothing can be printed before the end. */
    private void classify(TrivetModel loaded, List<Path> files, List<Result> results, List<String> unreadable) {
        // Closed before the model is, which waits for the images that are being classified.
        try (ExecutorService pool = Executors.newFixedThreadPool(common.threads());
                Progress progress = new Progress(common.err())) {
            Queue<Future<Outcome>> begun = new ArrayDeque<>();
            int next = 0;
            for (int done = 0; done < files.size(); done++) {
                while (next < files.size() && begun.size() < 2 * common.threads()) {
                    Path image = files.get(next++);
                    begun.add(pool.submit(() -> outcome(loaded, image)));
                }
                Future<Outcome> first = begun.remove();
                DatasetRun.await(List.of(first));
                Outcome outcome = first.resultNow();
                outcome.result().ifPresent(common.json ? results::add : this::print);
                outcome.failure().ifPresent(e -> leaveOut(e, unreadable));
                if (!common.json && isUnread()) {
                    return;
                }
                if (common.json) {
                    progress.update("classifying", done + 1, files.size());
                }
            }
        }
    }

    private Outcome outcome(TrivetModel loaded, Path image) {
        try {
            return new Outcome(
                    Optional.of(new Result(image.toString(), loaded.classify(image, top))), Optional.empty());
        } catch (BadInputException e) {
            return new Outcome(Optional.empty(), Optional.of(e));
        }
    }

    private void leaveOut(BadInputException reason, List<String> unreadable) {
        if (strict) {
            throw reason;
        }
        unreadable.add(String.valueOf(reason.getMessage()));
        if (!common.json) {
            common.err().println("trivet: " + reason.getMessage());
        }
    }

    private void print(Result result) {
        common.out().println(result.image());
        for (TrivetModel.Prediction p : result.predictions()) {
            common.out().printf(Locale.ROOT, "  %5.1f %%  %s%n", 100 * p.probability(), p.label());
        }
        common.out().flush();
    }
}
