package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.VitExecutor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** Block by block. */
public final class TrivetSearch {
    private final VitModel model;
    private final VitConfig config;
    private final Kernels kernels;
    private final CalibrationImages images;
    private final int weightBits;
    private final int activationBits;
    private final int edgeBits;
    private final ImagePass pass;
    private final Consumer<String> log;
    private final Map<String, LinearLayer> linears;
    private final Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>();
    private final Map<String, float[]> floats;

    private TrivetSearch(
            VitModel model,
            Kernels kernels,
            CalibrationImages images,
            int weightBits,
            int activationBits,
            int edgeBits,
            int threads,
            Consumer<String> log) {
        this.model = model;
        config = model.vit();
        this.kernels = kernels;
        this.images = images;
        this.weightBits = weightBits;
        this.activationBits = activationBits;
        this.edgeBits = edgeBits;
        this.log = log;
        pass = new ImagePass(images.size(), threads, () -> {});
        linears = new LinkedHashMap<>(model.linears());
        floats = new LinkedHashMap<>(model.floats());
    }

    public static VitModel quantize(
            VitModel model,
            Kernels kernels,
            CalibrationImages images,
            int weightBits,
            int activationBits,
            int edgeBits,
            int threads,
            Consumer<String> log) {
        TrivetSearch search =
                new TrivetSearch(model, kernels, images, weightBits, activationBits, edgeBits, threads, log);
        try {
            return search.run();
        } finally {
            search.pass.close();
        }
    }

    private LinearLayer layer(String name) {
        return java.util.Objects.requireNonNull(linears.get(name), name);
    }

    private VitModel current() {
        return new VitModel(model.config(), linears, matmuls, floats);
    }

    private VitModel run() {
        long tokenBytes = 4L * config.tokens() * config.width();
        try (TokenStore reference = new TokenStore(images.size(), tokenBytes);
                TokenStore quantized = new TokenStore(images.size(), tokenBytes)) {
            linear(
                    VitNames.PATCH_EMBEDDING,
                    VitExecutor.Part.ofEmbedding(),
                    reference,
                    quantized,
                    LinearStage.Target.OUTPUT,
                    "",
                    config.patches(),
                    edgeBits,
                    edgeBits);
            advance(VitExecutor.Part.ofEmbedding(), reference, quantized);
            for (int b = 0; b < config.depth(); b++) {
                VitExecutor.Part part = VitExecutor.Part.ofBlock(b);
                int rows = config.tokens();
                linear(
                        VitNames.qkv(b),
                        part,
                        reference,
                        quantized,
                        LinearStage.Target.OUTPUT,
                        VitNames.attentionNorm(b),
                        rows,
                        weightBits,
                        activationBits);
                attention(b, reference, quantized);
                linear(
                        VitNames.projection(b),
                        part,
                        reference,
                        quantized,
                        LinearStage.Target.STREAM_AFTER_ATTENTION,
                        "",
                        rows,
                        weightBits,
                        activationBits);
                linear(
                        VitNames.hidden(b),
                        part,
                        reference,
                        quantized,
                        LinearStage.Target.OUTPUT,
                        VitNames.mlpNorm(b),
                        rows,
                        weightBits,
                        activationBits);
                linear(
                        VitNames.output(b),
                        part,
                        reference,
                        quantized,
                        LinearStage.Target.STREAM_AFTER_BLOCK,
                        "",
                        rows,
                        weightBits,
                        activationBits);
                advance(part, reference, quantized);
            }
            linear(
                    VitNames.HEAD,
                    VitExecutor.Part.ofHead(config),
                    reference,
                    quantized,
                    LinearStage.Target.OUTPUT,
                    config.distilled() ? "" : VitNames.finalNorm(config),
                    1,
                    edgeBits,
                    edgeBits);
        }
        return current();
    }

    private interface Use {
        void with(Supplier<UnitWorker> workers);
    }

    private void withWorkers(VitExecutor.Part part, Use use) {
        try (VitExecutor reference = new VitExecutor(model, kernels, 1, part);
                VitExecutor quantized = new VitExecutor(current(), kernels, 1, part)) {
            use.with(() -> new UnitWorker(reference, quantized, part, kernels));
        }
    }

