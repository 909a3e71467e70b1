package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.AttentionLayout;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.ModelExecutor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * A model on its way from float to quantized, with the tokens of all calibration images at the unit that has been reached,
 * once as the float model gives them and once as the quantized beginning does. Used by one thread, which lets {@link #pass}
 * spread images over others.
 */
final class SearchState implements AutoCloseable {
    private final VitModel original;
    /** The float model, with the present unit rewritten as the method likes. */
    private VitModel model;

    final Kernels kernels;
    final CalibrationImages images;
    final SearchProgress progress;
    final ImagePass pass;
    final TokenStore referenceTokens;
    final TokenStore quantizedTokens;
    private final Map<String, LinearLayer> linears;
    private final Map<String, MatmulQuantizers> matmuls;
    private final Map<String, float[]> floats;
    private final Arena arena = Arena.ofShared();
    private final Map<String, AttentionLayout> layouts = new HashMap<>();

    /**
     * @param model the float model
     * @param begun the model with what is quantized already, or the float model again
     */
    SearchState(
            VitModel model,
            VitModel begun,
            Kernels kernels,
            CalibrationImages images,
            int threads,
            SearchProgress progress) {
        original = model;
        this.model = model;
        this.kernels = kernels;
        this.images = images;
        this.progress = progress;
        linears = new LinkedHashMap<>(begun.linears());
        matmuls = new LinkedHashMap<>(begun.matmuls());
        floats = new LinkedHashMap<>(begun.floats());
        long tokenBytes = 4 * SearchUnit.streamValues(model.geometry());
        pass = new ImagePass(images.size(), threads, progress::image);
        referenceTokens = new TokenStore(images.size(), tokenBytes);
        quantizedTokens = new TokenStore(images.size(), tokenBytes);
    }

    Geometry geometry() {
        return model.geometry();
    }

    /** How a block's tokens are grouped for attention, for one image at a time; lives as long as this. */
    AttentionLayout layout(ModelUnit.Block block) {
        return layouts.computeIfAbsent(block.name(), name -> AttentionLayout.of(original, block, 1, arena));
    }

    /** The model as far as it is quantized. */
    VitModel current() {
        return new VitModel(model.config(), linears, matmuls, floats);
    }

    /**
     * Replaces a float layer of the present unit by one that does the same in other variables, in the float model as well
     * until the unit is left.
     */
    void rewriteFloat(LinearLayer.Float32 layer) {
        Map<String, LinearLayer> rewritten = new LinkedHashMap<>(model.linears());
        rewritten.put(layer.name(), layer);
        model = new VitModel(model.config(), rewritten, model.matmuls(), model.floats());
        linears.put(layer.name(), layer);
    }

    /** A layer that is still float; earlier rewrites may have changed its weights. */
    LinearLayer.Float32 floatLayer(String name) {
        if (linears.get(name) instanceof LinearLayer.Float32 layer) {
            return layer;
        }
        throw new IllegalStateException(name + " is quantized already");
    }

    /** The bias of a layer of the float model. */
    float[] referenceBias(String name) {
        return model.linear(name).bias();
    }

    LinearLayer layer(String name) {
        return Objects.requireNonNull(linears.get(name), name);
    }

    float[] floats(String name) {
        return Objects.requireNonNull(floats.get(name), name);
    }

    void put(LinearLayer layer) {
        linears.put(layer.name(), layer);
    }

    void put(String product, MatmulQuantizers quantizers) {
        matmuls.put(product, quantizers);
    }

    void put(String name, float[] values) {
        floats.put(name, values);
    }

    /** Compiles a unit of both models and gives what threads work with. */
    void withWorkers(SearchUnit unit, Consumer<Supplier<UnitWorker>> use) {
        int u = unit.index();
        try (ModelExecutor reference = ModelExecutor.compile(model, kernels, 1, u, u + 1);
                ModelExecutor quantized = ModelExecutor.compile(current(), kernels, 1, u, u + 1)) {
            use.accept(() -> new UnitWorker(reference, quantized, unit, kernels));
        }
    }

    /**
     * Moves the tokens of both models past a unit. Rewrites of the float model are dropped first: its tokens must not depend on
     * whether the unit was searched in this run or in an earlier one.
     */
    void advance(SearchUnit unit) {
        model = original;
        LayerObserver nothing = new LayerObserver() {};
        long bytes = 4 * unit.unit().output().values();
        withWorkers(
                unit,
                workers -> pass.run(workers, (worker, image) -> {
                    worker.runReference(images, referenceTokens, image, nothing);
                    MemorySegment.copy(worker.referenceTokens(), 0, referenceTokens.image(image), 0, bytes);
                    worker.runQuantized(images, quantizedTokens, image, nothing);
                    MemorySegment.copy(worker.quantizedTokens(), 0, quantizedTokens.image(image), 0, bytes);
                }));
    }

    @Override
    public void close() {
        pass.close();
        referenceTokens.close();
        quantizedTokens.close();
        arena.close();
    }
}
