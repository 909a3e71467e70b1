package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.AttentionLayout;
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

    /** Stores of a block's float outputs: attention maps and what both modules give. */
    static final int STORES = 3;

    private final VitModel model;
    private final Geometry geometry;
    private final Kernels kernels;
    private final CalibrationImages images;
    private final Function<QuantizationPlan, UnitSearch> method;
    private final QuantizationPlan base;
    private final int[] candidateBits;
    private final int threads;
    private final SearchListener listener;
    private final List<BlockModule> modules;
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
        geometry = model.geometry();
        this.kernels = kernels;
        this.images = new First(images, Math.min(mostImages, images.size()));
        this.method = method;
        this.base = base;
        this.candidateBits = candidateBits.clone();
        this.threads = threads;
        this.listener = listener;
        modules = BlockModule.of(geometry, base);
    }

    /** How many searches run at the same time. */
    static int atOnce(int threads) {
        return Math.min(threads, AT_ONCE);
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
        List<SearchUnit> units = SearchUnit.of(geometry);
        int atOnce = atOnce(threads);
        try (SearchState walk =
                        new SearchState(model, model, kernels, images, threads, SearchProgress.silent(geometry));
                ExecutorService pool = Executors.newFixedThreadPool(atOnce)) {
            for (SearchUnit unit : units) {
                if (unit.unit() instanceof ModelUnit.Block block) {
                    measured.addAll(measure(unit, block, walk, pool, Math.max(1, threads / atOnce)));
                }
                if (unit.index() + 1 < units.size()) {
                    walk.advance(unit);
                }
            }
        }
        return new ModuleSensitivity(measured);
    }

    private List<ModuleSensitivity.Module> measure(
            SearchUnit unit, ModelUnit.Block block, SearchState walk, ExecutorService pool, int threadsEach) {
        List<BlockModule> own =
                modules.stream().filter(m -> m.block().equals(block)).toList();
        if (own.isEmpty()) {
            return List.of();
        }
        try (ModelTail tail = new ModelTail(model, kernels, unit.index());
                FloatOutputs wanted = new FloatOutputs(walk.layout(block), tail)) {
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
            SearchUnit unit,
            BlockModule module,
            int bits,
            SearchState walk,
            FloatOutputs wanted,
            ModelTail tail,
            int threadsEach) {
        int count = images.size();
        Errors errors = new Errors(new double[count], new double[count], new double[count]);
        try (SearchState state =
                new SearchState(model, model, kernels, images, threadsEach, SearchProgress.silent(geometry))) {
            long map = wanted.map;
            long feature = wanted.feature;
            for (int i = 0; i < count; i++) {
                state.referenceTokens.image(i).copyFrom(walk.referenceTokens.image(i));
                state.quantizedTokens.image(i).copyFrom(walk.referenceTokens.image(i));
            }
            method.apply(module.alone(base, bits)).quantize(unit, state);
            VitModel quantized = state.current();
            state.withWorkers(
                    unit,
                    workers -> state.pass.run(() -> new TailedWorker(workers.get(), tail.open()), (tailed, image) -> {
                        UnitWorker worker = tailed.unit();
                        MemorySegment values = worker.buffers.get("values", 4 * Math.max(map, feature));
                        Outputs outputs = new Outputs(quantized, module.block()) {
                            @Override
                            void map(Optional<MatmulQuantizers> quantizers, MemorySegment left) {
                                if (module.attention()) {
                                    wanted.map(quantizers, left, values);
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
        private final ModelUnit.Block block;

        Outputs(VitModel running, ModelUnit.Block block) {
            this.running = running;
            this.block = block;
        }

        abstract void map(Optional<MatmulQuantizers> quantizers, MemorySegment left);

        abstract void output(LinearLayer layer, MemorySegment raw, int rows);

        @Override
        public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
            if (name.equals(block.mixing())) {
                map(Optional.ofNullable(running.matmuls().get(name)), left);
            }
        }

        @Override
        public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
            if (name.equals(block.projection()) || name.equals(block.mlpOutput())) {
                output(running.linear(name), raw, rows);
            }
        }
    }

    /** Clears the rows of padded queries. */
    static void clearPadding(AttentionLayout layout, MemorySegment maps) {
        ModelUnit.Block block = layout.unit();
        int n = block.groupTokens();
        for (int row = 0; layout.isPadded() && row < layout.products() * n; row++) {
            if (layout.isPadding(row / n / block.heads(), row % n)) {
                maps.asSlice(4L * row * n, 4L * n).fill((byte) 0);
            }
        }
    }

    /** Nuclear norm of an image's attention maps, summed over groups and heads. */
    static double mapNorm(AttentionLayout layout, MemorySegment maps) {
        int n = layout.unit().groupTokens();
        long bytes = 4L * n * n;
        double norm = 0;
        for (int product = 0; product < layout.products(); product++) {
            norm += NuclearNorm.of(maps.asSlice(product * bytes, bytes), n, n);
        }
        return norm;
    }

    /** A block's outputs in float, with their nuclear norms by image. */
    private final class FloatOutputs implements AutoCloseable {
        private final AttentionLayout layout;
        private final ModelUnit.Block block;
        final long map;
        final long feature;
        final TokenStore maps;
        final TokenStore attention;
        final TokenStore mlp;
        final double[] mapNorms = new double[images.size()];
        final double[] attentionNorms = new double[images.size()];
        final double[] mlpNorms = new double[images.size()];
        final MemorySegment[] logits = new MemorySegment[images.size()];
        private final ModelTail tail;

        FloatOutputs(AttentionLayout layout, ModelTail tail) {
            this.tail = tail;
            this.layout = layout;
            block = layout.unit();
            map = layout.mapElements();
            feature = block.shape().values();
            maps = new TokenStore(images.size(), 4 * map);
            attention = new TokenStore(images.size(), 4 * feature);
            mlp = new TokenStore(images.size(), 4 * feature);
        }

        void capture(SearchUnit unit, SearchState walk) {
            int tokens = block.shape().tokens();
            int width = block.shape().width();
            walk.withWorkers(
                    unit,
                    workers -> walk.pass.run(() -> new TailedWorker(workers.get(), tail.open()), (tailed, image) -> {
                        UnitWorker worker = tailed.unit();
                        worker.runReference(images, walk.referenceTokens, image, new Outputs(model, block) {
                            @Override
                            void map(Optional<MatmulQuantizers> quantizers, MemorySegment left) {
                                FloatOutputs.this.map(quantizers, left, maps.image(image));
                            }

                            @Override
                            void output(LinearLayer layer, MemorySegment raw, int rows) {
                                boolean ofMlp = layer.name().equals(block.mlpOutput());
                                OperatorOutput.linear(layer, raw, rows, (ofMlp ? mlp : attention).image(image));
                            }
                        });
                        mapNorms[image] = mapNorm(layout, maps.image(image));
                        attentionNorms[image] = NuclearNorm.of(attention.image(image), tokens, width);
                        mlpNorms[image] = NuclearNorm.of(mlp.image(image), tokens, width);
                        logits[image] = MemorySegment.ofArray(
                                tailed.tail().logits(worker.referenceTokens()).toArray(JAVA_FLOAT));
                    }));
        }

        /** One image's attention maps {@code [groups, heads, groupTokens, groupTokens]}, rows of padded queries zero. */
        void map(Optional<MatmulQuantizers> quantizers, MemorySegment left, MemorySegment values) {
            OperatorOutput.left(quantizers, left, map, block.groupTokens(), values);
            clearPadding(layout, values);
        }

        @Override
        public void close() {
            maps.close();
            attention.close();
            mlp.close();
        }
    }
}
