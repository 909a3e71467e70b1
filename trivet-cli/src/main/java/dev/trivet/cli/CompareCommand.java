package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.cli.report.ModuleAdvice;
import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.ptq.ModuleNoise;
import dev.trivet.ptq.StreamBasis;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.LayerNoise;
import dev.trivet.runtime.TrivetModel;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** {@code trivet compare}: two models on the same images in one run. */
@Command(
        name = "compare",
        description = "Agreement, accuracy, speed and layer noise of two models on the same images.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class CompareCommand implements Callable<Integer> {
    /** Images for the layer comparison; a ratio over this many activations is stable to a tenth of a dB. */
    private static final int NOISE_IMAGES = 16;

    private static final int WORST = 3;

    @Mixin
    CommonOptions common;

    @Mixin
    PackedWeights packing;

    @Mixin
    DataOptions data;

    @Parameters(index = "0", paramLabel = "MODEL_A", description = "The model to compare with.")
    Path first;

    @Parameters(index = "1", paramLabel = "MODEL_B", description = "The model to judge.")
    Path second;

    @Mixin
    SourceOptions source;

    @Override
    public Integer call() throws InterruptedException {
        ModelFile a = ModelArgument.read(common, first, source);
        ModelFile b = ModelArgument.read(common, second, source);
        if (a.model().geometry().classes() != b.model().geometry().classes()) {
            throw new BadInputException(
                    second,
                    "has " + b.model().geometry().classes() + " classes where " + first + " has "
                            + a.model().geometry().classes(),
                    "compare models of the same task");
        }
        LabelledImages images = Dataset.open(data.root, a.model().config(), data.classes);
        Kernels kernels = packing.kernels(common);
        try (TrivetModel modelA = new TrivetModel(a.model(), kernels, EvalCommand.BATCH);
                TrivetModel modelB = new TrivetModel(b.model(), kernels, EvalCommand.BATCH)) {
            Evaluation result = data.evaluate(common, List.of(modelA, modelB), images);
            Noise noise = a.model().geometry().equals(b.model().geometry())
                    ? Noise.measure(a, b, modelA, modelB, kernels, images)
                    : new Noise(List.of(), List.of(), "");
            print(a, b, kernels, result, noise);
        }
        return 0;
    }

    /**
     * @param layers after each layer, noise of earlier ones included
     * @param modules each on the float model's input
     * @param basis how the two models' tokens are related; empty if they are not comparable at all
     */
    private record Noise(List<LayerNoise.Entry> layers, List<ModuleAdvice> modules, String basis) {
        static Noise measure(
                ModelFile fileA,
                ModelFile fileB,
                TrivetModel a,
                TrivetModel b,
                Kernels kernels,
                LabelledImages images) {
            ModuleNoise modules = ModuleNoise.measure(
                    fileA.model(),
                    fileB.model(),
                    kernels,
                    ReadableImages.of(images, a.preprocessor(), NOISE_IMAGES),
                    NOISE_IMAGES);
            StreamBasis basis = modules.basis();
            boolean related = basis.relation() != StreamBasis.Relation.UNRELATED;
            return new Noise(
                    related ? LayerNoise.measure(a, b, images, NOISE_IMAGES, basis::map) : List.of(),
                    ModuleAdvice.of(modules, fileB.model()),
                    basis.description());
        }
    }

    private void print(ModelFile a, ModelFile b, Kernels kernels, Evaluation result, Noise noise) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("images", result.images());
        fields.put("a", side(a, result, 0));
        fields.put("b", side(b, result, 1));
        fields.put("agreement", result.agreement());
        fields.put("logit_sqnr_db", result.logitSqnrDb());
        fields.put("speedup", speed(result, 1) / speed(result, 0));
        fields.put("threads", common.threads());
        fields.put("kernels", kernels.description());
        fields.put("layers", noise.layers());
        fields.put("modules", noise.modules());
        fields.put("modules_basis", noise.basis());
        fields.put("unreadable", result.unreadable());
        common.print(fields, () -> {
            Table table = new Table("", "top-1", "top-5", "MB", "images/s");
            table.row(row(a, result, 0));
            table.row(row(b, result, 1));
            table.print(common.out());
            common.out()
                    .printf(
                            Locale.ROOT,
                            "%d images: agreement %.2f %%, %s, the second runs %.2f times as fast%n",
                            result.images(),
                            100 * result.agreement(),
                            logits(result.logitSqnrDb()),
                            speed(result, 1) / speed(result, 0));
            String worst = worst(noise.layers());
            if (!worst.isEmpty()) {
                common.out().println("noisiest layers, with the noise of those before: " + worst);
            }
            print(noise);
        });
        DataOptions.reportUnreadable(common, result);
    }

    private void print(Noise noise) {
        List<ModuleAdvice> worst = ModuleAdvice.worst(noise.modules(), WORST);
        if (worst.isEmpty()) {
            if (noise.modules().isEmpty() && !noise.basis().isEmpty()) {
                common.out().println(noise.basis());
            }
            return;
        }
        common.out().println("worst modules: SQNR on the first model's input, and noise added to the second's stream");
        Table table = new Table("  module", "SQNR", "adds", "bits");
        worst.forEach(m -> table.row("  " + m.module(), m.sqnrText(), m.addedText(), m.bitsText()));
        table.print(common.out());
        worst.forEach(m -> common.out().println("  " + m.module() + ": " + m.advice()));
    }

    private static String logits(double sqnrDb) {
        if (sqnrDb == Double.POSITIVE_INFINITY) {
            return "equal logits";
        }
        return Double.isFinite(sqnrDb)
                ? String.format(Locale.ROOT, "logit SQNR %.1f dB", sqnrDb)
                : "the logits are not numbers";
    }

    private static String worst(List<LayerNoise.Entry> noise) {
        return noise.stream()
                .filter(e -> e.sqnrDb() != Double.POSITIVE_INFINITY)
                // NaN is the worst there is, and would sort last.
                .sorted(Comparator.comparingDouble(
                        e -> Double.isNaN(e.sqnrDb()) ? Double.NEGATIVE_INFINITY : e.sqnrDb()))
                .limit(WORST)
                .map(e -> String.format(Locale.ROOT, "%s %.1f dB", e.layer(), e.sqnrDb()))
                .reduce((x, y) -> x + ", " + y)
                .orElse("");
    }

    private static double speed(Evaluation result, int model) {
        return result.images() / result.timing().inferenceSeconds().get(model);
    }

    private static Map<String, Object> side(ModelFile file, Evaluation result, int model) {
        Evaluation.Score score = result.scores().get(model);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.file().toString());
        fields.put("precision", ModelArgument.precision(file.model()));
        fields.put("top1", (double) score.top1() / result.images());
        fields.put("top5", (double) score.top5() / result.images());
        fields.put("top1_correct", score.top1());
        fields.put("bytes", file.bytes());
        fields.put("images_per_second", speed(result, model));
        return fields;
    }

    private static String[] row(ModelFile file, Evaluation result, int model) {
        Evaluation.Score score = result.scores().get(model);
        return new String[] {
            file.file().getFileName() + " (" + ModelArgument.precision(file.model()) + ")",
            String.format(Locale.ROOT, "%.2f %%", 100.0 * score.top1() / result.images()),
            String.format(Locale.ROOT, "%.2f %%", 100.0 * score.top5() / result.images()),
            String.format(Locale.ROOT, "%.2f", file.bytes() / 1e6),
            String.format(Locale.ROOT, "%.1f", speed(result, model))
        };
    }
}
