package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.trivet.kernel.DigitProducts;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.AttentionLayout;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

/**
 * Quantizes the two attention products of a block whose q, k, v projection is quantized already.
 *
 * <p>First the channels of q, k and v are put on an equal footing by rewrites that change nothing in float: a constant may be
 * taken from each key channel, because it moves all scores of a query alike and softmax does not see that; a factor may move
 * between a channel of q and of k; a constant and a factor of each value channel pass through the mixing, whose rows sum to
 * one, into the projection after it. The projection to q, k, v absorbs them in its output scales and bias.
 *
 * <p>Then uniform quantizers compete with picked levels for (q, k), for the attention weights and for v: all eight combinations are
 * run on the integer kernels over the held-out images, against the float products of the same q, k and v.
 */
final class AttentionStage {
    private static final String[] PARTS = {"q", "k", "v"};
    /** Least factor between channels' scales. */
    private static final double NARROWEST = 1e-3;

    /** Largest magnitudes of q, k and v after the rewrite. */
    private final double[] most = new double[PARTS.length];

    private final CalibrationImages images;
    private final ImagePass pass;
    private final Kernels kernels;
    private final TokenStore quantizedTokens;
    private final AttentionLayout layout;
    private final ModelUnit.Block block;
    private final int scoreBits;
    private final int mixingBits;
    private final boolean levels;
    private final float[] gains;

    AttentionStage(
            SearchState state, ModelUnit.Block block, int scoreBits, int mixingBits, boolean levels, float[] gains) {
        this.gains = gains;
        images = state.images;
        pass = state.pass;
        kernels = state.kernels;
        quantizedTokens = state.quantizedTokens;
        layout = state.layout(block);
        this.block = block;
        this.scoreBits = scoreBits;
        this.mixingBits = mixingBits;
        this.levels = levels;
    }

    /**
     * What the rows of the q, k, v projection are changed by, {@code y' = (y - shift) / scale}.
     *
     * @param shift {@code [3 * width]}
     * @param scale {@code [3 * width]}
     */
    @SuppressWarnings("ArrayRecordComponent") // parameters, never compared
    record Rewrite(float[] shift, float[] scale) {}

    Rewrite rewrite(Supplier<UnitWorker> workers) {
        int width = block.shape().width();
        ChannelStatistics[] totals = statistics();
        pass.run(() -> new Observer(workers.get()), new ImagePass.Task<Observer>() {
            @Override
            public void compute(Observer own, int image) {
                observe(own.worker, image);
                for (int part = 0; part < PARTS.length; part++) {
                    own.statistics[part].clear();
                    own.statistics[part].addHeads(own.worker.buffers.get(PARTS[part], 0), layout, part == 0);
                }
            }

            @Override
            public void merge(Observer own, int image) {
                for (int part = 0; part < PARTS.length; part++) {
                    totals[part].add(own.statistics[part]);
                }
            }
        });
        float[] shift = new float[3 * width];
        float[] scale = new float[3 * width];
        double typicalValue = 0;
        for (int c = 0; c < width; c++) {
            // Queries keep their mean: taking it away would change the scores.
            double balance = totals[1].deviation(c) / totals[0].rootMeanSquare(c);
            float key = (float) Math.clamp(Math.sqrt(balance), NARROWEST, 1 / NARROWEST);
            scale[c] = 1 / key;
            scale[width + c] = key;
            shift[width + c] = (float) totals[1].mean(c);
            shift[2 * width + c] = (float) totals[2].mean(c);
            typicalValue += Math.log(totals[2].deviation(c)) / width;
        }
        for (int c = 0; c < width; c++) {
            scale[2 * width + c] = (float) Math.max(totals[2].deviation(c) / Math.exp(typicalValue), NARROWEST);
        }
        for (int part = 0; part < PARTS.length; part++) {
            most[part] = 0;
            for (int c = 0; c < width; c++) {
                int n = part * width + c;
                double farthest = Math.max(
                        Math.abs(totals[part].lowest(c) - shift[n]), Math.abs(totals[part].highest(c) - shift[n]));
                most[part] = Math.max(most[part], farthest / scale[n]);
            }
        }
        return new Rewrite(shift, scale);
    }

    private ChannelStatistics[] statistics() {
        ChannelStatistics[] statistics = new ChannelStatistics[PARTS.length];
        for (int part = 0; part < PARTS.length; part++) {
            statistics[part] = new ChannelStatistics(block.shape().width());
        }
        return statistics;
    }

    /** A thread's worker with statistics and histograms of its own, of one image at a time. */
    private final class Observer implements AutoCloseable {
        final UnitWorker worker;
        final ChannelStatistics[] statistics = statistics();
        final LevelHistogram[] histograms = histograms();

        Observer(UnitWorker worker) {
            this.worker = worker;
        }

        @Override
        public void close() {
            worker.close();
        }
    }

