package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.IntStream;

/**
 * Trains a model by a {@link Recipe}, in one or two {@link Stage}s. The output folder holds, after each epoch, {@code log.csv} and
 * {@code curve.svg}, {@code checkpoint.safetensors} to resume from, and the model: {@code model.safetensors} with {@code config.json} in timm's form,
 * or {@code quantized.safetensors} where the recipe quantizes. Each file is replaced as a whole. The kept model is that of the last epoch,
 * never the best on the test images: choosing by them would make their accuracy an overestimate.
 */
public final class Training {
    /** The quantized model in the output folder. */
    public static final String QUANTIZED = "quantized.safetensors";

    private final ModelConfig config;
    private final Optional<VitModel> start;
    private final Optional<VitModel> latent;
    private final TrainingSettings settings;
    private final Path output;

    /**
     * A training from scratch.
     *
     * @param output folder to write, created if missing
     * @throws IllegalArgumentException if preprocessing and model do not fit each other, or one of them is what timm's config cannot
     *     say: images that are padded or squashed, a LayerNorm with another epsilon, windows padded before the shift; if the recipe starts from a model
     */
    public Training(ModelConfig config, TrainingSettings settings, Path output) {
        this(config, Optional.empty(), Optional.empty(), settings, output);
        if (settings.recipe() != Recipe.FLOAT) {
            throw new IllegalArgumentException("recipe "
                    + settings.recipe().name().toLowerCase(java.util.Locale.ROOT) + " starts from a float model");
        }
        requireDescribable();
    }

    /**
     * A training from a float model, which for recipes that quantize is also what is learned from where the settings ask for that.
     *
     * @param output folder to write, created if missing
     * @throws IllegalArgumentException if the model is quantized or the recipe is {@link Recipe#FLOAT}; with {@link Recipe#FINETUNE} also
     *     where timm's config cannot describe the model
     */
    public Training(VitModel start, TrainingSettings settings, Path output) {
        this(start, Optional.empty(), settings, output);
    }

    /**
     * A ternary training that begins with what a ternary file computes, for example one that post-training quantization made of the float
     * model; from the float model itself it may learn. With {@link Recipe#TERNARY} only.
     *
     * @param begin the file's model
     * @param output folder to write, created if missing
     * @throws IllegalArgumentException as without it, and if the two models differ in geometry or preprocessing or the settings would not give back the file's codes
     */
    public Training(VitModel start, VitModel begin, TrainingSettings settings, Path output) {
        this(start, Optional.of(begin), settings, output);
    }

    private Training(VitModel start, Optional<VitModel> begin, TrainingSettings settings, Path output) {
        this(
                start.config(),
                Optional.of(start),
                begin.map(model -> QuantizedStart.of(model, settings)),
                settings,
                output);
        if (settings.recipe() == Recipe.FLOAT) {
            throw new IllegalArgumentException("recipe float starts from a config");
        }
        if (start.isQuantized()) {
            throw new IllegalArgumentException("the model is quantized");
        }
        if (!settings.recipe().quantizes()) {
            requireDescribable();
        }
        if (begin.isPresent() && !sameShape(start.config(), begin.get().config())) {
            throw new IllegalArgumentException("the ternary file is not one of this model");
        }
    }

    private void requireDescribable() {
        if (config.preprocessing().resize() < config.preprocessing().imageSize()) {
            throw new IllegalArgumentException("timm's config cannot say that images are padded");
        }
        TrainingOutput.requireDescribable(config.geometry(), config.preprocessing());
    }

    private static boolean sameShape(ModelConfig one, ModelConfig other) {
        return one.geometry().equals(other.geometry()) && one.preprocessing().equals(other.preprocessing());
    }

    private Training(
            ModelConfig config,
            Optional<VitModel> start,
            Optional<VitModel> latent,
            TrainingSettings settings,
            Path output) {
        this.config = config;
        this.start = start;
        this.latent = latent;
        this.settings = settings;
        this.output = output;
    }

