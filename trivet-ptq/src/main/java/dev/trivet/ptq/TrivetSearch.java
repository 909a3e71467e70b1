package dev.trivet.ptq;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * The default method: block by block, in execution order, each operator fitted to what the quantized beginning of the model
 * feeds it. What is new against {@link LiuSearch}:
 *
 * <ol>
 *   <li>The float model is rewritten first, so that low-bit grids fit it: {@link ResidualRotation} once, {@link HeadBasis} per
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
    public int passes(ModelUnit unit, VitConfig config) {
        return unit.block() < 0 ? PASSES_OF_LINEAR : 4 * PASSES_OF_LINEAR + PASSES_OF_ATTENTION;
    }

    @Override
    public long memoryBound(VitConfig config) {
        long most = 0;
        for (VitTensors.Linear layer : VitTensors.of(config).linears()) {
            long k = layer.inputs();
            boolean folds = k == config.width();
            long candidates = (folds ? 3 : 1) * (settings.levels() ? 2 : 1);
            long moments = 2 * candidates * 8 * (k * k + k * layer.outputs());
            long perThread = candidates * 4 * (k * k + k * layer.outputs() + k * config.tokens());
            most = Math.max(most, moments + 6 * 8 * k * k + settings.threads() * perThread);
        }
        return most + 2 * TokenStore.IN_MEMORY;
    }

    @Override
    public void quantize(ModelUnit unit, SearchState state) {
        int b = unit.block();
        InputFold.Absorber nobody = new InputFold.Absorber.Nobody();
        if (unit.part().embedding()) {
            linear(
                    VitNames.PATCH_EMBEDDING,
                    unit,
                    state,
                    LayerSamples.Target.OUTPUT,
                    new InputFold.Absorber.Pixels(state.current().config().preprocessing()),
                    ones(state.config().patches()));
        } else if (unit.part().head()) {
            boolean distilled = state.config().distilled();
            // One LayerNorm feeds both heads and cannot suit two folds.
            InputFold.Absorber norm =
                    distilled ? nobody : new InputFold.Absorber.Norm(VitNames.finalNorm(state.config()));
            String first = VitNames.firstOfHead(state.config());
            linear(first, unit, state, LayerSamples.Target.OUTPUT, norm, ones(1));
            if (!first.equals(VitNames.HEAD)) {
                linear(VitNames.HEAD, unit, state, LayerSamples.Target.OUTPUT, nobody, ones(1));
            }
            if (distilled) {
                linear(VitNames.DISTILLATION_HEAD, unit, state, LayerSamples.Target.OUTPUT, norm, ones(1));
            }
        } else {
            float[] before = gains.before(unit, state);
            float[] after = gains.after(unit, state);
            if (settings.headBases() && attentionIsQuantized(b)) {
                state.progress.stage("bases");
                state.withWorkers(unit.part(), workers -> HeadMoments.rewrite(state, b, workers));
            }
            InputFold.Absorber norm = new InputFold.Absorber.Norm(VitNames.attentionNorm(b));
            linear(VitNames.qkv(b), unit, state, LayerSamples.Target.OUTPUT, norm, before);
            attention(unit, state, after);
            linear(VitNames.projection(b), unit, state, LayerSamples.Target.STREAM_AFTER_ATTENTION, nobody, after);
            InputFold.Absorber mlpNorm = new InputFold.Absorber.Norm(VitNames.mlpNorm(b));
            linear(VitNames.hidden(b), unit, state, LayerSamples.Target.OUTPUT, mlpNorm, after);
            linear(VitNames.output(b), unit, state, LayerSamples.Target.STREAM_AFTER_BLOCK, nobody, after);
        }
    }

    private static float[] ones(int rows) {
        float[] ones = new float[rows];
        Arrays.fill(ones, 1f);
        return ones;
    }

    /** Whether at least one of a block's products is. */
    private boolean attentionIsQuantized(int b) {
        return !plan.operator(VitNames.scores(b)).isFloat()
                || !plan.operator(VitNames.mixing(b)).isFloat();
    }

    /** A product that stays in float is tried with the finest codes there are, and then left alone. */
    private static int triedBits(OperatorPlan product) {
        return product.isFloat() ? ActivationQuantizer.MOST_BITS : product.activationBits();
    }

    private void linear(
            String name,
            ModelUnit unit,
            SearchState state,
            LayerSamples.Target target,
            InputFold.Absorber absorber,
            float[] gains) {
        OperatorPlan bits = plan.operator(name);
        if (bits.isFloat()) {
            return;
        }
        state.progress.stage(name);
        LinearLayer.Float32 layer = state.floatLayer(name);
        state.withWorkers(unit.part(), workers -> {
            LinearStage.Choice choice;
            try (LayerSamples samples = LayerSamples.capture(state, workers, layer, target, gains)) {
                choice = new LinearStage(samples, state.kernels, bits, settings).choose(absorber);
            }
            apply(state, layer, absorber, bits.weightBits(), choice.fit());
            choices.accept(new OperatorChoice(name, choice.fit().description(), choice.error(), choice.tried()));
        });
    }

    private static void apply(
            SearchState state, LinearLayer.Float32 layer, InputFold.Absorber absorber, int weightBits, LinearFit fit) {
        ChannelFold fold = fit.input().fold();
        boolean atRunTime = !fold.isIdentity() && !(absorber instanceof InputFold.Absorber.Norm);
        state.put(new LinearLayer.Quantized(
                layer.name(),
                layer.outputs(),
                layer.inputs(),
                weightBits,
                WeightCodes.store(fit.codes(), weightBits > 8, Arena.ofAuto()),
                fit.scales(),
                fit.bias(),
                fit.input().quantizer(),
                atRunTime ? Optional.of(fold.equalization()) : Optional.empty()));
        if (!fold.isIdentity() && absorber instanceof InputFold.Absorber.Norm(String norm)) {
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

    private void attention(ModelUnit unit, SearchState state, float[] gains) {
        int b = unit.block();
        if (!attentionIsQuantized(b)) {
            return;
        }
        OperatorPlan scores = plan.operator(VitNames.scores(b));
        OperatorPlan mixing = plan.operator(VitNames.mixing(b));
        String name = mixing.isFloat() ? scores.operator() : mixing.operator();
        state.progress.stage(name);
        AttentionStage stage =
                new AttentionStage(state, b, triedBits(scores), triedBits(mixing), settings.levels(), gains);
        state.withWorkers(unit.part(), workers -> rewrite(b, state, stage.rewrite(workers)));
        state.withWorkers(unit.part(), workers -> {
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
    static void rewrite(int b, SearchState state, AttentionStage.Rewrite rewrite) {
        switch (state.layer(VitNames.qkv(b))) {
            case LinearLayer.Quantized qkv -> state.put(rewritten(qkv, rewrite));
            case LinearLayer.Float32 qkv -> state.put(rewritten(qkv, rewrite));
        }
        LinearLayer.Float32 projection = state.floatLayer(VitNames.projection(b));
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
            scales[n] = qkv.scale(n) / rewrite.scale()[n];
        }
        return new LinearLayer.Quantized(
                qkv.name(),
                qkv.outputs(),
                qkv.inputs(),
                qkv.bits(),
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
