package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import dev.trivet.kernel.DigitProducts;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

/**
 * Quantizes one linear layer of a model whose earlier operators are quantized already. Candidates differ in how the input is
 * quantized (uniform or picked levels, with or without a channel fold) and how weights are (ridge or not, feedback or nearest
 * rounding). They are fitted on most of the calibration images; each is then run on the integer kernel over the held-out
 * rest, and the one whose output is closest to the wanted one is taken.
 */
final class LinearStage {
    /** What the layer's output should come close to. */
    enum Target {
        /** The float model's output of the same layer. */
        OUTPUT,
        /** What brings the residual stream after the layer to the float model's; the layer is the attention projection. */
        STREAM_AFTER_ATTENTION,
        /** The same; the layer is the block's last. */
        STREAM_AFTER_BLOCK
    }

    /** One image in so many is held out. */
    static final int HELD_OUT = 5;

    private static final double[] RIDGES = {Double.POSITIVE_INFINITY, 0.3, 0.03, 0.003};

    private final CalibrationImages images;
    private final ImagePass pass;
    private final Kernels kernels;
    private final Supplier<UnitWorker> workers;
    private final TokenStore floatTokens;
    private final TokenStore quantizedTokens;
    private final LinearLayer.Float32 layer;
    private final Target target;
    private final boolean foldable;
    private final int rows;
    private final int weightBits;
    private final int inputBits;
    private final int inputs;
    private final int outputs;

    /** An input quantizer with what has been learnt about it. */
    private final class Candidate {
        final String name;
        final ChannelFold fold;
        final float[] inverse;
        LevelHistogram histogram = new LevelHistogram(0, 0);
        ActivationQuantizer quantizer = new ActivationQuantizer(1, 0, 0, 1);
        final SecondMoments fitted = new SecondMoments(inputs, outputs);
        final SecondMoments heldOut = new SecondMoments(inputs, outputs);

        Candidate(String name, ChannelFold fold) {
            this.name = name;
            this.fold = fold;
            inverse = new float[inputs];
            for (int c = 0; c < inputs; c++) {
                inverse[c] = 1 / fold.scale()[c];
            }
        }
    }

    /**
     * @param layer the layer, still float
     * @param foldable whether a LayerNorm before it can absorb a change of variables
     * @param rows rows that one image gives
     */
    LinearStage(
            SearchState state,
            Supplier<UnitWorker> workers,
            LinearLayer.Float32 layer,
            Target target,
            boolean foldable,
            int rows,
            OperatorPlan bits) {
        images = state.images;
        pass = state.pass;
        kernels = state.kernels;
        floatTokens = state.referenceTokens;
        quantizedTokens = state.quantizedTokens;
        this.workers = workers;
        this.layer = layer;
        this.target = target;
        this.foldable = foldable;
        this.rows = rows;
        weightBits = bits.weightBits();
        inputBits = bits.activationBits();
        inputs = layer.inputs();
        outputs = layer.outputs();
    }

    /** The chosen fit with its and the others' held-out errors. */
    record Choice(LinearFit fit, double error, List<Tried> tried) {}

    /** @param error squared error on the held-out images relative to the wanted output's variance */
    record Tried(String description, double error) {}

    Choice choose() {
        List<ChannelFold> folds = folds();
        List<Candidate> candidates = candidates(folds);
        accumulate(candidates);
        List<LinearFit> fits = new ArrayList<>();
        List<Candidate> owners = new ArrayList<>();
        for (Candidate candidate : candidates) {
            for (LinearFit fit : fits(candidate, candidate.fitted)) {
                fits.add(fit);
                owners.add(candidate);
            }
        }
        double[] errors = heldOutErrors(fits);
        int best = 0;
        List<Tried> tried = new ArrayList<>();
        for (int f = 0; f < errors.length; f++) {
            tried.add(new Tried(fits.get(f).description(), errors[f]));
            if (errors[f] < errors[best]) {
                best = f;
            }
        }
        // The choice is made; the final weights use every image.
        Candidate owner = owners.get(best);
        SecondMoments all = owner.fitted;
        all.add(owner.heldOut);
        int variant = best - owners.indexOf(owner);
        return new Choice(fits(owner, all).get(variant), errors[best], tried);
    }