    /**
     * Trains to the last epoch, and loads PyTorch's native library to do so.
     *
     * @param resume whether to go on from the output folder's checkpoint; without it the folder must not hold one
     * @return share of the test images classified correctly at the end, as the training computes it
     * @throws BadInputException if the data do not fit the model, the classes of the two sets differ, the output cannot be written, there is no checkpoint to
     *     resume or it belongs to another training, or the training diverges
     */
    public double run(LabelledImages train, LabelledImages test, boolean resume, TrainingListener listener) {
        Path checkpointFile = output.resolve(Checkpoint.FILE_NAME);
        if (resume && !Files.isRegularFile(checkpointFile)) {
            throw new BadInputException(checkpointFile, "does not exist", "start the training without resuming");
        }
        if (!resume && Files.exists(checkpointFile)) {
            throw new BadInputException(
                    checkpointFile, "is there from an earlier training", "resume it or name an empty output folder");
        }
        requireSameClasses(train.classNames(), test.classNames());
        ImageSet trainImages = ImageSet.of(train, config.geometry(), config.preprocessing());
        ImageSet testImages = ImageSet.of(test, config.geometry(), config.preprocessing());
        Torch.load();
        settings.device().inUse();
        Run run = new Run(trainImages, testImages, train.classNames(), identity(trainImages), checkpointFile, listener);
        return run.all(resume ? Optional.of(Checkpoint.read(checkpointFile, run.identity())) : Optional.empty());
    }

    /** Folders are numbered in the order of their names, so that one more or less moves all labels behind it. */
    private static void requireSameClasses(List<String> train, List<String> test) {
        if (train.equals(test) || (isNumbered(train) && isNumbered(test))) {
            return;
        }
        int at = 0;
        while (at < Math.min(train.size(), test.size()) && train.get(at).equals(test.get(at))) {
            at++;
        }
        throw new BadInputException("class " + at + " is " + name(train, at) + " of the " + train.size()
                + " classes of the training images but " + name(test, at) + " of the " + test.size()
                + " of the test images; give both the same class folders");
    }

    /** Whether the classes bear their own numbers, as those of label files without names do, which need not use the last ones. */
    private static boolean isNumbered(List<String> names) {
        return IntStream.range(0, names.size()).allMatch(i -> names.get(i).equals(String.valueOf(i)));
    }

    private static String name(List<String> names, int at) {
        return at < names.size() ? names.get(at) : "none";
    }

    private Map<String, String> identity(ImageSet train) {
        Map<String, String> identity = new TreeMap<>();
        identity.put("model", config.geometry() + " " + config.preprocessing());
        identity.put("data", train.size() + " images, SHA-256 " + train.digest());
        identity.put("settings", settings.identity());
        start.ifPresent(model -> identity.put("float model", "SHA-256 " + ParameterDigest.of(model)));
        if (settings.recipe() == Recipe.TERNARY) {
            String file =
                    latent.map(model -> "SHA-256 " + ParameterDigest.of(model)).orElse("none");
            identity.put("ternary file", file);
        }
        return identity;
    }

    /** What a stage leaves to the next: weights, ranges, and the precision, which is chosen once so that a training broken off repeats. */
    @SuppressWarnings("ArrayRecordComponent") // state, never compared
    private record Legacy(float[] weights, float[] ranges, Precision precision) {}

    /** One run of the training. */
    private final class Run {
        private final ImageSet train;
        private final ImageSet test;
        private final List<String> classNames;
        private final Map<String, String> identity;
        private final Path checkpointFile;
        private final TrainingListener listener;
        private final TrainingLog log = new TrainingLog(output);

        Run(
                ImageSet train,
                ImageSet test,
                List<String> classNames,
                Map<String, String> identity,
                Path checkpointFile,
                TrainingListener listener) {
            this.train = train;
            this.test = test;
            this.classNames = classNames;
            this.identity = identity;
            this.checkpointFile = checkpointFile;
            this.listener = listener;
        }

        Map<String, String> identity() {
            return identity;
        }

