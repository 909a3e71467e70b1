package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitNames;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.MemorySegment;
import java.util.function.Supplier;

/**
 * Second moments of q, k and v within each head of a block of the float model, and the rewrite of the block by
 * {@link HeadBasis} that follows from them. Means of k and v are left out: {@link AttentionStage} takes them away for nothing.
 */
final class HeadMoments implements AutoCloseable {
    private final UnitWorker worker;
    private final int heads;
    private final int tokens;
    private final int width;
    private double rows;
    /** Per part (q, k, v) and head: {@code [width, width]} and {@code [width]}. */
    private final double[][][] products;

    private final double[][][] sums;

    private HeadMoments(UnitWorker worker, VitConfig config) {
        this.worker = worker;
        heads = config.heads();
        tokens = config.tokens();
        width = config.headWidth();
        products = new double[3][heads][width * width];
        sums = new double[3][heads][width];
    }

    /** Rewrites the float block, in the reference and in the model being quantized alike. */
    static void rewrite(SearchState state, int block, Supplier<UnitWorker> workers) {
        HeadMoments total;
        try (UnitWorker any = workers.get()) {
            total = new HeadMoments(any, state.config());
        }
        state.pass.run(() -> new HeadMoments(workers.get(), state.config()), new ImagePass.Task<HeadMoments>() {
            @Override
            public void compute(HeadMoments own, int image) {
                own.observe(state, block, image);
            }

            @Override
            public void merge(HeadMoments own, int image) {
                total.add(own);
            }
        });
        total.apply(state, block);
    }

    private void observe(SearchState state, int block, int image) {
        rows = tokens;
        worker.runReference(state.images, state.referenceTokens, image, new LayerObserver() {
            @Override
            public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
                if (name.equals(VitNames.scores(block))) {
                    observe(0, left);
                    observe(1, right);
                } else {
                    observe(2, right);
                }
            }
        });
    }

    private void observe(int part, MemorySegment values) {
        double[] row = new double[width];
        for (int h = 0; h < heads; h++) {
            double[] product = products[part][h];
            double[] sum = sums[part][h];
            java.util.Arrays.fill(product, 0);
            java.util.Arrays.fill(sum, 0);
            for (int t = 0; t < tokens; t++) {
                for (int i = 0; i < width; i++) {
                    row[i] = values.getAtIndex(JAVA_FLOAT, ((long) h * tokens + t) * width + i);
                    sum[i] += row[i];
                }
                for (int i = 0; i < width; i++) {
                    for (int j = 0; j < width; j++) {
                        product[i * width + j] += row[i] * row[j];
                    }
                }
            }
        }
    }

    private void add(HeadMoments other) {
        rows += other.rows;
        for (int part = 0; part < 3; part++) {
            for (int h = 0; h < heads; h++) {
                for (int i = 0; i < width * width; i++) {
                    products[part][h][i] += other.products[part][h][i];
                }
                for (int i = 0; i < width; i++) {
                    sums[part][h][i] += other.sums[part][h][i];
                }
            }
        }
    }

    private double[] moments(int part, int head, boolean centred) {
        double[] moments = new double[width * width];
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < width; j++) {
                double mean = centred ? sums[part][head][i] / rows * (sums[part][head][j] / rows) : 0;
                moments[i * width + j] = products[part][head][i * width + j] / rows - mean;
            }
        }
        return moments;
    }

    private void apply(SearchState state, int block) {
        LinearLayer.Float32 qkv = state.floatLayer(VitNames.qkv(block));
        LinearLayer.Float32 projection = state.floatLayer(VitNames.projection(block));
        float[] weight = qkv.weight().clone();
        float[] bias = qkv.bias().clone();
        float[] projected = projection.weight().clone();
        int model = heads * width;
        for (int h = 0; h < heads; h++) {
            HeadBasis scores = new HeadBasis(moments(0, h, false), moments(1, h, true), width);
            scores.applyToRows(weight, model, h * width, true);
            scores.applyToRows(bias, 1, h * width, true);
            scores.applyToRows(weight, model, model + h * width, false);
            scores.applyToRows(bias, 1, model + h * width, false);
            HeadBasis values = new HeadBasis(moments(2, h, true), readers(projected, model, h), width);
            values.applyToRows(weight, model, 2 * model + h * width, true);
            values.applyToRows(bias, 1, 2 * model + h * width, true);
            values.applyInverseToColumns(projected, model, h * width);
        }
        state.rewriteFloat(new LinearLayer.Float32(qkv.name(), qkv.outputs(), qkv.inputs(), weight, bias));
        state.rewriteFloat(new LinearLayer.Float32(
                projection.name(), projection.outputs(), projection.inputs(), projected, projection.bias()));
    }

    /** How much the projection makes of each direction of a head: {@code W^T W}. */
    private double[] readers(float[] projection, int columns, int head) {
        double[] gram = new double[width * width];
        for (int n = 0; n < projection.length / columns; n++) {
            for (int i = 0; i < width; i++) {
                for (int j = 0; j < width; j++) {
                    gram[i * width + j] += (double) projection[n * columns + head * width + i]
                            * projection[n * columns + head * width + j];
                }
            }
        }
        return gram;
    }

    @Override
    public void close() {
        worker.close();
    }
}
