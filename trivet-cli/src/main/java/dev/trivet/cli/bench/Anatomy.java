package dev.trivet.cli.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.ModelExecutor;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * How a model's run is made up.
 *
 * @param weightBytes bytes of its linear weights in memory, as they are kept between runs
 * @param shares of the time, by kind of operator
 */
public record Anatomy(long weightBytes, Map<String, Double> shares) {
    /** Keeps the order. */
    public Anatomy {
        shares = Collections.unmodifiableMap(new LinkedHashMap<>(shares));
    }

    /**
     * Runs the model on one thread.
     *
     * @param batch images of a call
     * @param seed of the images
     * @param seconds to look for
     */
    public static Anatomy of(VitModel model, Kernels kernels, int batch, long seed, double seconds)
            throws InterruptedException {
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, batch);
                TrivetCaller caller = new TrivetCaller(executor, TestImages.of(model.geometry(), batch, seed), batch)) {
            return new Anatomy(executor.weightBytes(), OperatorTimes.sample(caller, seconds));
        }
    }
}