    private int heldOutCount() {
        return pass.images() < HELD_OUT ? 0 : pass.images() / HELD_OUT;
    }

    private boolean isHeldOut(int image) {
        return image >= pass.images() - heldOutCount();
    }

    /** Leaves the layer's input in {@code x} and the wanted output in {@code y}. */
    private void observe(UnitWorker worker, int image, boolean wanted) {
        long in = (long) rows * inputs;
        long out = (long) rows * outputs;
        MemorySegment x = worker.buffers.get("x", 4 * in);
        MemorySegment y = worker.buffers.get("y", 4 * out);
        MemorySegment rawQuantized = worker.buffers.get("raw", 4 * out);
        worker.runQuantized(images, quantizedTokens, image, new LayerObserver() {
            @Override
            public void linear(String name, MemorySegment input, int count, MemorySegment raw) {
                if (name.equals(layer.name())) {
                    MemorySegment.copy(input, 0, x, 0, 4 * in);
                    MemorySegment.copy(raw, 0, rawQuantized, 0, 4 * out);
                }
            }
        });
        if (!wanted) {
            return;
        }
        worker.runReference(images, floatTokens, image, new LayerObserver() {
            @Override
            public void linear(String name, MemorySegment input, int count, MemorySegment raw) {
                if (name.equals(layer.name())) {
                    MemorySegment.copy(raw, 0, y, 0, 4 * out);
                }
            }
        });
        if (target == Target.STREAM_AFTER_ATTENTION) {
            addDifference(y, floatTokens.image(image), quantizedTokens.image(image), out);
        } else if (target == Target.STREAM_AFTER_BLOCK) {
            MemorySegment.copy(rawQuantized, 0, y, 0, 4 * out);
            addDifference(y, worker.referenceTokens(), worker.quantizedTokens(), out);
        }
    }

    private static void addDifference(MemorySegment y, MemorySegment plus, MemorySegment minus, long count) {
        for (long i = 0; i < count; i++) {
            float d = plus.getAtIndex(JAVA_FLOAT, i) - minus.getAtIndex(JAVA_FLOAT, i);
            y.setAtIndex(JAVA_FLOAT, i, y.getAtIndex(JAVA_FLOAT, i) + d);
        }
    }

    private List<ChannelFold> folds() {
        List<ChannelFold> folds = new ArrayList<>();
        folds.add(ChannelFold.identity(inputs));
        double[] sum = new double[inputs];
        double[] squares = new double[inputs];
        double[] lowest = new double[inputs];
        double[] highest = new double[inputs];
        java.util.Arrays.fill(lowest, Double.POSITIVE_INFINITY);
        java.util.Arrays.fill(highest, Double.NEGATIVE_INFINITY);
        pass.run(workers, new ImagePass.Task<UnitWorker>() {
            @Override
            public void compute(UnitWorker worker, int image) {
                observe(worker, image, false);
            }

            @Override
            public void merge(UnitWorker worker, int image) {
                MemorySegment x = worker.buffers.get("x", 0);
                for (int r = 0; r < rows; r++) {
                    for (int c = 0; c < inputs; c++) {
                        double v = x.getAtIndex(JAVA_FLOAT, (long) r * inputs + c);
                        sum[c] += v;
                        squares[c] += v * v;
                        lowest[c] = Math.min(lowest[c], v);
                        highest[c] = Math.max(highest[c], v);
                    }
                }
            }
        });
        double count = (double) rows * pass.images();
        float[] mean = new float[inputs];
        double[] deviation = new double[inputs];
        double logs = 0;
        for (int c = 0; c < inputs; c++) {
            mean[c] = (float) (sum[c] / count);
            deviation[c] = Math.sqrt(Math.max(squares[c] / count - sum[c] / count * (sum[c] / count), 1e-12));
            logs += Math.log(deviation[c]);
        }
        double typical = Math.exp(logs / inputs);
        if (foldable) {
            for (double power : new double[] {0.5, 1}) {
                float[] scale = new float[inputs];
                for (int c = 0; c < inputs; c++) {
                    scale[c] = (float) Math.pow(Math.max(deviation[c] / typical, 1e-3), power);
                }
                folds.add(new ChannelFold(mean, scale));
            }
        }
        ranges = new double[folds.size()][2];
        for (int f = 0; f < folds.size(); f++) {
            for (int c = 0; c < inputs; c++) {
                ranges[f][0] = Math.min(ranges[f][0], folds.get(f).apply((float) lowest[c], c));
                ranges[f][1] = Math.max(ranges[f][1], folds.get(f).apply((float) highest[c], c));
            }
        }
        return folds;
    }

