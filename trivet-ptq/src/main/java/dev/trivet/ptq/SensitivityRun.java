package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.runtime.DatasetRun;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Function;

/**
 * One measurement of {@link ModuleSensitivity}. Walks through the float model block by block; in each, the float outputs and
 * their nuclear norms are worked out once, then every module and width is a search of its own that starts from the float
 * model and its tokens. Up to {@value #AT_ONCE} of them run at a time, because a part of each runs on one thread: what a
 * search needs beside the model is needed as often.
 */
final class SensitivityRun {
    private static final int AT_ONCE = 2;

    private final VitModel model;
    private final VitConfig config;
    private final Kernels kernels;
    private final CalibrationImages images;
    private final Function<QuantizationPlan, UnitSearch> method;
    private final QuantizationPlan base;
    private final int[] candidateBits;
    private final int threads;
    private final SearchListener listener;
    private final List<BlockModule> modules;
    private final long map;
    private final long feature;
    private long done;

    SensitivityRun(
            VitModel model,
            Kernels kernels,
            CalibrationImages images,
            Function<QuantizationPlan, UnitSearch> method,
            QuantizationPlan base,
            int[] candidateBits,
            int mostImages,
            int threads,
            SearchListener listener) {
        if (images.size() == 0 || mostImages < 1 || threads < 1) {
            throw new IllegalArgumentException(
                    images.size() + " images, at most " + mostImages + ", on " + threads + " threads");
        }
        if (candidateBits.length == 0
                || Arrays.stream(candidateBits).distinct().count() != candidateBits.length
                || Arrays.stream(candidateBits).anyMatch(bits -> bits < 2 || bits > 10)) {
            throw new IllegalArgumentException(
                    "candidate bits " + Arrays.toString(candidateBits) + "; different ones from 2 to 10 expected");
        }
        this.model = model;
        config = model.vit();
        this.kernels = kernels;
        this.images = new First(images, Math.min(mostImages, images.size()));
        this.method = method;
        this.base = base;
        this.candidateBits = candidateBits.clone();
        this.threads = threads;
        this.listener = listener;
        modules = BlockModule.of(config, base);
        map = (long) config.heads() * config.tokens() * config.tokens();
        feature = (long) config.tokens() * config.width();
    }

    /** The first images of more. */
    private record First(CalibrationImages all, int size) implements CalibrationImages {
        @Override
        public void load(int index, MemorySegment input) {
            all.load(index, input);
        }
    }

    ModuleSensitivity measure() {
        List<ModuleSensitivity.Module> measured = new ArrayList<>();
        List<ModelUnit> units = ModelUnit.of(config);
        int atOnce = Math.min(threads, AT_ONCE);
        try (SearchState walk = new SearchState(model, model, kernels, images, threads, SearchProgress.silent(config));
                ExecutorService pool = Executors.newFixedThreadPool(atOnce)) {
            for (ModelUnit unit : units) {
                if (unit.part().head()) {
                    break;
                }
                if (unit.block() >= 0) {
                    measured.addAll(measure(unit, walk, pool, Math.max(1, threads / atOnce)));
                }
                walk.advance(unit);
            }
        }
        return new ModuleSensitivity(measured);
    }

    private List<ModuleSensitivity.Module> measure(
            ModelUnit unit, SearchState walk, ExecutorService pool, int threadsEach) {
        List<BlockModule> own =
                modules.stream().filter(m -> m.block() == unit.block()).toList();
        if (own.isEmpty()) {
            return List.of();
        }
        try (ModelTail tail = new ModelTail(model, kernels, unit.block() + 1);
                FloatOutputs wanted = new FloatOutputs(tail)) {
            wanted.capture(unit, walk);
            Errors[][] errors = new Errors[own.size()][candidateBits.length];
            List<Future<?>> jobs = new ArrayList<>();
            for (int m = 0; m < own.size(); m++) {
                for (int c = 0; c < candidateBits.length; c++) {
                    int at = m;
                    int candidate = c;
                    jobs.add(pool.submit(() -> {
                        BlockModule module = own.get(at);
                        int bits = candidateBits[candidate];
                        errors[at][candidate] = errors(unit, module, bits, walk, wanted, tail, threadsEach);
                        progress(module, bits);
                    }));
                }
            }
            DatasetRun.await(jobs);
            List<ModuleSensitivity.Module> measured = new ArrayList<>();
            for (int m = 0; m < own.size(); m++) {
                BlockModule module = own.get(m);
                List<ModuleSensitivity.Width> widths = new ArrayList<>();
                for (int c = 0; c < candidateBits.length; c++) {
                    int bits = candidateBits[c];
                    double onFeature =
                            mean(module.attention() ? wanted.attentionNorms : wanted.mlpNorms, errors[m][c].feature);
                    double onMap = module.attention() ? mean(wanted.mapNorms, errors[m][c].map) : onFeature;
                    double onLogits =
                            Arrays.stream(errors[m][c].logits).average().orElse(0);
                    widths.add(new ModuleSensitivity.Width(bits, module.codeBytes(bits), onMap, onFeature, onLogits));
                }
                measured.add(new ModuleSensitivity.Module(module.name(), widths));
            }
            return measured;
        }
    }

    private synchronized void progress(BlockModule module, int bits) {
        done++;
        listener.progress(
                "sensitivity of " + module.name() + " at " + bits + " bits",
                done,
                (long) modules.size() * candidateBits.length);
    }

