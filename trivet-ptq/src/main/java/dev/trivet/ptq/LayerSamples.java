package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.LinearLayer;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.MemorySegment;
import java.util.function.Supplier;

/**
 * What a linear layer reads in the partly quantized model, and what it should give, for all calibration images. The last fifth
 * of the images is held out: candidates are fitted on the others and compared on these.
 */
final class LayerSamples implements AutoCloseable {
    /** What the layer's output should come close to. */
    enum Target {
        /** The float model's output of the same layer. */
        OUTPUT,
        /** What brings the residual stream after the layer to the float model's; the layer is the attention projection. */
        STREAM_AFTER_ATTENTION,
        /** The same; the layer is the block's last. */
        STREAM_AFTER_BLOCK
    }

    static final int HELD_OUT = 5;

    final LinearLayer.Float32 layer;
    final ImagePass pass;
    final int rows;
    /** What a squared error counts in each row of an image, {@code [rows]}. */
    final float[] gains;

    private final TokenStore inputs;
    private final TokenStore wanted;

    private LayerSamples(LinearLayer.Float32 layer, ImagePass pass, float[] gains) {
        this.layer = layer;
        this.pass = pass;
        this.gains = gains;
        rows = gains.length;
        inputs = new TokenStore(pass.images(), 4L * rows * layer.inputs());
        wanted = new TokenStore(pass.images(), 4L * rows * layer.outputs());
    }

    /**
     * Runs the unit once for every image.
     *
     * @param layer the layer, still float
     * @param gains what a squared error counts in each row that one image gives
     */
    static LayerSamples capture(
            SearchState state, Supplier<UnitWorker> workers, LinearLayer.Float32 layer, Target target, float[] gains) {
        LayerSamples samples = new LayerSamples(layer, state.pass, gains);
        try {
            state.pass.run(workers, (worker, image) -> samples.capture(state, worker, target, image));
        } catch (RuntimeException | Error e) {
            samples.close();
            throw e;
        }
        return samples;
    }

    private void capture(SearchState state, UnitWorker worker, Target target, int image) {
        long in = (long) rows * layer.inputs();
        long out = (long) rows * layer.outputs();
        MemorySegment x = x(image);
        MemorySegment y = y(image);
        boolean afterBlock = target == Target.STREAM_AFTER_BLOCK;
        worker.runQuantized(state.images, state.quantizedTokens, image, new LayerObserver() {
            @Override
            public void linear(String name, MemorySegment input, int count, MemorySegment raw) {
                if (name.equals(layer.name())) {
                    MemorySegment.copy(input, 0, x, 0, 4 * in);
                    if (afterBlock) {
                        MemorySegment.copy(raw, 0, y, 0, 4 * out);
                    }
                }
            }
        });
        worker.runReference(state.images, state.referenceTokens, image, new LayerObserver() {
            @Override
            public void linear(String name, MemorySegment input, int count, MemorySegment raw) {
                if (name.equals(layer.name()) && !afterBlock) {
                    MemorySegment.copy(raw, 0, y, 0, 4 * out);
                }
            }
        });
        switch (target) {
            case OUTPUT -> addBiasDifference(y, state.referenceBias(layer.name()));
            case STREAM_AFTER_ATTENTION -> {
                addBiasDifference(y, state.referenceBias(layer.name()));
                addDifference(y, state.referenceTokens.image(image), state.quantizedTokens.image(image), out);
            }
            case STREAM_AFTER_BLOCK -> addDifference(y, worker.referenceTokens(), worker.quantizedTokens(), out);
        }
    }

    /** The wanted output leaves this layer's bias out, which rewrites may have moved away from the float model's. */
    private void addBiasDifference(MemorySegment y, float[] reference) {
        for (int r = 0; r < rows; r++) {
            for (int n = 0; n < reference.length; n++) {
                long i = (long) r * reference.length + n;
                y.setAtIndex(JAVA_FLOAT, i, y.getAtIndex(JAVA_FLOAT, i) + (reference[n] - layer.bias()[n]));
            }
        }
    }

    private static void addDifference(MemorySegment y, MemorySegment plus, MemorySegment minus, long count) {
        for (long i = 0; i < count; i++) {
            float d = plus.getAtIndex(JAVA_FLOAT, i) - minus.getAtIndex(JAVA_FLOAT, i);
            y.setAtIndex(JAVA_FLOAT, i, y.getAtIndex(JAVA_FLOAT, i) + d);
        }
    }

    /** The layer's input: float32 {@code [rows, inputs]}. */
    MemorySegment x(int image) {
        return inputs.image(image);
    }

    /** The wanted output without bias: float32 {@code [rows, outputs]}. */
    MemorySegment y(int image) {
        return wanted.image(image);
    }

    /** Whether candidates are compared on this image; with a handful of images on all of them. */
    boolean isHeldOut(int image) {
        return pass.images() < HELD_OUT || image >= pass.images() - pass.images() / HELD_OUT;
    }

    /** Whether candidates are fitted on this image. */
    boolean isFitted(int image) {
        return pass.images() < HELD_OUT || !isHeldOut(image);
    }

    @Override
    public void close() {
        inputs.close();
        wanted.close();
    }
}
