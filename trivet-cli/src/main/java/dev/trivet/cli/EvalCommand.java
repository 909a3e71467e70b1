package dev.trivet.cli;

import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.TrivetModel;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** {@code trivet eval}: accuracy of a float or quantized model on a labelled folder. */
@Command(
        name = "eval",
        description = "Top-1 and top-5 of a float or quantized model on a labelled folder.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class EvalCommand implements Callable<Integer> {
    static final int BATCH = 4;

    @Mixin
    CommonOptions common;

    @Mixin
    PackedWeights packing;

    @Mixin
    DataOptions data;

    @Parameters(
            paramLabel = "MODEL",
            description = "A model folder, a .safetensors file, a quantized file or a hub name.")
    Path model;

    @Mixin
    SourceOptions source;

    @Override
    public Integer call() throws InterruptedException {
        ModelFile file = ModelArgument.read(common, model, source);
        LabelledImages images = Dataset.open(data.root, file.model().config(), data.classes);
        Kernels kernels = packing.kernels(common);
        try (TrivetModel loaded = new TrivetModel(file.model(), kernels, BATCH)) {
            Evaluation result = data.evaluate(common, List.of(loaded), images);
            print(file, kernels, result);
        }
        return 0;
    }

    private void print(ModelFile file, Kernels kernels, Evaluation result) {
        Evaluation.Score score = result.scores().getFirst();
        double inference = result.images() / result.timing().inferenceSeconds().getFirst();
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.file().toString());
        fields.put("architecture", file.model().config().architecture());
        fields.put("precision", ModelArgument.precision(file.model()));
        fields.put("bytes", file.bytes());
        fields.put("images", result.images());
        fields.put("top1", (double) score.top1() / result.images());
        fields.put("top5", (double) score.top5() / result.images());
        fields.put("top1_correct", score.top1());
        fields.put("top5_correct", score.top5());
        fields.put("seconds", result.timing().seconds());
        fields.put("images_per_second", inference);
        fields.put(
                "images_per_second_with_decoding",
                result.images() / result.timing().seconds());
        fields.put("threads", common.threads());
        fields.put("kernels", kernels.description());
        fields.put("unreadable", result.unreadable());
        common.print(fields, () -> {
            common.out().println(file.file() + ": " + ModelArgument.describe(file.model()));
            common.out()
                    .println("preprocessing: "
                            + ModelArgument.describe(file.model().config().preprocessing()));
            common.out()
                    .printf(
                            Locale.ROOT,
                            "%d images: top-1 %.2f %% (%d), top-5 %.2f %% (%d)%n",
                            result.images(),
                            100.0 * score.top1() / result.images(),
                            score.top1(),
                            100.0 * score.top5() / result.images(),
                            score.top5());
            common.out()
                    .printf(
                            Locale.ROOT,
                            "%.1f images/s inference, %.1f with decoding, %d threads, %.1f s in all%n",
                            inference,
                            result.images() / result.timing().seconds(),
                            common.threads(),
                            result.timing().seconds());
        });
        DataOptions.reportUnreadable(common, result);
    }
}
