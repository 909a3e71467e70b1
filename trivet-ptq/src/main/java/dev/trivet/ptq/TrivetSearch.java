package dev.trivet.ptq;

import dev.trivet.model.Geometry;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * The default method: block by block, in execution order, each operator fitted to what the quantized beginning of the model
 * feeds it. What is new against {@link LiuSearch}:
 *
 * <ol>
 *   <li>The float model is rewritten first, so that low-bit grids fit it: {@link ResidualRotation} once (ViT), {@link HeadBasis} per
 *       block. Nothing of this is left at run time.
 *   <li>Input quantizers are of least squared error and may pick their levels ({@link LevelHistogram}); LayerNorms absorb a
 *       change of variables ({@link ChannelFold}).
 *   <li>Weights are rounded so that errors cancel, and may move first to undo what the input's quantization and the blocks
 *       before have done ({@link CompensatedRounding}). The layers that write to the residual stream aim at the float model's
 *       stream, not only at their own output.
 *   <li>Every choice between such candidates is made on held-out calibration images, on the integer kernels.
 * </ol>
 */
final class TrivetSearch implements UnitSearch {
    /** Times that a linear stage and an attention stage look at all images. */
    private static final int PASSES_OF_LINEAR = 5;

    private static final int PASSES_OF_ATTENTION = 4;

    private final QuantizationPlan plan;
    private final TrivetSettings settings;
    private final TokenGains gains;
    private final Consumer<OperatorChoice> choices;

    TrivetSearch(QuantizationPlan plan, TrivetSettings settings, TokenGains gains, Consumer<OperatorChoice> choices) {
        this.gains = gains;
        this.plan = plan;
        this.settings = settings;
        this.choices = choices;
    }

    @Override
    public int passes(SearchUnit unit) {
        return unit.unit() instanceof ModelUnit.Block
                ? 4 * PASSES_OF_LINEAR + PASSES_OF_ATTENTION
                : PASSES_OF_LINEAR * unit.unit().linears().size();
    }

    @Override
    public long memoryBound(Geometry geometry) {
        Map<String, VitTensors.Linear> layers = new HashMap<>();
        VitTensors.of(geometry).linears().forEach(layer -> layers.put(layer.name(), layer));
        long most = 0;
        for (ModelUnit unit : geometry.units()) {
            for (String name : unit.linears()) {
                VitTensors.Linear layer = Objects.requireNonNull(layers.get(name));
                long k = layer.inputs();
                long candidates = (norm(unit, name).isEmpty() ? 1L : 3L) * (settings.levels() ? 2 : 1);
                long rows = SearchUnit.rows(unit, layer.inputs());
                long moments = 2 * candidates * 8 * (k * k + k * layer.outputs());
                long perThread = candidates * 4 * (k * k + k * layer.outputs() + k * rows);
                most = Math.max(most, moments + 6 * 8 * k * k + settings.threads() * perThread);
            }
        }
        return most + 2 * TokenStore.IN_MEMORY;
    }

    @Override
    public void quantize(SearchUnit unit, SearchState state) {
        if (!(unit.unit() instanceof ModelUnit.Block block)) {
            for (String name : unit.unit().linears()) {
                int rows = unit.rows(state.floatLayer(name).inputs());
                linear(name, unit, state, LayerSamples.Target.OUTPUT, ones(rows));
            }
            return;
        }
        float[] before = gains.before(unit, state);
        float[] after = gains.after(unit, state);
        if (settings.headBases() && attentionIsQuantized(block)) {
            state.progress.stage("bases");
            state.withWorkers(unit, workers -> HeadMoments.rewrite(state, block, workers));
        }
        linear(block.qkv(), unit, state, LayerSamples.Target.OUTPUT, before);
        attention(unit, block, state, after);
        linear(block.projection(), unit, state, LayerSamples.Target.STREAM_AFTER_ATTENTION, after);
        linear(block.hidden(), unit, state, LayerSamples.Target.OUTPUT, after);
        linear(block.mlpOutput(), unit, state, LayerSamples.Target.STREAM_AFTER_BLOCK, after);
    }

