package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.IdxImages;
import dev.trivet.data.ImageFolder;
import dev.trivet.data.LabelledImages;
import dev.trivet.model.ConfigFile;
import dev.trivet.model.ModelConfig;
import dev.trivet.train.FloatTraining;
import dev.trivet.train.Precision;
import dev.trivet.train.TrainingListener;
import dev.trivet.train.TrainingSettings;
import dev.trivet.train.UpdateRule;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code trivet train}: a model from scratch on labelled images; the only command that needs PyTorch. */
@Command(
        name = "train",
        description = "Trains a model on labelled images. Fetches PyTorch (about 300 MB) on first use.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class TrainCommand implements Callable<Integer> {
    /** What is trained. */
    enum Recipe {
        FLOAT
    }

    private static final TrainingSettings DEFAULTS = TrainingSettings.defaults();

    @Mixin
    CommonOptions common;

    @Parameters(paramLabel = "CONFIG", description = "A config.json, a folder with one, or a hub name.")
    Path config;

    @Option(
            names = "--data",
            required = true,
            paramLabel = "DIR",
            description = "IDX files, or folders train and val with one folder per class.")
    Path data;

    @Option(
            names = {"-o", "--output"},
            required = true,
            paramLabel = "DIR",
            description = "Model, log and checkpoint.")
    Path output;

    @Option(names = "--recipe", description = "What is trained: float (default: ${DEFAULT-VALUE}).")
    Recipe recipe = Recipe.FLOAT;

    @Option(names = "--resume", description = "Go on from the checkpoint in the output folder.")
    boolean resume;

    @Option(names = "--epochs", paramLabel = "N", description = "Default: ${DEFAULT-VALUE}.")
    int epochs = DEFAULTS.epochs();

    @Option(names = "--batch", paramLabel = "N", description = "Images per step. Default: ${DEFAULT-VALUE}.")
    int batch = DEFAULTS.batchSize();

    @Option(names = "--learning-rate", paramLabel = "X", description = "Peak. Default: ${DEFAULT-VALUE}.")
    double learningRate = DEFAULTS.learningRate();

    @Option(names = "--weight-decay", paramLabel = "X", description = "Default: ${DEFAULT-VALUE}.")
    double weightDecay = DEFAULTS.weightDecay();

    @Option(names = "--warmup", paramLabel = "EPOCHS", description = "Default: ${DEFAULT-VALUE}.")
    double warmup = DEFAULTS.warmupEpochs();

    @Option(names = "--label-smoothing", paramLabel = "X", description = "Default: ${DEFAULT-VALUE}.")
    double labelSmoothing = DEFAULTS.labelSmoothing();

    @Option(names = "--clip", paramLabel = "NORM", description = "Largest gradient norm. Default: ${DEFAULT-VALUE}.")
    double clip = DEFAULTS.gradientClip();

    @Option(names = "--crop-padding", paramLabel = "PIXELS", description = "Random crop. Default: ${DEFAULT-VALUE}.")
    int cropPadding = DEFAULTS.cropPadding();

    @Option(names = "--no-flip", description = "Do not mirror images at random.")
    boolean noFlip;

    @Option(
            names = "--drop-path",
            paramLabel = "X",
            description = "Share of residual branches left out in the last block. Default: ${DEFAULT-VALUE}.")
    double dropPath = DEFAULTS.dropPath();

    @Option(names = "--average", paramLabel = "X", description = "Weight averaging. Default: ${DEFAULT-VALUE}.")
    double average = DEFAULTS.averageDecay();

    @Option(names = "--seed", paramLabel = "N", description = "Default: ${DEFAULT-VALUE}.")
    long seed = DEFAULTS.seed();

    @Option(names = "--optimizer", description = "adamw or muon. Default: ${DEFAULT-VALUE}.")
    UpdateRule optimizer = DEFAULTS.rule();

    @Option(names = "--precision", description = "fp32, bf16, or auto: the faster here. Default: ${DEFAULT-VALUE}.")
    Precision precision = DEFAULTS.precision();

    @Override
    public Integer call() {
        Path source = ModelArgument.resolve(common, config);
        ModelConfig model = ConfigFile.readTimm(Files.isDirectory(source) ? source.resolve("config.json") : source);
        LabelledImages train = split(true, model);
        LabelledImages test = split(false, model);
        FloatTraining training;
        try {
            TrainingSettings settings = new TrainingSettings(
                    epochs,
                    batch,
                    learningRate,
                    weightDecay,
                    Math.min(warmup, epochs),
                    labelSmoothing,
                    clip,
                    cropPadding,
                    !noFlip,
                    dropPath,
                    average,
                    seed,
                    optimizer,
                    precision,
                    common.threads());
            training = new FloatTraining(model.geometry(), model.preprocessing(), settings, output);
        } catch (IllegalArgumentException e) {
            throw new BadInputException(e.getMessage() + "; correct the option", e);
        }
        long start = System.nanoTime();
        double accuracy;
        try (Report report = new Report(common)) {
            accuracy = training.run(train, test, resume, report);
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("output", output.toString());
        fields.put("epochs", epochs);
        fields.put("images", test.size());
        fields.put("top1", accuracy);
        fields.put("seconds", (System.nanoTime() - start) / 1e9);
        common.print(
                fields,
                () -> common.out()
                        .printf(
                                Locale.ROOT,
                                "%s: top-1 %.2f %% on %,d test images after %d epochs%n",
                                output,
                                100 * accuracy,
                                test.size(),
                                epochs));
        return 0;
    }

    private LabelledImages split(boolean train, ModelConfig model) {
        if (IdxDataset.isIdx(data)) {
            return train ? IdxImages.train(data, model.labels()) : IdxImages.test(data, model.labels());
        }
        return ImageFolder.open(data.resolve(train ? "train" : "val"));
    }

    /** Epochs as lines, steps as a status line. */
    private static final class Report implements TrainingListener, AutoCloseable {
        private final CommonOptions common;
        private final Progress progress;

        Report(CommonOptions common) {
            this.common = common;
            progress = new Progress(common.err());
        }

        @Override
        public void note(String line) {
            common.err().println(line);
        }

        @Override
        public void step(StepReport r) {
            String what = String.format(
                    Locale.ROOT,
                    "epoch %d of %d, loss %.3f, accuracy %.2f %%, %.0f images/s",
                    r.epoch(),
                    r.epochs(),
                    r.loss(),
                    100 * r.accuracy(),
                    r.imagesPerSecond());
            progress.update(what, r.step(), r.steps(), r.left().toMillis() / 1e3);
        }

        @Override
        public void epoch(EpochReport r) {
            common.err()
                    .printf(
                            Locale.ROOT,
                            "epoch %d: loss %.4f, train %.2f %%, test %.2f %%, %.0f s%n",
                            r.epoch(),
                            r.loss(),
                            100 * r.trainAccuracy(),
                            100 * r.testAccuracy(),
                            r.seconds());
        }

        @Override
        public void close() {
            progress.close();
        }
    }
}