    /** Per fold the lowest and highest folded value. */
    private double[][] ranges = new double[0][0];

    private List<Candidate> candidates(List<ChannelFold> folds) {
        List<LevelHistogram> histograms = new ArrayList<>();
        double[][] importance = new double[folds.size()][inputs];
        for (int f = 0; f < folds.size(); f++) {
            histograms.add(new LevelHistogram(ranges[f][0], ranges[f][1]));
            for (int c = 0; c < inputs; c++) {
                double norm = 0;
                for (int n = 0; n < outputs; n++) {
                    double w = layer.weight()[n * inputs + c];
                    norm += w * w;
                }
                double s = folds.get(f).scale()[c];
                importance[f][c] = norm * s * s;
            }
        }
        pass.run(workers, new ImagePass.Task<UnitWorker>() {
            @Override
            public void compute(UnitWorker worker, int image) {
                observe(worker, image, false);
            }

            @Override
            public void merge(UnitWorker worker, int image) {
                MemorySegment x = worker.buffers.get("x", 0);
                for (int f = 0; f < folds.size(); f++) {
                    for (int r = 0; r < rows; r++) {
                        for (int c = 0; c < inputs; c++) {
                            float v = x.getAtIndex(JAVA_FLOAT, (long) r * inputs + c);
                            histograms.get(f).add(folds.get(f).apply(v, c), importance[f][c]);
                        }
                    }
                }
            }
        });
        List<Candidate> candidates = new ArrayList<>();
        String[] names = {"", "half-folded ", "folded "};
        for (int f = 0; f < folds.size(); f++) {
            Candidate uniform = new Candidate(names[f] + "uniform", folds.get(f));
            uniform.quantizer = histograms.get(f).uniform(inputBits, false);
            candidates.add(uniform);
            if (inputBits < 8) {
                Candidate levels = new Candidate(names[f] + "levels", folds.get(f));
                levels.quantizer = histograms.get(f).levels(inputBits, false);
                candidates.add(levels);
            }
        }
        return candidates;
    }

    /** Writes the folded input as codes, and optionally as floats (code minus zero point). */
    private void encode(UnitWorker worker, ChannelFold fold, float[] inverse, ActivationQuantizer quantizer) {
        int count = rows * inputs;
        MemorySegment x = worker.buffers.get("x", 0);
        MemorySegment folded = x;
        if (!fold.isIdentity()) {
            folded = worker.buffers.get("folded", 4L * count);
            for (int r = 0; r < rows; r++) {
                for (int c = 0; c < inputs; c++) {
                    long i = (long) r * inputs + c;
                    float v = (x.getAtIndex(JAVA_FLOAT, i) - fold.shift()[c]) * inverse[c];
                    folded.setAtIndex(JAVA_FLOAT, i, v);
                }
            }
        }
        MemorySegment codes = worker.buffers.get("codes", 2L * count);
        worker.workspace().pointwise().encode(folded, count, Operand.of(quantizer), codes);
    }

