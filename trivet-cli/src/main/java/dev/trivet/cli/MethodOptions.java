package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.model.Geometry;
import dev.trivet.model.VitConfig;
import dev.trivet.ptq.LiuSettings;
import dev.trivet.ptq.MethodSettings;
import dev.trivet.ptq.QuantizationPlan;
import dev.trivet.ptq.RankReduction;
import dev.trivet.ptq.TrivetSettings;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParseResult;

/** Which method quantizes, at which widths, and its switches. */
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class MethodOptions {
    /** Names as typed. */
    enum Method {
        TRIVET,
        LIU2021;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** How weight scales are shared. */
    enum Granularity {
        CHANNEL,
        TENSOR;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** Which grid activations are on. */
    enum Grid {
        ASYMMETRIC,
        SYMMETRIC;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** What an operator sees while it is calibrated. */
    enum Inputs {
        PARALLEL,
        SEQUENTIAL;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    @Option(
            names = "--method",
            paramLabel = "NAME",
            description = "trivet, or liu2021: the paper's (default: ${DEFAULT-VALUE}).")
    Method method = Method.TRIVET;

    @Option(
            names = "--bits",
            paramLabel = "N",
            converter = WeightWidth.Converter.class,
            description = "Bits of weights and activations, 2 to 10, or ternary: weights -1, 0 and 1 times a scale,"
                    + " activations of 8 bits (default: ${DEFAULT-VALUE}).")
    WeightWidth bits = WeightWidth.of(8);

    @Option(
            names = "--weight-bits",
            paramLabel = "N",
            converter = WeightWidth.Converter.class,
            description = "Bits of weights, or ternary, where they differ.")
    @Nullable
    WeightWidth weightBits;

    @Option(names = "--activation-bits", paramLabel = "N", description = "Bits of activations, where they differ.")
    @Nullable
    Integer activationBits;

    @Option(
            names = "--edge-bits",
            paramLabel = "N",
            converter = WeightWidth.Converter.class,
            description = "Bits of the patch embedding and the head, or ternary (default: at least 8 with trivet, as"
                    + " everywhere with liu2021; 8 if weights are ternary).")
    @Nullable
    WeightWidth edgeBits;

    @Option(names = "--no-rotation", description = "trivet: leave the residual stream in the checkpoint's basis.")
    boolean noRotation;

    @Option(names = "--no-head-bases", description = "trivet: leave q, k and v in the checkpoint's bases.")
    boolean noHeadBases;

    @Option(names = "--no-levels", description = "trivet: uniform activation quantizers only.")
    boolean noLevels;

    @Option(names = "--no-compensation", description = "trivet: weights do not move before they are rounded.")
    boolean noCompensation;

    @Option(names = "--no-ranking", description = "liu2021: judge attention by correlation alone.")
    boolean noRanking;

    @Option(names = "--no-bias-correction", description = "liu2021: leave biases alone.")
    boolean noBiasCorrection;

    @Option(
            names = "--rank-reduction",
            paramLabel = "HOW",
            description = "liu2021: mean or sum of the ranking losses (default: ${DEFAULT-VALUE}).")
    RankReduction reduction = RankReduction.MEAN;

    @Option(
            names = "--inputs",
            paramLabel = "WHICH",
            description = "liu2021: calibrate on the float model's inputs (parallel) or on what the quantized beginning"
                    + " gives (sequential) (default: ${DEFAULT-VALUE}).")
    Inputs inputs = Inputs.PARALLEL;

    @Option(
            names = "--weights-per",
            paramLabel = "UNIT",
            description = "liu2021: one weight scale per tensor or channel (default: ${DEFAULT-VALUE}).")
    Granularity granularity = Granularity.TENSOR;

    @Option(
            names = "--activations",
            paramLabel = "GRID",
            description = "liu2021: symmetric or asymmetric (default: ${DEFAULT-VALUE}).")
    Grid grid = Grid.SYMMETRIC;

    @Option(
            names = "--candidates",
            paramLabel = "N",
            description = "liu2021: scales tried per operand and round (default: ${DEFAULT-VALUE}).")
    int candidates = 21;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            description = "liu2021: most rounds of the search, 0 to 20; 0 keeps the first guess (default:"
                    + " ${DEFAULT-VALUE}).")
    int rounds = LiuSettings.MOST_ROUNDS;

    private static final List<String> OF_TRIVET =
            List.of("--no-rotation", "--no-head-bases", "--no-levels", "--no-compensation");

    private static final List<String> OF_WIDTHS =
            List.of("--bits", "--weight-bits", "--activation-bits", "--edge-bits");

    private static final List<String> OF_LIU2021 = List.of(
            "--no-ranking",
            "--no-bias-correction",
            "--rank-reduction",
            "--inputs",
            "--weights-per",
            "--activations",
            "--candidates",
            "--rounds");

    /** @throws BadInputException if a switch of the other method was given, which would do nothing */
    void check(ParseResult given) {
        Method other = method == Method.TRIVET ? Method.LIU2021 : Method.TRIVET;
        for (String option : other == Method.TRIVET ? OF_TRIVET : OF_LIU2021) {
            if (given.hasMatchedOption(option)) {
                throw new BadInputException(option + " is for --method " + other + "; leave it out");
            }
        }
    }

    /** @throws BadInputException if a width was given beside a plan, which says them all */
    void checkNoWidths(ParseResult given) {
        for (String option : OF_WIDTHS) {
            if (given.hasMatchedOption(option)) {
                throw new BadInputException("--plan says the bits of every operator; leave " + option + " out");
            }
        }
    }

    /** @throws BadInputException if a number is out of range */
    MethodSettings settings(long seed, int threads) {
        try {
            return switch (method) {
                case TRIVET -> new TrivetSettings(!noRotation, !noHeadBases, !noLevels, !noCompensation, seed, threads);
                case LIU2021 ->
                    new LiuSettings(
                            !noRanking,
                            !noBiasCorrection,
                            reduction,
                            inputs == Inputs.SEQUENTIAL,
                            granularity == Granularity.CHANNEL,
                            grid == Grid.ASYMMETRIC,
                            candidates,
                            rounds,
                            seed,
                            threads);
            };
        } catch (IllegalArgumentException e) {
            throw new BadInputException(e.getMessage() + "; correct --candidates, --rounds or --threads", e);
        }
    }

    /** Of the blocks. */
    WeightWidth weights() {
        return weightBits == null ? bits : weightBits;
    }

    private int activationBits() {
        return activationBits == null ? bits.activations() : activationBits;
    }

    private WeightWidth edges() {
        if (edgeBits != null) {
            return edgeBits;
        }
        int widest = Math.max(weights().bits(), activationBits());
        return WeightWidth.of(method == Method.TRIVET || weights().ternary() ? Math.max(8, widest) : widest);
    }

    /** @throws BadInputException if a width is not known */
    QuantizationPlan plan(Geometry geometry) {
        try {
            WeightWidth edges = edges();
            if (!weights().ternary() && !edges.ternary()) {
                return QuantizationPlan.uniform(geometry, weights().bits(), activationBits(), edges.bits());
            }
            return QuantizationPlan.uniform(
                    geometry, weights().coding(), activationBits(), edges.coding(), edges.activations());
        } catch (IllegalArgumentException e) {
            throw new BadInputException(
                    "widths are 2 to 10 bits, or ternary for weights; correct --bits, --weight-bits, --activation-bits or"
                            + " --edge-bits",
                    e);
        }
    }

    /**
     * The options that a quantized file was made with, as far as {@code --method} and {@code --bits} say them; empty if there was more, or the file
     * does not tell.
     *
     * @param facts of its provenance
     */
    static Optional<MethodOptions> of(Map<String, String> facts, Geometry geometry) {
        if (!facts.containsKey("calibration_images") || !facts.containsKey("seed")) {
            return Optional.empty();
        }
        List<WeightWidth> widths = Stream.concat(
                        IntStream.rangeClosed(2, 10).mapToObj(WeightWidth::of), Stream.of(WeightWidth.TERNARY))
                .toList();
        for (Method method : Method.values()) {
            for (WeightWidth width : widths) {
                MethodOptions options = new MethodOptions();
                options.method = method;
                options.bits = width;
                String plan = PlanFile.json(method.toString(), options.plan(geometry));
                if (options.description(geometry).equals(facts.get("settings"))
                        && new MixedOptions().description(method).equals(facts.get("mixed"))
                        && Sha256.of(plan).equals(facts.get("plan_sha256"))) {
                    return Optional.of(options);
                }
            }
        }
        return Optional.empty();
    }

    /** What a run's result depends on beside widths, seed and images. */
    String description(Geometry geometry) {
        Map<String, Object> facts = new TreeMap<>();
        switch (method) {
            case TRIVET -> {
                // Nothing else has a stream that can be rotated.
                facts.put("rotation", !noRotation && geometry instanceof VitConfig);
                facts.put("head bases", !noHeadBases);
                facts.put("levels", !noLevels);
                facts.put("compensation", !noCompensation);
            }
            case LIU2021 -> {
                facts.put("ranking", noRanking ? "off" : reduction.toString().toLowerCase(Locale.ROOT));
                facts.put("bias correction", !noBiasCorrection);
                facts.put("inputs", inputs);
                facts.put("weights per", granularity);
                facts.put("activations", grid);
                facts.put("candidates", candidates);
                facts.put("rounds", rounds);
            }
        }
        return method + " " + facts;
    }
}