    /** The LayerNorm that feeds a layer and no other, whether directly or through a mean over tokens; empty if there is none. */
    private static String norm(ModelUnit unit, String layer) {
        return switch (unit) {
            case ModelUnit.Embedding _ -> "";
            case ModelUnit.Block u when layer.equals(u.qkv()) -> u.attentionNorm();
            case ModelUnit.Block u when layer.equals(u.hidden()) -> u.mlpNorm();
            case ModelUnit.Block _ -> "";
            case ModelUnit.Merging u -> u.norm();
            // One LayerNorm feeds both heads of a distilled model and cannot suit two folds.
            case ModelUnit.Head u -> u.linears().size() == 1 || layer.equals(VitNames.PRE_LOGITS) ? u.norm() : "";
        };
    }

    private static InputFold.Absorber absorber(ModelUnit unit, String layer, SearchState state) {
        if (layer.equals(VitNames.PATCH_EMBEDDING)) {
            return new InputFold.Absorber.Pixels(state.current().config().preprocessing());
        }
        String norm = norm(unit, layer);
        if (norm.isEmpty()) {
            return new InputFold.Absorber.Nobody();
        }
        boolean padded = unit instanceof ModelUnit.Block block
                && layer.equals(block.qkv())
                && state.layout(block).isPadded();
        return new InputFold.Absorber.Norm(norm, !padded);
    }

    private static float[] ones(int rows) {
        float[] ones = new float[rows];
        Arrays.fill(ones, 1f);
        return ones;
    }

    /** Whether at least one of a block's products is. */
    private boolean attentionIsQuantized(ModelUnit.Block block) {
        return !plan.operator(block.scores()).isFloat()
                || !plan.operator(block.mixing()).isFloat();
    }

    /** A product that stays in float is tried with the finest codes there are, and then left alone. */
    private static int triedBits(OperatorPlan product) {
        return product.isFloat() ? ActivationQuantizer.MOST_BITS : product.activationBits();
    }

    private void linear(String name, SearchUnit unit, SearchState state, LayerSamples.Target target, float[] gains) {
        OperatorPlan bits = plan.operator(name);
        if (bits.isFloat()) {
            return;
        }
        state.progress.stage(name);
        LinearLayer.Float32 layer = state.floatLayer(name);
        InputFold.Absorber absorber = absorber(unit.unit(), name, state);
        state.withWorkers(unit, workers -> {
            LinearStage.Choice choice;
            try (LayerSamples samples = LayerSamples.capture(state, workers, layer, target, gains)) {
                choice = new LinearStage(samples, state.kernels, bits, settings).choose(absorber);
            }
            apply(state, layer, absorber, bits.coding(), choice.fit());
            choices.accept(new OperatorChoice(name, choice.fit().description(), choice.error(), choice.tried()));
        });
    }

    private static void apply(
            SearchState state,
            LinearLayer.Float32 layer,
            InputFold.Absorber absorber,
            WeightCoding coding,
            LinearFit fit) {
        ChannelFold fold = fit.input().fold();
        boolean atRunTime = !fold.isIdentity() && !(absorber instanceof InputFold.Absorber.Norm);
        state.put(new LinearLayer.Quantized(
                layer.name(),
                layer.outputs(),
                layer.inputs(),
                coding,
                WeightCodes.store(fit.codes(), coding.wide(), Arena.ofAuto()),
                fit.scales(),
                fit.bias(),
                fit.input().quantizer(),
                atRunTime ? Optional.of(fold.equalization()) : Optional.empty()));
        if (!fold.isIdentity() && absorber instanceof InputFold.Absorber.Norm(String norm, boolean _)) {
            float[] gamma = state.floats(norm + ".weight").clone();
            float[] beta = state.floats(norm + ".bias").clone();
            for (int c = 0; c < gamma.length; c++) {
                gamma[c] /= fold.scale()[c];
                beta[c] = (beta[c] - fold.shift()[c]) / fold.scale()[c];
            }
            state.put(norm + ".weight", gamma);
            state.put(norm + ".bias", beta);
        }
    }

