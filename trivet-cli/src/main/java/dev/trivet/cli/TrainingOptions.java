package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.train.Device;
import dev.trivet.train.Precision;
import dev.trivet.train.Recipe;
import dev.trivet.train.TrainingSettings;
import dev.trivet.train.TrainingSettings.Distillation;
import dev.trivet.train.TrainingSettings.Distillation.Targets;
import dev.trivet.train.UpdateRule;
import java.util.List;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParseResult;

/** How {@code train} trains. */
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class TrainingOptions {
    private static final List<String> OF_TERNARY_WEIGHTS =
            List.of("--ternary-granularity", "--ternary-scale", "--ternary-clip", "--ternary-edges");

    /** What shares a threshold and a scale. */
    enum Granularity {
        CHANNEL,
        LAYER
    }

    /** The scale of ternary weights. */
    enum TernaryScale {
        TWN,
        ABSMEAN
    }

    private static final TrainingSettings DEFAULTS = TrainingSettings.defaults();

    @Option(
            names = "--recipe",
            description =
                    "float: from scratch, of a CONFIG. From a float MODEL: finetune, which stays float and takes the"
                            + " classes of the data; w8a8, ternary, or tervit, which is w8a8 and then ternary. Default: ${DEFAULT-VALUE}.")
    Recipe recipe = DEFAULTS.recipe();

    @Option(names = "--epochs", paramLabel = "N", description = "Of all stages together. Default: ${DEFAULT-VALUE}.")
    int epochs = DEFAULTS.epochs();

    @Option(
            names = "--eight-bit-epochs",
            paramLabel = "N",
            description = "Of them, with recipe tervit, at 8 bits. Default: a third, at least one.")
    int eightBitEpochs;

    @Option(names = "--batch", paramLabel = "N", description = "Images per step. Default: ${DEFAULT-VALUE}.")
    int batch = DEFAULTS.steps().batchSize();

    @Option(
            names = "--accumulate",
            paramLabel = "N",
            description = "Parts of a batch, computed one after another for less memory. Default: ${DEFAULT-VALUE}.")
    int accumulate = DEFAULTS.steps().accumulation();

    @Option(names = "--learning-rate", paramLabel = "X", description = "Peak. Default: ${DEFAULT-VALUE}.")
    double learningRate = DEFAULTS.steps().learningRate();

    @Option(names = "--weight-decay", paramLabel = "X", description = "Default: ${DEFAULT-VALUE}.")
    double weightDecay = DEFAULTS.steps().weightDecay();

    @Option(names = "--warmup", paramLabel = "EPOCHS", description = "Of each stage. Default: ${DEFAULT-VALUE}.")
    double warmup = DEFAULTS.steps().warmupEpochs();

    @Option(names = "--label-smoothing", paramLabel = "X", description = "Default: ${DEFAULT-VALUE}.")
    double labelSmoothing = DEFAULTS.labelSmoothing();

    @Option(names = "--clip", paramLabel = "NORM", description = "Largest gradient norm. Default: ${DEFAULT-VALUE}.")
    double clip = DEFAULTS.steps().gradientClip();

    @Option(names = "--crop-padding", paramLabel = "PIXELS", description = "Random crop. Default: ${DEFAULT-VALUE}.")
    int cropPadding = DEFAULTS.variation().cropPadding();

    @Option(names = "--no-flip", description = "Do not mirror images at random.")
    boolean noFlip;

    @Option(
            names = "--smallest-crop",
            paramLabel = "SHARE",
            description =
                    "Random resized crops of at least this share of the area, in place of the other crop. Default:"
                            + " ${DEFAULT-VALUE}, none.")
    double smallestCrop = DEFAULTS.variation().smallestCrop();

    @Option(
            names = "--mixup",
            paramLabel = "A",
            description = "Mix images, Beta(A, A). Default: ${DEFAULT-VALUE}, not.")
    double mixup = DEFAULTS.variation().mixup();

    @Option(names = "--cutmix", paramLabel = "A", description = "Mix boxes of images. Default: ${DEFAULT-VALUE}, not.")
    double cutmix = DEFAULTS.variation().cutmix();

    @Option(
            names = "--repeats",
            paramLabel = "N",
            description = "Variations of an image in one batch; an epoch then sees fewer images. Default:"
                    + " ${DEFAULT-VALUE}.")
    int repeats = DEFAULTS.variation().repeats();

    @Option(
            names = "--drop-path",
            paramLabel = "X",
            description = "Share of residual branches left out in the last block. Default: ${DEFAULT-VALUE}.")
    double dropPath = DEFAULTS.dropPath();

    @Option(names = "--average", paramLabel = "X", description = "Weight averaging. Default: ${DEFAULT-VALUE}.")
    double average = DEFAULTS.steps().averageDecay();

    @Option(
            names = "--distill",
            description = "What a quantized model learns from its float model: none, hard (its answers), soft (its"
                    + " probabilities) or both. Default: ${DEFAULT-VALUE}.")
    Targets distill = DEFAULTS.distillation().targets();

    @Option(
            names = "--distill-weight",
            paramLabel = "X",
            description = "Share of the loss; the labels have the rest. Default: ${DEFAULT-VALUE}.")
    double distillWeight = 0.5;

    @Option(
            names = "--temperature",
            paramLabel = "X",
            description = "Softens probabilities to learn from. Default: ${DEFAULT-VALUE}.")
    double temperature = DEFAULTS.distillation().temperature();

    @Option(
            names = "--distill-attention",
            paramLabel = "X",
            description = "Adds X times the distance of attention weights from the float model's. Default: 0, none.")
    double distillAttention;

    @Option(
            names = "--distill-features",
            paramLabel = "X",
            description = "Adds X times the distance of what the blocks give. Default: 0, none.")
    double distillFeatures;

    @Option(
            names = "--ternary-granularity",
            description = "What has one threshold and scale: channel or layer. Default: ${DEFAULT-VALUE}.")
    Granularity granularity = Granularity.CHANNEL;

    @Option(
            names = "--ternary-scale",
            description = "twn: mean magnitude of the weights that are not zero; absmean: of all. Default:"
                    + " ${DEFAULT-VALUE}.")
    TernaryScale ternaryScale = TernaryScale.TWN;

    @Option(
            names = "--ternary-clip",
            paramLabel = "X",
            description = "Latent weights of this magnitude get no gradient. Default: ${DEFAULT-VALUE}.")
    double ternaryClip = DEFAULTS.quantization().clip();

    @Option(names = "--ternary-edges", description = "Quantize patch embedding and head like the rest, not to 8 bits.")
    boolean ternaryEdges;

    @Option(names = "--seed", paramLabel = "N", description = "Default: ${DEFAULT-VALUE}.")
    long seed = DEFAULTS.seed();

    @Option(names = "--optimizer", description = "adamw or muon. Default: ${DEFAULT-VALUE}.")
    UpdateRule optimizer = DEFAULTS.steps().rule();

    @Option(names = "--precision", description = "fp32, bf16, or auto: the faster here. Default: ${DEFAULT-VALUE}.")
    Precision precision = DEFAULTS.precision();

    @Option(
            names = "--device",
            description = "cpu, cuda, or auto: a GPU where PyTorch has CUDA and finds one. Default: ${DEFAULT-VALUE}.")
    Device device = DEFAULTS.device();

    /** @throws BadInputException if an option was given that the recipe would not look at */
    void check(ParseResult given) {
        if (distill == Targets.NONE) {
            refuse(given, List.of("--distill-weight", "--temperature"), "is for --distill hard or soft");
        }
        if (recipe != Recipe.TERVIT) {
            refuse(given, List.of("--eight-bit-epochs"), "is for --recipe tervit");
        }
        if (recipe != Recipe.TERVIT && recipe != Recipe.TERNARY) {
            refuse(given, OF_TERNARY_WEIGHTS, "is for --recipe tervit or ternary");
        }
    }

    private static void refuse(ParseResult given, List<String> options, String why) {
        for (String option : options) {
            if (given.hasMatchedOption(option)) {
                throw new BadInputException(option + " " + why + "; leave it out");
            }
        }
    }

    /** @throws IllegalArgumentException if an option is out of range */
    TrainingSettings settings(int threads) {
        boolean distills = distill != Targets.NONE || distillAttention != 0 || distillFeatures != 0;
        if (!recipe.quantizes() && distills) {
            throw new BadInputException("--distill needs a recipe that quantizes; leave it out");
        }
        return new TrainingSettings(
                recipe,
                epochs,
                new TrainingSettings.Steps(
                        batch, accumulate, learningRate, weightDecay, warmup, clip, average, optimizer),
                new TrainingSettings.Variation(cropPadding, smallestCrop, !noFlip, mixup, cutmix, repeats),
                labelSmoothing,
                dropPath,
                distills
                        ? new Distillation(distill, distillWeight, temperature, distillAttention, distillFeatures)
                        : Distillation.NONE,
                new TrainingSettings.Quantization(
                        eightBitEpochs == 0 ? Math.max(1, epochs / 3) : eightBitEpochs,
                        granularity == Granularity.CHANNEL,
                        ternaryScale == TernaryScale.TWN
                                ? TernaryWeights.Scale.SURVIVORS
                                : TernaryWeights.Scale.ABSOLUTE_MEAN,
                        ternaryClip,
                        ternaryEdges),
                seed,
                precision,
                device,
                threads);
    }
}