    private void accumulate(List<Candidate> candidates) {
        int k = inputs;
        dev.trivet.kernel.Matmul square = kernels.floatMatmul(new MatmulShape(k, k, rows, false));
        dev.trivet.kernel.Matmul cross = kernels.floatMatmul(new MatmulShape(k, outputs, rows, false));
        pass.run(workers, new ImagePass.Task<UnitWorker>() {
            @Override
            public void compute(UnitWorker worker, int image) {
                observe(worker, image, true);
                MemorySegment y = worker.buffers.get("y", 0);
                MemorySegment values = worker.buffers.get("values", 4L * rows * k * candidates.size());
                MemorySegment transposed = worker.buffers.get("transposed", 4L * rows * k);
                MemorySegment squares = worker.buffers.get("squares", 4L * k * k * candidates.size());
                MemorySegment crosses = worker.buffers.get("crosses", 4L * k * outputs * candidates.size());
                for (int i = 0; i < candidates.size(); i++) {
                    Candidate candidate = candidates.get(i);
                    encode(worker, candidate.fold, candidate.inverse, candidate.quantizer);
                    MemorySegment codes = worker.buffers.get("codes", 0);
                    MemorySegment v = values.asSlice(4L * rows * k * i, 4L * rows * k);
                    decode(codes, candidate.quantizer, v, transposed);
                    Workspace workspace = worker.workspace();
                    square.run(workspace, transposed, v, 1, squares.asSlice(4L * k * k * i, 4L * k * k));
                    cross.run(workspace, transposed, y, 1, crosses.asSlice(4L * k * outputs * i, 4L * k * outputs));
                }
            }

            @Override
            public void merge(UnitWorker worker, int image) {
                for (int i = 0; i < candidates.size(); i++) {
                    Candidate candidate = candidates.get(i);
                    (isHeldOut(image) ? candidate.heldOut : candidate.fitted)
                            .add(
                                    rows,
                                    worker.buffers.get("values", 0).asSlice(4L * rows * k * i, 4L * rows * k),
                                    worker.buffers.get("y", 0),
                                    worker.buffers.get("squares", 0).asSlice(4L * k * k * i, 4L * k * k),
                                    worker.buffers.get("crosses", 0).asSlice(4L * k * outputs * i, 4L * k * outputs));
                }
            }
        });
    }