    private void attention(SearchUnit unit, ModelUnit.Block block, SearchState state, float[] gains) {
        if (!attentionIsQuantized(block)) {
            return;
        }
        OperatorPlan scores = plan.operator(block.scores());
        OperatorPlan mixing = plan.operator(block.mixing());
        String name = mixing.isFloat() ? scores.operator() : mixing.operator();
        state.progress.stage(name);
        AttentionStage stage =
                new AttentionStage(state, block, triedBits(scores), triedBits(mixing), settings.levels(), gains);
        state.withWorkers(unit, workers -> rewrite(block, state, stage.rewrite(workers)));
        state.withWorkers(unit, workers -> {
            AttentionStage.Choice choice = stage.choose(workers);
            if (!scores.isFloat()) {
                state.put(scores.operator(), choice.scores());
            }
            if (!mixing.isFloat()) {
                state.put(mixing.operator(), choice.mixing());
            }
            choices.accept(new OperatorChoice(name, choice.description(), choice.error(), choice.tried()));
        });
    }

    /** Lets the projections around a block's products absorb the change of q, k and v. */
    static void rewrite(ModelUnit.Block block, SearchState state, AttentionStage.Rewrite rewrite) {
        switch (state.layer(block.qkv())) {
            case LinearLayer.Quantized qkv -> state.put(rewritten(qkv, rewrite));
            case LinearLayer.Float32 qkv -> state.put(rewritten(qkv, rewrite));
        }
        LinearLayer.Float32 projection = state.floatLayer(block.projection());
        float[] weight = projection.weight().clone();
        float[] projectionBias = projection.bias().clone();
        int width = projection.inputs();
        for (int n = 0; n < projection.outputs(); n++) {
            double shift = 0;
            for (int c = 0; c < width; c++) {
                shift += (double) weight[n * width + c] * rewrite.shift()[2 * width + c];
                weight[n * width + c] *= rewrite.scale()[2 * width + c];
            }
            projectionBias[n] += (float) shift;
        }
        state.put(new LinearLayer.Float32(
                projection.name(), projection.outputs(), projection.inputs(), weight, projectionBias));
    }

    private static LinearLayer rewritten(LinearLayer.Quantized qkv, AttentionStage.Rewrite rewrite) {
        float[] scales = new float[qkv.outputs()];
        for (int n = 0; n < scales.length; n++) {
            float scale = qkv.scale(n) / rewrite.scale()[n];
            scales[n] = qkv.isTernary() ? TernaryWeights.storedScale(scale) : scale;
        }
        return new LinearLayer.Quantized(
                qkv.name(),
                qkv.outputs(),
                qkv.inputs(),
                qkv.coding(),
                qkv.codes(),
                scales,
                rewrittenBias(qkv, rewrite),
                qkv.input());
    }

    private static LinearLayer rewritten(LinearLayer.Float32 qkv, AttentionStage.Rewrite rewrite) {
        float[] weight = qkv.weight().clone();
        for (int i = 0; i < weight.length; i++) {
            weight[i] /= rewrite.scale()[i / qkv.inputs()];
        }
        return new LinearLayer.Float32(qkv.name(), qkv.outputs(), qkv.inputs(), weight, rewrittenBias(qkv, rewrite));
    }

    private static float[] rewrittenBias(LinearLayer qkv, AttentionStage.Rewrite rewrite) {
        float[] bias = new float[qkv.outputs()];
        for (int n = 0; n < bias.length; n++) {
            bias[n] = (qkv.bias()[n] - rewrite.shift()[n]) / rewrite.scale()[n];
        }
        return bias;
    }
}
