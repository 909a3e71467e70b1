package dev.trivet.cli;

import dev.trivet.data.LabelledImages;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.TrivetModel;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where labelled images are and what to do with unreadable ones. */
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class DataOptions {
    private static final int NAMED = 5;

    @Option(
            names = "--data",
            required = true,
            paramLabel = "DIR",
            description = "Labelled images: one folder per class, or IDX files.")
    Path root;

    @Option(
            names = "--classes",
            paramLabel = "FILE",
            description = "Class order, one folder name per line, where the model does not name its classes.")
    @Nullable
    Path classes;

    @Option(names = "--strict", description = "Stop at the first image that cannot be read.")
    boolean strict;

    /** Once the models are warm, or the speeds of few images would be those of the JVM's compiler. */
    Evaluation evaluate(CommonOptions common, List<TrivetModel> models, LabelledImages images)
            throws InterruptedException {
        for (TrivetModel model : models) {
            model.warmUp();
        }
        try (Progress progress = new Progress(common.err())) {
            return Evaluation.run(
                    models,
                    images,
                    common.threads(),
                    strict,
                    (done, total) -> progress.update("evaluating", done, total));
        }
    }

    static void reportUnreadable(CommonOptions common, Evaluation result) {
        int count = result.unreadable().size();
        if (count == 0) {
            return;
        }
        common.err().println(count + (count == 1 ? " image" : " images") + " could not be read and left out:");
        result.unreadable().stream().limit(NAMED).forEach(line -> common.err().println("  " + line));
        if (count > NAMED) {
            common.err().println("  and " + (count - NAMED) + " more");
        }
    }
}
