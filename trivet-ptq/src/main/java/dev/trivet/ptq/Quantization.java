package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import java.util.function.Consumer;

/**
 * A quantization that is asked for: a float model, a plan, a method and calibration images.
 *
 * @param model the float model
 * @param images what it is calibrated on
 * @param plan the width of every operator
 * @param settings which method, and how
 */
public record Quantization(
        VitModel model, Kernels kernels, CalibrationImages images, QuantizationPlan plan, MethodSettings settings) {
    /** @throws IllegalArgumentException if the plan does not fit the model, or the model is quantized already */
    public Quantization {
        plan.check(model.geometry());
        if (model.isQuantized()) {
            throw new IllegalArgumentException("the model is quantized already");
        }
    }

    /**
     * Where a search starts or starts again.
     *
     * @param model what {@link SearchCheckpoint} was given last
     * @param units how many units are finished in it
     */
    public record Begun(VitModel model, int units) {}

    /** Where a new search starts: nothing is finished; some methods rewrite the model first. */
    public Begun start() {
        return new Begun(prepared(), 0);
    }

    private VitModel prepared() {
        return switch (settings) {
            case TrivetSettings s
            when s.rotation() && ResidualRotation.applies(model) ->
                ResidualRotation.apply(model, ResidualRotation.SEED);
            case TrivetSettings _ -> model;
            case LiuSettings _ -> model;
        };
    }

    /**
     * Quantizes. The same arguments give the same bytes, whether in one run or taken up again, on any number of threads.
     *
     * @param begun {@link #start}, or where an earlier run with the same arguments has got to
     * @param choices hears what was chosen for each operator
     * @throws dev.trivet.BadInputException if a calibration image cannot be read
     */
    public VitModel run(
            Begun begun, SearchListener listener, Consumer<OperatorChoice> choices, SearchCheckpoint checkpoint) {
        // A large model must not be held more often than needed.
        VitModel prepared = begun.units() == 0 ? begun.model() : prepared();
        return BlockwiseSearch.quantize(
                prepared,
                begun.model(),
                begun.units(),
                kernels,
                images,
                settings.threads(),
                search(plan, settings, new TokenGains(prepared, settings.threads()), choices),
                listener,
                checkpoint);
    }

    /**
     * Measures, with the same method, what each module loses at each width; see {@link ModuleSensitivity}.
     *
     * @param candidateBits widths from 2 to 10, all different
     */
    public ModuleSensitivity sensitivity(int[] candidateBits, SearchListener listener) {
        VitModel prepared = prepared();
        TokenGains gains = new TokenGains(prepared, settings.threads());
        return ModuleSensitivity.measure(
                prepared,
                kernels,
                images,
                asked -> search(asked, settings, gains, choice -> {}),
                plan,
                candidateBits,
                ModuleSensitivity.IMAGES,
                settings.threads(),
                listener);
    }

    /** Quantizes from the start. */
    public VitModel run(SearchListener listener) {
        return run(start(), listener, choice -> {}, SearchCheckpoint.NONE);
    }

    static UnitSearch search(
            QuantizationPlan plan, MethodSettings settings, TokenGains gains, Consumer<OperatorChoice> choices) {
        return switch (settings) {
            case TrivetSettings s -> new TrivetSearch(plan, s, gains, choices);
            case LiuSettings s -> new LiuSearch(plan, s, LiuSearch.CANDIDATE_BUDGET, LiuSearch.OPERAND_BUDGET);
        };
    }

    /** Upper bound of the memory that {@link #run} takes beside the model, bytes, whatever the number of images. */
    public long memoryBound() {
        // Per thread two sessions with their buffers, and one of the float model's tail where errors are weighed by it.
        boolean weighed = settings instanceof TrivetSettings;
        return 2 * TokenStore.IN_MEMORY
                + searchBytes()
                + (weighed ? tailBytes() : 0)
                + (weighed ? 3L : 2L) * settings.threads() * sessionBytes(model.geometry());
    }

    /** The same of {@link #sensitivity}, which runs several searches at a time and keeps the outputs that they are compared with. */
    public long sensitivityMemoryBound() {
        int searches = SensitivityRun.atOnce(settings.threads());
        int workers = settings.threads() + Math.max(settings.threads(), searches);
        return (2 + SensitivityRun.STORES + 2L * searches) * TokenStore.IN_MEMORY
                + searches * searchBytes()
                + (1L + searches) * tailBytes()
                + 3L * workers * sessionBytes(model.geometry());
    }

    private long searchBytes() {
        return search(plan, settings, new TokenGains(model, settings.threads()), choice -> {})
                .memoryBound(model.geometry());
    }

    /** A tail holds the weights of what follows a unit a second time, as kernels read them: at most those of the whole model. */
    private long tailBytes() {
        long values = 0;
        for (LinearLayer layer : model.linears().values()) {
            values += (long) layer.outputs() * layer.inputs();
        }
        return Float.BYTES * values;
    }

    private static long sessionBytes(Geometry geometry) {
        long most = 0;
        for (ModelUnit unit : geometry.units()) {
            if (unit instanceof ModelUnit.Block block) {
                long tokens = (long) block.groups() * block.groupTokens();
                long width = block.shape().width();
                long widest = Math.max(3 * width, block.hiddenWidth());
                long map = block.heads() * tokens * block.groupTokens();
                most = Math.max(most, 4 * (2 * tokens * widest + 5 * tokens * width + 2 * map));
            }
        }
        return most;
    }
}
