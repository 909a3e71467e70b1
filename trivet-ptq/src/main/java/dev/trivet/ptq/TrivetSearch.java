package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import java.lang.foreign.Arena;
import java.util.Locale;
import java.util.function.Consumer;

/**
 * The default method. Per unit, in execution order: the q, k, v projection, the two attention products, the projection, the
 * two MLP layers; every layer is fitted to what the quantized beginning of the model feeds it ({@link LinearStage},
 * {@link AttentionStage}).
 */
public final class TrivetSearch implements UnitSearch {
    private final QuantizationPlan plan;
    private final Consumer<String> log;

    TrivetSearch(QuantizationPlan plan, Consumer<String> log) {
        this.plan = plan;
        this.log = log;
    }

    public static VitModel quantize(
            VitModel model,
            Kernels kernels,
            CalibrationImages images,
            QuantizationPlan plan,
            int threads,
            Consumer<String> log) {
        if (Boolean.getBoolean("x.rot")) model = ResidualRotation.apply(model, 0);
        return BlockwiseSearch.quantize(
                model,
                model,
                0,
                kernels,
                images,
                threads,
                new TrivetSearch(plan, log),
                SearchListener.SILENT,
                (units, reached) -> {});
    }

    @Override
    public long memoryBound(dev.trivet.model.VitConfig config) {
        return 0;
    }

    @Override
    public void quantize(ModelUnit unit, SearchState state) {
        int b = unit.block();
        int tokens = state.config().tokens();
        if (unit.part().embedding()) {
            linear(
                    VitNames.PATCH_EMBEDDING,
                    unit,
                    state,
                    LayerSamples.Target.OUTPUT,
                    "",
                    state.config().patches());
        } else if (unit.part().head()) {
            boolean distilled = state.config().distilled();
            String norm = distilled ? "" : VitNames.finalNorm(state.config());
            linear(VitNames.HEAD, unit, state, LayerSamples.Target.OUTPUT, norm, 1);
            if (distilled) {
                linear(VitNames.DISTILLATION_HEAD, unit, state, LayerSamples.Target.OUTPUT, "", 1);
            }
        } else {
            if (!Boolean.getBoolean("x.nobasis")) {
                state.withWorkers(unit.part(), workers -> HeadMoments.rewrite(state, b, workers));
            }
            linear(VitNames.qkv(b), unit, state, LayerSamples.Target.OUTPUT, VitNames.attentionNorm(b), tokens);
            attention(unit, state);
            linear(VitNames.projection(b), unit, state, LayerSamples.Target.STREAM_AFTER_ATTENTION, "", tokens);
            linear(VitNames.hidden(b), unit, state, LayerSamples.Target.OUTPUT, VitNames.mlpNorm(b), tokens);
            linear(VitNames.output(b), unit, state, LayerSamples.Target.STREAM_AFTER_BLOCK, "", tokens);
        }
    }

    private void linear(
            String name, ModelUnit unit, SearchState state, LayerSamples.Target target, String norm, int rows) {
        OperatorPlan bits = plan.operator(name);
        if (bits.isFloat()) {
            return;
        }
        LinearLayer.Float32 layer = state.floatLayer(name);
        state.withWorkers(unit.part(), workers -> {
            LinearStage.Choice choice;
            float[] roots = roots(state, name, rows);
            try (LayerSamples samples = LayerSamples.capture(state, workers, layer, target, roots)) {
                choice = new LinearStage(samples, state.kernels, bits).choose(!norm.isEmpty());
            }
            apply(state, layer, norm, bits.weightBits(), choice.fit());
            StringBuilder all = new StringBuilder();
            for (LinearStage.Tried tried : choice.tried()) {
                all.append(String.format(Locale.ROOT, " [%s %.4f]", tried.description(), tried.error()));
            }
            log.accept(String.format(
                    Locale.ROOT,
                    "%s: %s, error %.5f%s",
                    name,
                    choice.fit().description(),
                    choice.error(),
                    Boolean.getBoolean("trivet.verbose") ? all : ""));
        });
    }

    private static float[] roots(SearchState state, String name, int rows) {
        float[] roots = new float[rows];
        java.util.Arrays.fill(roots, 1f);
        dev.trivet.model.VitConfig c = state.config();
        if (c.pooling() == dev.trivet.model.Pooling.TOKEN && rows == c.tokens()) {
            boolean last = name.startsWith(VitNames.block(c.depth() - 1) + ".") && !name.endsWith("qkv");
            double prefix = last ? LAST : PREFIX;
            for (int r = 0; r < c.prefixTokens(); r++) {
                roots[r] = (float) Math.sqrt(prefix);
            }
        }
        return roots;
    }

    private static final double PREFIX = Double.parseDouble(System.getProperty("x.prefix", "1"));
    private static final double LAST = Double.parseDouble(System.getProperty("x.last", "1"));

    private static void apply(
            SearchState state, LinearLayer.Float32 layer, String norm, int weightBits, LinearFit fit) {
        state.put(new LinearLayer.Quantized(
                layer.name(),
                layer.outputs(),
                layer.inputs(),
                weightBits,
                WeightCodes.store(fit.codes(), weightBits > 8, Arena.ofAuto()),
                fit.scales(),
                fit.bias(),
                fit.input().quantizer()));
        if (!fit.input().fold().isIdentity()) {
            float[] gamma = state.floats(norm + ".weight").clone();
            float[] beta = state.floats(norm + ".bias").clone();
            for (int c = 0; c < gamma.length; c++) {
                gamma[c] /= fit.input().fold().scale()[c];
                beta[c] = (beta[c] - fit.input().fold().shift()[c])
                        / fit.input().fold().scale()[c];
            }
            state.put(norm + ".weight", gamma);
            state.put(norm + ".bias", beta);
        }
    }

    private void attention(ModelUnit unit, SearchState state) {
        int b = unit.block();
        OperatorPlan scores = plan.operator(VitNames.scores(b));
        OperatorPlan mixing = plan.operator(VitNames.mixing(b));
        if (scores.isFloat() || mixing.isFloat()) {
            return;
        }
        AttentionStage stage = new AttentionStage(state, b, scores.activationBits(), mixing.activationBits());
        state.withWorkers(unit.part(), workers -> rewrite(b, state, stage.rewrite(workers)));
        state.withWorkers(unit.part(), workers -> {
            AttentionStage.Choice choice = stage.choose(workers);
            state.put(VitNames.scores(b), choice.scores());
            state.put(VitNames.mixing(b), choice.mixing());
            log.accept(String.format(
                    Locale.ROOT, "%s: %s, error %.5f", VitNames.mixing(b), choice.description(), choice.error()));
        });
    }

    private static void rewrite(int b, SearchState state, AttentionStage.Rewrite rewrite) {
        LinearLayer.Quantized qkv = state.quantizedLayer(VitNames.qkv(b));
        float[] scales = new float[qkv.outputs()];
        float[] bias = new float[qkv.outputs()];
        for (int n = 0; n < scales.length; n++) {
            scales[n] = qkv.scale(n) / rewrite.scale()[n];
            bias[n] = (qkv.bias()[n] - rewrite.shift()[n]) / rewrite.scale()[n];
        }
        state.put(new LinearLayer.Quantized(
                qkv.name(), qkv.outputs(), qkv.inputs(), qkv.bits(), qkv.codes(), scales, bias, qkv.input()));
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
}