    private void decode(
            MemorySegment codes, ActivationQuantizer quantizer, MemorySegment values, MemorySegment transposed) {
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < inputs; c++) {
                long i = (long) r * inputs + c;
                int code = quantizer.wide() ? codes.getAtIndex(JAVA_SHORT, i) : codes.get(JAVA_BYTE, i) & 0xff;
                float v = (code - quantizer.zeroPoint()) * quantizer.scale();
                values.setAtIndex(JAVA_FLOAT, i, v);
                transposed.setAtIndex(JAVA_FLOAT, (long) c * rows + r, v);
            }
        }
    }

    private List<LinearFit> fits(Candidate candidate, SecondMoments moments) {
        List<LinearFit> fits = new ArrayList<>();
        CompensatedRounding rounding = new CompensatedRounding(moments.inputCovariance(), inputs, outputs);
        double[] cross = moments.crossCovariance();
        double[] weight = new double[outputs * inputs];
        for (int n = 0; n < outputs; n++) {
            for (int c = 0; c < inputs; c++) {
                weight[n * inputs + c] =
                        (double) layer.weight()[n * inputs + c] * candidate.fold.scale()[c];
            }
        }
        // A handful of rows cannot say how to move that many weights.
        boolean enough = moments.rows > 8.0 * inputs;
        for (double ridge : RIDGES) {
            boolean none = Double.isInfinite(ridge);
            if (!none && !enough) {
                continue;
            }
            double[] moved = none ? rounding.transposed(weight) : rounding.ridge(cross, weight, ridge);
            CompensatedRounding.Rounded rounded = rounding.round(moved, weightBits);
            String description = candidate.name + (none ? ", feedback" : ", ridge " + ridge + ", feedback");
            fits.add(fit(description, candidate, moments, rounded));
        }
        return fits;
    }

    private LinearFit fit(
            String description, Candidate candidate, SecondMoments m, CompensatedRounding.Rounded rounded) {
        float[] bias = layer.bias().clone();
        for (int n = 0; n < outputs; n++) {
            double product = 0;
            for (int c = 0; c < inputs; c++) {
                product += (double) rounded.codes()[n * inputs + c] * rounded.scales()[n] * (m.x[c] / m.rows);
            }
            bias[n] += (float) (m.y[n] / m.rows - product);
        }
        return new LinearFit(description, candidate.fold, candidate.quantizer, rounded.codes(), rounded.scales(), bias);
    }

    private double[] heldOutErrors(List<LinearFit> fits) {
        List<Linear> packed = new ArrayList<>();
        List<float[]> inverses = new ArrayList<>();
        List<int[]> corrections = new ArrayList<>();
        for (LinearFit fit : fits) {
            packed.add(pack(fit));
            float[] inverse = new float[inputs];
            for (int c = 0; c < inputs; c++) {
                inverse[c] = 1 / fit.fold().scale()[c];
            }
            inverses.add(inverse);
            int[] correction = new int[outputs];
            for (int n = 0; n < outputs; n++) {
                for (int c = 0; c < inputs; c++) {
                    correction[n] += fit.codes()[n * inputs + c];
                }
                correction[n] *= fit.input().zeroPoint();
            }
            corrections.add(correction);
        }
        double[] errors = new double[fits.size()];
        double[] energy = new double[1];
        boolean everyImage = heldOutCount() == 0;
        try {
            pass.run(workers, new ImagePass.Task<UnitWorker>() {
                @Override
                public void compute(UnitWorker worker, int image) {
                    if (!everyImage && !isHeldOut(image)) {
                        return;
                    }
                    observe(worker, image, true);
                    MemorySegment y = worker.buffers.get("y", 0);
                    MemorySegment sums = worker.buffers.get("sums", 4L * rows * outputs);
                    MemorySegment results = worker.buffers.get("results", 8L * (fits.size() + 1));
                    for (int f = 0; f < fits.size(); f++) {
                        LinearFit fit = fits.get(f);
                        if (f == 0 || !sameInput(fits.get(f - 1), fit)) {
                            encode(worker, fit.fold(), inverses.get(f), fit.input());
                        }
                        packed.get(f).run(worker.workspace(), worker.buffers.get("codes", 0), rows, sums);
                        results.setAtIndex(
                                java.lang.foreign.ValueLayout.JAVA_DOUBLE, f, error(fit, corrections.get(f), sums, y));
                    }
                    results.setAtIndex(java.lang.foreign.ValueLayout.JAVA_DOUBLE, fits.size(), variance(y));
                }

                @Override
                public void merge(UnitWorker worker, int image) {
                    if (!everyImage && !isHeldOut(image)) {
                        return;
                    }
                    MemorySegment results = worker.buffers.get("results", 0);
                    for (int f = 0; f < errors.length; f++) {
                        errors[f] += results.getAtIndex(java.lang.foreign.ValueLayout.JAVA_DOUBLE, f);
                    }
                    energy[0] += results.getAtIndex(java.lang.foreign.ValueLayout.JAVA_DOUBLE, errors.length);
                }
            });
        } finally {
            packed.forEach(Linear::close);
        }
        for (int f = 0; f < errors.length; f++) {
            errors[f] /= Math.max(energy[0], 1e-30);
        }
        return errors;
    }

    private static boolean sameInput(LinearFit a, LinearFit b) {
        return a.fold() == b.fold() && a.input().equals(b.input());
    }

    private double error(LinearFit fit, int[] correction, MemorySegment sums, MemorySegment y) {
        double error = 0;
        for (int r = 0; r < rows; r++) {
            for (int n = 0; n < outputs; n++) {
                long i = (long) r * outputs + n;
                float value = (sums.getAtIndex(JAVA_INT, i) - correction[n])
                                * (fit.input().scale() * fit.scales()[n])
                        + (fit.bias()[n] - layer.bias()[n]);
                double d = (double) value - y.getAtIndex(JAVA_FLOAT, i);
                error += d * d;
            }
        }
        return error;
    }

    private double variance(MemorySegment y) {
        double squares = 0;
        for (long i = 0; i < (long) rows * outputs; i++) {
            double v = y.getAtIndex(JAVA_FLOAT, i);
            squares += v * v;
        }
        return squares;
    }

    private Linear pack(LinearFit fit) {
        boolean wide = weightBits > 8;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment codes = WeightCodes.store(fit.codes(), wide, arena);
            return DigitProducts.linear(
                    kernels, codes, wide, outputs, inputs, rows, fit.input().wide());
        }
    }
}