        double all(Optional<Checkpoint> checkpoint) {
            List<Stage> stages = Stage.of(settings);
            double accuracy = Double.NaN;
            Optional<Legacy> legacy = Optional.empty();
            try (Closing teachers = new Closing()) {
                Optional<TrainableModel> teacher = teacher();
                teacher.ifPresent(teachers::add);
                for (Stage stage : stages) {
                    Optional<Checkpoint> here = checkpoint.filter(c -> c.stage() == stage.index());
                    if (checkpoint.isPresent() && checkpoint.get().stage() > stage.index()) {
                        continue;
                    }
                    try (ActivationRanges ranges = new ActivationRanges(config.geometry());
                            TrainableModel model = stage.model(config, settings, ranges)) {
                        latent.or(() -> start).ifPresent(model.parameters()::load);
                        legacy.ifPresent(former -> inherit(former, model));
                        try (Trainer trainer = new Trainer(
                                model,
                                teacher,
                                config.preprocessing(),
                                train,
                                settings,
                                stage,
                                identity,
                                checkpointFile,
                                listener)) {
                            legacy.ifPresent(former -> trainer.precision(former.precision()));
                            here.ifPresent(trainer::resume);
                            here.ifPresent(_ -> log.keep(stage.before() + trainer.epochsDone()));
                            accuracy = run(stage, model, trainer);
                            legacy = Optional.of(trainer.withAverage(() -> legacy(model, trainer.precision())));
                        }
                    }
                }
            }
            return accuracy;
        }

        private double run(Stage stage, TrainableModel model, Trainer trainer) {
            double accuracy = Double.NaN;
            if (trainer.epochsDone() == stage.epochs()) {
                // The checkpoint outlives a model file that was lost.
                trainer.withAverage(() -> write(stage, model));
            }
            while (trainer.epochsDone() < stage.epochs()) {
                long start = System.nanoTime();
                Trainer.EpochResult result = trainer.epoch();
                accuracy = trainer.accuracy(test);
                TrainingListener.EpochReport report = new TrainingListener.EpochReport(
                        stage.form().toString(),
                        stage.before() + trainer.epochsDone(),
                        settings.epochs(),
                        result.loss(),
                        result.learningRate(),
                        result.trainAccuracy(),
                        accuracy,
                        (System.nanoTime() - start) / 1e9);
                trainer.withAverage(() -> write(stage, model));
                log.add(report);
                trainer.save();
                listener.epoch(report);
            }
            return Double.isNaN(accuracy) ? trainer.accuracy(test) : accuracy;
        }

        private Path write(Stage stage, TrainableModel model) {
            if (stage.form() == Stage.Form.FLOAT) {
                new TrainingOutput(output, config.geometry(), config.preprocessing(), classNames)
                        .write(model.parameters().weights());
                return output;
            }
            return QuantizedExport.write(output.resolve(QUANTIZED), config, classNames, model, identity, settings);
        }

        /** The float model, where something is learned from it. */
        private Optional<TrainableModel> teacher() {
            TrainingSettings.Distillation asked = settings.distillation();
            return start.filter(_ -> asked.needsTeacher()).map(weights -> {
                Arithmetic arithmetic =
                        asked.needsFeatures() ? new Features.Recording(Arithmetic.FLOAT) : Arithmetic.FLOAT;
                TrainableModel teacher = TrainableModel.of(config.geometry(), arithmetic, 0);
                teacher.parameters().load(weights);
                return teacher;
            });
        }
    }

    /** The teacher, if there is one, for a try statement. */
    private static final class Closing implements AutoCloseable {
        private Optional<TrainableModel> model = Optional.empty();

        void add(TrainableModel toClose) {
            model = Optional.of(toClose);
        }

        @Override
        public void close() {
            model.ifPresent(TrainableModel::close);
        }
    }

    private static Legacy legacy(TrainableModel model, Precision precision) {
        return new Legacy(
                copy(model.parameters().values()),
                model.ranges().map(ranges -> copy(ranges.values())).orElseGet(() -> new float[0]),
                precision);
    }

    private static float[] copy(org.bytedeco.pytorch.Tensor tensor) {
        float[] values = new float[Math.toIntExact(tensor.numel())];
        Torch.floats(tensor).get(values);
        return values;
    }

    private static void inherit(Legacy former, TrainableModel model) {
        Torch.floats(model.parameters().values()).put(former.weights());
        model.ranges().ifPresent(ranges -> {
            Torch.floats(ranges.values()).put(former.ranges());
            ranges.refresh();
        });
    }
}