    /** Of q, k, v after the rewrite, and of the numerators. */
    private LevelHistogram[] histograms() {
        LevelHistogram[] histograms = new LevelHistogram[PARTS.length + 1];
        for (int part = 0; part < PARTS.length; part++) {
            histograms[part] = new LevelHistogram(-most[part], most[part]);
        }
        histograms[PARTS.length] = new LevelHistogram(0, 1);
        return histograms;
    }

    /** Leaves the float q, k, v, softmax numerators and mixed values of one image in the worker's buffers. */
    private void observe(UnitWorker worker, int image) {
        long perHead = 4L * layout.operandElements();
        long map = 4L * layout.mapElements();
        MemorySegment q = worker.buffers.get("q", perHead);
        MemorySegment k = worker.buffers.get("k", perHead);
        MemorySegment v = worker.buffers.get("v", perHead);
        MemorySegment p = worker.buffers.get("p", map);
        MemorySegment mixed = worker.buffers.get("mixed", perHead);
        worker.runQuantized(images, quantizedTokens, image, new LayerObserver() {
            @Override
            public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
                if (name.equals(block.scores())) {
                    MemorySegment.copy(left, 0, q, 0, perHead);
                    MemorySegment.copy(right, 0, k, 0, perHead);
                } else {
                    numerators(left, p);
                    MemorySegment.copy(right, 0, v, 0, perHead);
                    MemorySegment.copy(raw, 0, mixed, 0, perHead);
                }
            }
        });
    }

    /** Softmax's numerators from its probabilities: each row over its largest. */
    private void numerators(MemorySegment probabilities, MemorySegment out) {
        int tokens = block.groupTokens();
        for (long row = 0; row < (long) layout.products() * tokens; row++) {
            float most = 0;
            for (int j = 0; j < tokens; j++) {
                most = Math.max(most, probabilities.getAtIndex(JAVA_FLOAT, row * tokens + j));
            }
            for (int j = 0; j < tokens; j++) {
                float p = probabilities.getAtIndex(JAVA_FLOAT, row * tokens + j);
                out.setAtIndex(JAVA_FLOAT, row * tokens + j, p / most);
            }
        }
    }

    /** Quantizers of both products. */
    record Choice(
            MatmulQuantizers scores,
            MatmulQuantizers mixing,
            String description,
            double error,
            List<OperatorChoice.Tried> tried) {}

    private record Combination(
            String description,
            ActivationQuantizer q,
            ActivationQuantizer k,
            ActivationQuantizer p,
            ActivationQuantizer v) {}

    Choice choose(Supplier<UnitWorker> workers) {
        List<Combination> combinations = combinations(workers);
        double[] errors = errors(workers, combinations);
        int best = 0;
        List<OperatorChoice.Tried> tried = new ArrayList<>();
        for (int c = 0; c < errors.length; c++) {
            tried.add(new OperatorChoice.Tried(combinations.get(c).description, errors[c]));
            if (errors[c] < errors[best]) {
                best = c;
            }
        }
        Combination chosen = combinations.get(best);
        return new Choice(
                new MatmulQuantizers(chosen.q, chosen.k),
                new MatmulQuantizers(chosen.p, chosen.v, true),
                chosen.description,
                errors[best],
                tried);
    }

    private List<Combination> combinations(Supplier<UnitWorker> workers) {
        LevelHistogram[] histograms = histograms();
        pass.run(() -> new Observer(workers.get()), new ImagePass.Task<Observer>() {
            @Override
            public void compute(Observer own, int image) {
                observe(own.worker, image);
                for (int part = 0; part <= PARTS.length; part++) {
                    own.histograms[part].clear();
                    boolean probabilities = part == PARTS.length;
                    add(
                            own.histograms[part],
                            own.worker.buffers.get(probabilities ? "p" : PARTS[part], 0),
                            probabilities ? block.groupTokens() : block.headWidth(),
                            probabilities || part == 0);
                }
            }

            @Override
            public void merge(Observer own, int image) {
                for (int part = 0; part <= PARTS.length; part++) {
                    histograms[part].add(own.histograms[part]);
                }
            }
        });
        ActivationQuantizer[][] made = new ActivationQuantizer[4][];
        for (int part = 0; part < 4; part++) {
            boolean signed = part < 3;
            int bits = part < 2 ? scoreBits : mixingBits;
            ActivationQuantizer uniform = histograms[part].uniform(bits, signed);
            made[part] = levels && bits < 8
                    ? new ActivationQuantizer[] {uniform, histograms[part].levels(bits, signed)}
                    : new ActivationQuantizer[] {uniform};
        }
        List<Combination> combinations = new ArrayList<>();
        String[] kinds = {"uniform", "levels"};
        for (int s = 0; s < made[0].length; s++) {
            for (int p = 0; p < made[3].length; p++) {
                for (int v = 0; v < made[2].length; v++) {
                    combinations.add(new Combination(
                            "q, k " + kinds[s] + ", weights " + kinds[p] + ", v " + kinds[v],
                            made[0][s],
                            made[1][s],
                            made[3][p],
                            made[2][v]));
                }
            }
        }
        return combinations;
    }

    /**
     * Adds rows to a histogram. Masked positions of a map count as the zeros that they are: the product reads them.
     *
     * @param values {@code [groups, heads, groupTokens, columns]}
     * @param queries whether rows are those of queries; padded ones are left out
     */
    private void add(LevelHistogram histogram, MemorySegment values, int columns, boolean queries) {
        int rows = layout.products() * block.groupTokens();
        for (int row = 0; row < rows; row++) {
            // A row of q or of weights belongs to one token's output; keys and values serve all.
            double gain = queries ? gain(row) : 1;
            if (gain > 0) {
                histogram.add(values.asSlice(4L * row * columns), columns, gain);
            }
        }
    }

    /** What an error in a row of {@code [groups, heads, groupTokens]} counts; nothing in padding. */
    private double gain(int row) {
        int place = row % block.groupTokens();
        // Gains differ only where all tokens are one group.
        return layout.isPadding(row / block.groupTokens() / block.heads(), place) ? 0 : gains[place];
    }

    private double[] errors(Supplier<UnitWorker> workers, List<Combination> combinations) {
        int tokens = block.groupTokens();
        int batch = layout.products();
        int headWidth = block.headWidth();
        int values = layout.operandElements();
        int held = pass.images() < LayerSamples.HELD_OUT ? pass.images() : pass.images() / LayerSamples.HELD_OUT;
        double[] errors = new double[combinations.size()];
        double[] energy = new double[1];
        List<Matmul[]> products = new ArrayList<>();
        for (Combination c : combinations) {
            products.add(new Matmul[] {
                DigitProducts.matmul(
                        kernels, new MatmulShape(tokens, tokens, headWidth, true), Operand.of(c.q), Operand.of(c.k)),
                DigitProducts.matmul(
                        kernels, new MatmulShape(tokens, headWidth, tokens, false), Operand.of(c.p), Operand.of(c.v))
            });
        }
        pass.run(workers, new ImagePass.Task<UnitWorker>() {
            @Override
            public void compute(UnitWorker worker, int image) {
                if (image < pass.images() - held) {
                    return;
                }
                observe(worker, image);
                Workspace workspace = worker.workspace();
                MemorySegment q = worker.buffers.get("qc", 2L * values);
                MemorySegment k = worker.buffers.get("kc", 2L * values);
                MemorySegment v = worker.buffers.get("vc", 2L * values);
                MemorySegment p = worker.buffers.get("pc", 2L * layout.mapElements());
                MemorySegment raw = worker.buffers.get("raws", 4L * Math.max(values, layout.mapElements()));
                MemorySegment factors = worker.buffers.get("factors", 4L * batch * tokens);
                MemorySegment mixed = worker.buffers.get("mixed", 0);
                MemorySegment results = worker.buffers.get("results", 8L * (combinations.size() + 1));
                for (int i = 0; i < combinations.size(); i++) {
                    Combination c = combinations.get(i);
                    workspace.pointwise().encode(worker.buffers.get("q", 0), values, Operand.of(c.q), q);
                    workspace.pointwise().encode(worker.buffers.get("k", 0), values, Operand.of(c.k), k);
                    workspace.pointwise().encode(worker.buffers.get("v", 0), values, Operand.of(c.v), v);
                    products.get(i)[0].run(workspace, q, k, batch, raw);
                    float scale = c.q.scale() * c.k.scale() * (float) (1 / Math.sqrt(headWidth));
                    layout.softmax(workspace.pointwise(), raw, true, 1, scale, Operand.of(c.p), p, factors);
                    products.get(i)[1].run(workspace, p, v, batch, raw);
                    double error = 0;
                    for (int j = 0; j < values; j++) {
                        float unit = factors.getAtIndex(JAVA_FLOAT, j / headWidth) * c.v.scale();
                        double d = raw.getAtIndex(JAVA_INT, j) * unit - mixed.getAtIndex(JAVA_FLOAT, j);
                        error += gain(j / headWidth) * d * d;
                    }
                    results.setAtIndex(JAVA_DOUBLE, i, error);
                }
                double squares = 0;
                for (int j = 0; j < values; j++) {
                    double d = mixed.getAtIndex(JAVA_FLOAT, j);
                    squares += gain(j / headWidth) * d * d;
                }
                results.setAtIndex(JAVA_DOUBLE, combinations.size(), squares);
            }

            @Override
            public void merge(UnitWorker worker, int image) {
                if (image < pass.images() - held) {
                    return;
                }
                MemorySegment results = worker.buffers.get("results", 0);
                for (int i = 0; i < errors.length; i++) {
                    errors[i] += results.getAtIndex(JAVA_DOUBLE, i);
                }
                energy[0] += results.getAtIndex(JAVA_DOUBLE, errors.length);
            }
        });
        for (int i = 0; i < errors.length; i++) {
            errors[i] /= Math.max(energy[0], 1e-30);
        }
        return errors;
    }
}
