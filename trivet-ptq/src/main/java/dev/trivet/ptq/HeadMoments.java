package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.runtime.AttentionLayout;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.MemorySegment;
import java.util.function.Supplier;

/**
 * Second moments of q, k and v within each head of a block of the float model, and the rewrite of the block by
 * {@link HeadBasis} that follows from them. Means of k and v are left out: {@link AttentionStage} takes them away for nothing.
 */
final class HeadMoments implements AutoCloseable {
    private final UnitWorker worker;
    private final AttentionLayout layout;
    private final int heads;
    private final int width;
    /** By part: q, k, v. */
    private final double[] rows = new double[3];
    /** Per part (q, k, v) and head: {@code [width, width]} and {@code [width]}. */
    private final double[][][] products;

    private final double[][][] sums;

    private HeadMoments(UnitWorker worker, AttentionLayout layout) {
        this.worker = worker;
        this.layout = layout;
        heads = layout.unit().heads();
        width = layout.unit().headWidth();
        products = new double[3][heads][width * width];
        sums = new double[3][heads][width];
    }

    /** Rewrites the float block, in the reference and in the model being quantized alike. */
    static void rewrite(SearchState state, ModelUnit.Block block, Supplier<UnitWorker> workers) {
        AttentionLayout layout = state.layout(block);
        HeadMoments total;
        try (UnitWorker any = workers.get()) {
            total = new HeadMoments(any, layout);
        }
        state.pass.run(() -> new HeadMoments(workers.get(), layout), new ImagePass.Task<HeadMoments>() {
            @Override
            public void compute(HeadMoments own, int image) {
                own.observe(state, image);
            }

            @Override
            public void merge(HeadMoments own, int image) {
                total.add(own);
            }
        });
        total.apply(state, block);
    }

    private void observe(SearchState state, int image) {
        worker.runReference(state.images, state.referenceTokens, image, new LayerObserver() {
            @Override
            public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
                if (name.equals(layout.unit().scores())) {
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
        ModelUnit.Block block = layout.unit();
        rows[part] = 0;
        for (int h = 0; h < heads; h++) {
            java.util.Arrays.fill(products[part][h], 0);
            java.util.Arrays.fill(sums[part][h], 0);
        }
        long from = 0;
        for (int group = 0; group < block.groups(); group++) {
            for (int h = 0; h < heads; h++) {
                double[] product = products[part][h];
                double[] sum = sums[part][h];
                for (int t = 0; t < block.groupTokens(); t++, from += width) {
                    // The model computes with keys and values of padding, and drops its queries.
                    if (part == 0 && layout.isPadding(group, t)) {
                        continue;
                    }
                    rows[part] += h == 0 ? 1 : 0;
                    for (int i = 0; i < width; i++) {
                        row[i] = values.getAtIndex(JAVA_FLOAT, from + i);
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
    }

    private void add(HeadMoments other) {
        for (int part = 0; part < 3; part++) {
            rows[part] += other.rows[part];
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
                double mean = centred ? sums[part][head][i] / rows[part] * (sums[part][head][j] / rows[part]) : 0;
                moments[i * width + j] = products[part][head][i * width + j] / rows[part] - mean;
            }
        }
        return moments;
    }

    private void apply(SearchState state, ModelUnit.Block block) {
        LinearLayer.Float32 qkv = state.floatLayer(block.qkv());
        LinearLayer.Float32 projection = state.floatLayer(block.projection());
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