    /** Eq. (18) per image, averaged. */
    private static double mean(double[] norms, double[] errors) {
        double sum = 0;
        for (int i = 0; i < norms.length; i++) {
            sum += norms[i] * errors[i];
        }
        return sum / norms.length;
    }

    /** Squared errors by image. */
    @SuppressWarnings("ArrayRecordComponent") // results, never compared
    private record Errors(double[] map, double[] feature, double[] logits) {}

    private Errors errors(
            ModelUnit unit,
            BlockModule module,
            int bits,
            SearchState walk,
            FloatOutputs wanted,
            ModelTail tail,
            int threadsEach) {
        int count = images.size();
        Errors errors = new Errors(new double[count], new double[count], new double[count]);
        try (SearchState state =
                new SearchState(model, model, kernels, images, threadsEach, SearchProgress.silent(config))) {
            for (int i = 0; i < count; i++) {
                state.referenceTokens.image(i).copyFrom(walk.referenceTokens.image(i));
                state.quantizedTokens.image(i).copyFrom(walk.referenceTokens.image(i));
            }
            method.apply(module.alone(base, bits)).quantize(unit, state);
            VitModel quantized = state.current();
            state.withWorkers(
                    unit.part(),
                    workers -> state.pass.run(() -> new TailedWorker(workers.get(), tail.open()), (tailed, image) -> {
                        UnitWorker worker = tailed.unit();
                        MemorySegment values = worker.buffers.get("values", 4 * Math.max(map, feature));
                        Outputs outputs = new Outputs(quantized, module.block()) {
                            @Override
                            void map(Optional<MatmulQuantizers> quantizers, MemorySegment left) {
                                if (module.attention()) {
                                    OperatorOutput.left(quantizers, left, map, config.tokens(), values);
                                    errors.map[image] =
                                            OperatorOutput.squaredDistance(values, wanted.maps.image(image), map);
                                }
                            }

                            @Override
                            void output(LinearLayer layer, MemorySegment raw, int rows) {
                                if (layer.name().equals(module.outputLayer())) {
                                    OperatorOutput.linear(layer, raw, rows, values);
                                    TokenStore store = module.attention() ? wanted.attention : wanted.mlp;
                                    errors.feature[image] =
                                            OperatorOutput.squaredDistance(values, store.image(image), feature);
                                }
                            }
                        };
                        worker.runQuantized(images, state.quantizedTokens, image, outputs);
                        errors.logits[image] = OperatorOutput.squaredDistance(
                                tailed.tail().logits(worker.quantizedTokens()), wanted.logits[image], tail.classes());
                    }));
        }
        return errors;
    }

    /** Watches for the attention map and the outputs of a block's two modules. */
    private abstract static class Outputs implements LayerObserver {
        private final VitModel running;
        private final int block;

        Outputs(VitModel running, int block) {
            this.running = running;
            this.block = block;
        }

        abstract void map(Optional<MatmulQuantizers> quantizers, MemorySegment left);

        abstract void output(LinearLayer layer, MemorySegment raw, int rows);

        @Override
        public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
            if (name.equals(VitNames.mixing(block))) {
                map(Optional.ofNullable(running.matmuls().get(name)), left);
            }
        }

        @Override
        public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
            if (name.equals(VitNames.projection(block)) || name.equals(VitNames.output(block))) {
                output(running.linear(name), raw, rows);
            }
        }
    }

    /** A block's outputs in float, with their nuclear norms by image. */
    private final class FloatOutputs implements AutoCloseable {
        final TokenStore maps = new TokenStore(images.size(), 4 * map);
        final TokenStore attention = new TokenStore(images.size(), 4 * feature);
        final TokenStore mlp = new TokenStore(images.size(), 4 * feature);
        final double[] mapNorms = new double[images.size()];
        final double[] attentionNorms = new double[images.size()];
        final double[] mlpNorms = new double[images.size()];
        final MemorySegment[] logits = new MemorySegment[images.size()];
        private final ModelTail tail;

        FloatOutputs(ModelTail tail) {
            this.tail = tail;
        }

        void capture(ModelUnit unit, SearchState walk) {
            int tokens = config.tokens();
            walk.withWorkers(
                    unit.part(),
                    workers -> walk.pass.run(() -> new TailedWorker(workers.get(), tail.open()), (tailed, image) -> {
                        UnitWorker worker = tailed.unit();
                        worker.runReference(images, walk.referenceTokens, image, new Outputs(model, unit.block()) {
                            @Override
                            void map(Optional<MatmulQuantizers> quantizers, MemorySegment left) {
                                OperatorOutput.left(quantizers, left, map, config.tokens(), maps.image(image));
                            }

                            @Override
                            void output(LinearLayer layer, MemorySegment raw, int rows) {
                                boolean ofMlp = layer.name().equals(VitNames.output(unit.block()));
                                OperatorOutput.linear(layer, raw, rows, (ofMlp ? mlp : attention).image(image));
                            }
                        });
                        long head = 4L * tokens * tokens;
                        for (int h = 0; h < config.heads(); h++) {
                            mapNorms[image] +=
                                    NuclearNorm.of(maps.image(image).asSlice(h * head, head), tokens, tokens);
                        }
                        attentionNorms[image] = NuclearNorm.of(attention.image(image), tokens, config.width());
                        mlpNorms[image] = NuclearNorm.of(mlp.image(image), tokens, config.width());
                        logits[image] = MemorySegment.ofArray(
                                tailed.tail().logits(worker.referenceTokens()).toArray(JAVA_FLOAT));
                    }));
        }

        @Override
        public void close() {
            maps.close();
            attention.close();
            mlp.close();
        }
    }
}
