package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.Pooling;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentHashMap;

/**
 * How far an error in each token moves the logits, at each point of the residual stream. A search that minimises squared errors
 * weighs the tokens by it. Where a model classifies by one token, the others pass through many layers that average them, and what
 * they hold after the last block is never read; per-token the difference is large, and a plain sum over tokens is blind to it.
 *
 * <p>Measured, not modelled: noise of {@value #NOISE} of the stream's root mean square is added to one prefix token, or to all
 * patches, and the float model's own tail says what it does,
 *
 * <pre>gain(t) = E ||tail(x + e_t) - tail(x)||^2 / ||e_t||^2</pre>
 *
 * over the first {@value #IMAGES} images. Gains are relative to a patch's, between 1/{@value #MOST} and {@value #MOST}. A
 * model that pools all tokens has gains of 1.
 *
 * <p>Safe for use by many threads; each point is measured once.
 */
final class TokenGains {
    private static final int IMAGES = 8;
    private static final double NOISE = 0.05;
    private static final double MOST = 1000;
    private static final LayerObserver NOBODY = new LayerObserver() {};

    private final VitModel model;
    private final int threads;
    private final Map<Integer, float[]> measured = new ConcurrentHashMap<>();

    /** @param model the float model that the search starts from */
    TokenGains(VitModel model, int threads) {
        this.model = model;
        this.threads = threads;
    }

    /** Gains of the tokens that a unit reads, {@code [tokens]}; the state has got as far as that unit. */
    float[] before(SearchUnit unit, SearchState state) {
        return at(unit.index() - 1, state, unit, false);
    }

    /** Gains of the tokens that a unit gives. */
    float[] after(SearchUnit unit, SearchState state) {
        return at(unit.index(), state, unit, true);
    }

    /** @param point the unit that the tokens come from */
    private float[] at(int point, SearchState state, SearchUnit unit, boolean run) {
        if (model.geometry() instanceof VitConfig config && config.pooling() == Pooling.TOKEN) {
            return measured.computeIfAbsent(point, p -> measure(config, p, state, unit, run))
                    .clone();
        }
        float[] ones = new float[unit.unit().output().tokens()];
        Arrays.fill(ones, 1f);
        return ones;
    }

    private float[] measure(VitConfig config, int point, SearchState state, SearchUnit unit, boolean run) {
        int prefixes = config.prefixTokens();
        int images = Math.min(IMAGES, state.images.size());
        double[] gains = new double[prefixes + 1];
        try (ModelTail tail = new ModelTail(model, state.kernels, point);
                ImagePass pass = new ImagePass(images, threads, () -> {})) {
            state.withWorkers(
                    unit,
                    workers -> pass.run(
                            () -> new TailedWorker(workers.get(), tail.open()), new ImagePass.Task<TailedWorker>() {
                                @Override
                                public void compute(TailedWorker worker, int image) {
                                    MemorySegment tokens = state.referenceTokens.image(image);
                                    if (run) {
                                        worker.unit().runReference(state.images, state.referenceTokens, image, NOBODY);
                                        tokens = worker.unit().referenceTokens();
                                    }
                                    MemorySegment effects =
                                            worker.unit().buffers.get("effects", 8L * (prefixes + 1));
                                    effects(config, tail, worker, tokens, new SplittableRandom(image), effects);
                                }

                                @Override
                                public void merge(TailedWorker worker, int image) {
                                    MemorySegment effects =
                                            worker.unit().buffers.get("effects", 0);
                                    for (int g = 0; g <= prefixes; g++) {
                                        gains[g] += effects.getAtIndex(JAVA_DOUBLE, g);
                                    }
                                }
                            }));
        }
        float[] relative = new float[config.tokens()];
        Arrays.fill(relative, 1f);
        for (int t = 0; t < prefixes; t++) {
            relative[t] = (float) Math.clamp(gains[t] / Math.max(gains[prefixes], 1e-30), 1 / MOST, MOST);
        }
        return relative;
    }

    /** Squared movement of the logits per noisy token: of each prefix token, then of a patch. */
    private static void effects(
            VitConfig config,
            ModelTail tail,
            TailedWorker worker,
            MemorySegment tokens,
            SplittableRandom random,
            MemorySegment effects) {
        int width = config.width();
        int prefixes = config.prefixTokens();
        long values = (long) config.tokens() * width;
        double squares = 0;
        for (long i = 0; i < values; i++) {
            double v = tokens.getAtIndex(JAVA_FLOAT, i);
            squares += v * v;
        }
        double noise = NOISE * Math.sqrt(squares / values);
        MemorySegment clean = MemorySegment.ofArray(worker.tail().logits(tokens).toArray(JAVA_FLOAT));
        MemorySegment noisy = worker.unit().buffers.get("noisy", 4 * values);
        for (int g = 0; g <= prefixes; g++) {
            int from = g;
            int to = g == prefixes ? config.tokens() : g + 1;
            MemorySegment.copy(tokens, 0, noisy, 0, 4 * values);
            for (long i = (long) from * width; i < (long) to * width; i++) {
                float v = noisy.getAtIndex(JAVA_FLOAT, i);
                noisy.setAtIndex(JAVA_FLOAT, i, (float) (v + noise * random.nextGaussian()));
            }
            double moved = OperatorOutput.squaredDistance(worker.tail().logits(noisy), clean, tail.classes());
            effects.setAtIndex(JAVA_DOUBLE, g, moved / (to - from));
        }
    }
}