    private void linear(
            String name,
            VitExecutor.Part part,
            TokenStore reference,
            TokenStore quantized,
            LinearStage.Target target,
            String norm,
            int rows,
            int wBits,
            int aBits) {
        long start = System.nanoTime();
        LinearLayer.Float32 layer = (LinearLayer.Float32) layer(name);
        withWorkers(part, workers -> {
            LinearStage stage = new LinearStage(
                    images,
                    pass,
                    kernels,
                    workers,
                    reference,
                    quantized,
                    layer,
                    target,
                    !norm.isEmpty(),
                    rows,
                    wBits,
                    aBits);
            LinearStage.Choice choice = stage.choose();
            apply(name, layer, norm, wBits, choice.fit());
            StringBuilder all = new StringBuilder();
            for (LinearStage.Tried tried : choice.tried()) {
                all.append(String.format(" [%s %.4f]", tried.description(), tried.error()));
            }
            log.accept(String.format(
                    "%s: %s, error %.5f (%.1f s)%s",
                    name,
                    choice.fit().description(),
                    choice.error(),
                    (System.nanoTime() - start) / 1e9,
                    System.getProperty("trivet.verbose") != null ? all : ""));
        });
    }

    private void apply(String name, LinearLayer.Float32 layer, String norm, int wBits, LinearFit fit) {
        MemorySegment codes = WeightCodes.store(fit.codes(), wBits > 8, Arena.ofAuto());
        linears.put(
                name,
                new LinearLayer.Quantized(
                        name, layer.outputs(), layer.inputs(), wBits, codes, fit.scales(), fit.bias(), fit.input()));
        if (!fit.fold().isIdentity()) {
            float[] gamma = model.floats(norm + ".weight").clone();
            float[] beta = model.floats(norm + ".bias").clone();
            for (int c = 0; c < gamma.length; c++) {
                gamma[c] /= fit.fold().scale()[c];
                beta[c] = (beta[c] - fit.fold().shift()[c]) / fit.fold().scale()[c];
            }
            floats.put(norm + ".weight", gamma);
            floats.put(norm + ".bias", beta);
        }
    }

    private void attention(int b, TokenStore reference, TokenStore quantized) {
        long start = System.nanoTime();
        VitExecutor.Part part = VitExecutor.Part.ofBlock(b);
        AttentionStage stage = new AttentionStage(images, pass, kernels, quantized, config, b, activationBits);
        withWorkers(part, workers -> rewrite(b, stage.rewrite(workers)));
        withWorkers(part, workers -> {
            AttentionStage.Choice choice = stage.choose(workers);
            matmuls.put(VitNames.scores(b), choice.scores());
            matmuls.put(VitNames.mixing(b), choice.mixing());
            log.accept(String.format(
                    "%s: %s, error %.5f (%.1f s)",
                    VitNames.mixing(b), choice.description(), choice.error(), (System.nanoTime() - start) / 1e9));
        });
    }

    private void rewrite(int b, AttentionStage.Rewrite rewrite) {
        LinearLayer.Quantized qkv = (LinearLayer.Quantized) layer(VitNames.qkv(b));
        float[] scales = new float[qkv.outputs()];
        float[] bias = new float[qkv.outputs()];
        for (int n = 0; n < scales.length; n++) {
            scales[n] = qkv.scale(n) / rewrite.scale()[n];
            bias[n] = (qkv.bias()[n] - rewrite.shift()[n]) / rewrite.scale()[n];
        }
        linears.put(
                qkv.name(),
                new LinearLayer.Quantized(
                        qkv.name(), qkv.outputs(), qkv.inputs(), qkv.bits(), qkv.codes(), scales, bias, qkv.input()));
        LinearLayer.Float32 projection = (LinearLayer.Float32) layer(VitNames.projection(b));
        float[] weight = projection.weight().clone();
        float[] projectionBias = projection.bias().clone();
        int width = config.width();
        for (int n = 0; n < projection.outputs(); n++) {
            double shift = 0;
            for (int c = 0; c < width; c++) {
                shift += (double) weight[n * width + c] * rewrite.shift()[2 * width + c];
                weight[n * width + c] *= rewrite.scale()[2 * width + c];
            }
            projectionBias[n] += (float) shift;
        }
        linears.put(
                projection.name(),
                new LinearLayer.Float32(
                        projection.name(), projection.outputs(), projection.inputs(), weight, projectionBias));
    }

    /** Moves both models' tokens past a unit. */
    private void advance(VitExecutor.Part part, TokenStore reference, TokenStore quantized) {
        LayerObserver nothing = new LayerObserver() {};
        withWorkers(
                part,
                workers -> pass.run(workers, (worker, image) -> {
                    worker.runReference(images, reference, image, nothing);
                    reference.image(image).copyFrom(worker.referenceTokens());
                    worker.runQuantized(images, quantized, image, nothing);
                    quantized.image(image).copyFrom(worker.quantizedTokens());
                }));
    }
}
