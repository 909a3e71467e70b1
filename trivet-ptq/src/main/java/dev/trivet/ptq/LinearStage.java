package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.trivet.kernel.DigitProducts;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.function.Supplier;

/**
 * Quantizes one linear layer of a model whose earlier operators are quantized already. Candidates differ in how the input is
 * quantized ({@link InputCandidate}) and in how far the weights move before they are rounded ({@link CompensatedRounding}).
 * Weights are fitted on most of the calibration images (input ranges and levels, which look at no output, on all of them); each
 * candidate is then run on the integer kernel over the held-out rest, and the one whose output is closest to the wanted one is
 * taken and its weights fitted once more, on all images.
 */
final class LinearStage {
    /** Pulls of the ridge step that are tried, relative to the inputs' mean energy; infinity leaves the weights alone. */
    private static final double[] RIDGES = {Double.POSITIVE_INFINITY, 0.3, 0.03, 0.003};

    /** A handful of rows cannot say how to move many weights: so many rows per input there must be. */
    private static final int ROWS_PER_INPUT = 8;

    /** A few rows must not outweigh all others where weights are fitted: there are too few of them to say so much. */
    private static final float MOST_GAIN = 64;

    private final LayerSamples samples;
    private final Kernels kernels;
    private final Supplier<SampleWorker> workers;
    private final OperatorPlan bits;
    private final TrivetSettings settings;
    private final int rows;
    private final int inputs;
    private final int outputs;
    /** The rows' gains where weights are fitted. */
    private final float[] fitGains;

    LinearStage(LayerSamples samples, Kernels kernels, OperatorPlan bits, TrivetSettings settings) {
        this.samples = samples;
        this.kernels = kernels;
        this.bits = bits;
        this.settings = settings;
        workers = () -> new SampleWorker(kernels);
        rows = samples.rows;
        inputs = samples.layer.inputs();
        outputs = samples.layer.outputs();
        fitGains = new float[rows];
        for (int r = 0; r < rows; r++) {
            fitGains[r] = Math.min(samples.gains[r], MOST_GAIN);
        }
    }

    /**
     * The chosen fit.
     *
     * @param error its squared error on the held-out images, relative to the wanted output's energy
     * @param tried all candidates with theirs
     */
    record Choice(LinearFit fit, double error, List<OperatorChoice.Tried> tried) {}

    /** Moments of one input candidate. */
    private record Moments(InputCandidate input, SecondMoments fitted, SecondMoments heldOut) {}

    /** @param absorber what can absorb a change of variables of the input */
    Choice choose(InputFold.Absorber absorber) {
        ChannelStatistics statistics = ChannelStatistics.of(samples, workers);
        List<InputFold> folds = InputFold.of(absorber, statistics, bits.activationBits());
        List<InputCandidate> candidates =
                InputCandidate.of(samples, workers, statistics, folds, bits.activationBits(), settings.levels());
        List<Moments> moments = moments(candidates);
        List<LinearFit> fits = new ArrayList<>();
        List<Callable<List<LinearFit>>> jobs = new ArrayList<>();
        for (Moments m : moments) {
            jobs.add(() -> fits(m.input, m.fitted));
        }
        samples.pass.all(jobs).forEach(fits::addAll);
        double[] errors = heldOutErrors(fits);
        int best = 0;
        List<OperatorChoice.Tried> tried = new ArrayList<>();
        for (int f = 0; f < errors.length; f++) {
            tried.add(new OperatorChoice.Tried(fits.get(f).description(), errors[f]));
            if (errors[f] < errors[best]) {
                best = f;
            }
        }
        int variants = fits.size() / moments.size();
        Moments chosen = moments.get(best / variants);
        chosen.fitted.add(chosen.heldOut);
        return new Choice(fits(chosen.input, chosen.fitted).get(best % variants), errors[best], tried);
    }

    private List<Moments> moments(List<InputCandidate> candidates) {
        List<Moments> moments = new ArrayList<>();
        for (InputCandidate candidate : candidates) {
            moments.add(new Moments(candidate, new SecondMoments(inputs, outputs), new SecondMoments(inputs, outputs)));
        }
        Matmul square = kernels.floatMatmul(new MatmulShape(inputs, inputs, rows, false));
        Matmul cross = kernels.floatMatmul(new MatmulShape(inputs, outputs, rows, false));
        long xBytes = 4L * rows * inputs;
        long squareBytes = 4L * inputs * inputs;
        long crossBytes = 4L * inputs * outputs;
        samples.pass.run(workers, new ImagePass.Task<SampleWorker>() {
            @Override
            public void compute(SampleWorker worker, int image) {
                MemorySegment y = samples.y(image);
                MemorySegment values = worker.buffers.get("values", xBytes * candidates.size());
                MemorySegment transposed = worker.buffers.get("transposed", xBytes);
                MemorySegment squares = worker.buffers.get("squares", squareBytes * candidates.size());
                MemorySegment crosses = worker.buffers.get("crosses", crossBytes * candidates.size());
                for (int i = 0; i < candidates.size(); i++) {
                    InputCandidate candidate = candidates.get(i);
                    MemorySegment codes = candidate.encode(samples, worker, image);
                    MemorySegment v = values.asSlice(xBytes * i, xBytes);
                    candidate.decode(samples, codes, v, transposed, fitGains);
                    square.run(worker.workspace, transposed, v, 1, squares.asSlice(squareBytes * i, squareBytes));
                    cross.run(worker.workspace, transposed, y, 1, crosses.asSlice(crossBytes * i, crossBytes));
                }
            }

            @Override
            public void merge(SampleWorker worker, int image) {
                for (int i = 0; i < candidates.size(); i++) {
                    Moments m = moments.get(i);
                    (samples.isFitted(image) ? m.fitted : m.heldOut)
                            .add(
                                    fitGains,
                                    worker.buffers.get("values", 0).asSlice(xBytes * i, xBytes),
                                    samples.y(image),
                                    worker.buffers.get("squares", 0).asSlice(squareBytes * i, squareBytes),
                                    worker.buffers.get("crosses", 0).asSlice(crossBytes * i, crossBytes));
                }
            }
        });
        return moments;
    }

    private List<LinearFit> fits(InputCandidate input, SecondMoments moments) {
        List<LinearFit> fits = new ArrayList<>();
        CompensatedRounding rounding = new CompensatedRounding(moments.inputCovariance(), inputs, outputs);
        double[] cross = moments.crossCovariance();
        double[] weight = new double[outputs * inputs];
        for (int i = 0; i < weight.length; i++) {
            weight[i] = (double) samples.layer.weight()[i] * input.fold().scale()[i % inputs];
        }
        boolean enough =
                settings.compensation() && (double) samples.pass.images() * rows > (double) ROWS_PER_INPUT * inputs;
        for (double ridge : RIDGES) {
            boolean none = Double.isInfinite(ridge);
            if (none || enough) {
                double[] moved = none ? rounding.transposed(weight) : rounding.ridge(cross, weight, ridge);
                CompensatedRounding.Rounded rounded = rounding.round(moved, bits.coding());
                String description = input.name() + (none ? "" : ", ridge " + ridge);
                fits.add(new LinearFit(description, input, rounded.codes(), rounded.scales(), bias(moments, rounded)));
            }
        }
        return fits;
    }

    /** The bias that makes the mean output the wanted one. */
    private float[] bias(SecondMoments m, CompensatedRounding.Rounded rounded) {
        float[] bias = samples.layer.bias().clone();
        for (int n = 0; n < outputs; n++) {
            double product = 0;
            for (int c = 0; c < inputs; c++) {
                product += (double) rounded.codes()[n * inputs + c] * rounded.scales()[n] * (m.x[c] / m.rows);
            }
            bias[n] += (float) (m.y[n] / m.rows - product);
        }
        return bias;
    }

    @SuppressWarnings("ReferenceEquality") // fits of one input stand together; comparing what it holds would cost more
    private double[] heldOutErrors(List<LinearFit> fits) {
        List<Linear> packed = new ArrayList<>();
        double[] errors = new double[fits.size()];
        double[] energy = new double[1];
        try {
            List<int[]> corrections = new ArrayList<>();
            for (LinearFit fit : fits) {
                packed.add(pack(fit));
                corrections.add(correction(fit));
            }
            samples.pass.run(workers, new ImagePass.Task<SampleWorker>() {
                @Override
                public void compute(SampleWorker worker, int image) {
                    if (!samples.isHeldOut(image)) {
                        return;
                    }
                    MemorySegment sums = worker.buffers.get("sums", 4L * rows * outputs);
                    MemorySegment results = worker.buffers.get("results", 8L * (fits.size() + 1));
                    MemorySegment codes = sums;
                    for (int f = 0; f < fits.size(); f++) {
                        LinearFit fit = fits.get(f);
                        if (f == 0 || fits.get(f - 1).input() != fit.input()) {
                            codes = fit.input().encode(samples, worker, image);
                        }
                        packed.get(f).run(worker.workspace, codes, rows, sums);
                        results.setAtIndex(JAVA_DOUBLE, f, error(fit, corrections.get(f), sums, samples.y(image)));
                    }
                    results.setAtIndex(JAVA_DOUBLE, fits.size(), energy(samples.y(image)));
                }

                @Override
                public void merge(SampleWorker worker, int image) {
                    if (!samples.isHeldOut(image)) {
                        return;
                    }
                    MemorySegment results = worker.buffers.get("results", 0);
                    for (int f = 0; f < errors.length; f++) {
                        errors[f] += results.getAtIndex(JAVA_DOUBLE, f);
                    }
                    energy[0] += results.getAtIndex(JAVA_DOUBLE, errors.length);
                }
            });
        } finally {
            packed.forEach(Linear::close);
        }
        for (int f = 0; f < errors.length; f++) {
            errors[f] /= Math.max(energy[0], Double.MIN_NORMAL);
        }
        return errors;
    }

    private Linear pack(LinearFit fit) {
        boolean wide = bits.coding().wide();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment codes = WeightCodes.store(fit.codes(), wide, arena);
            boolean wideInput = fit.input().quantizer().wide();
            return DigitProducts.linear(kernels, codes, wide, outputs, inputs, rows, wideInput);
        }
    }

    private int[] correction(LinearFit fit) {
        int[] correction = new int[outputs];
        for (int i = 0; i < fit.codes().length; i++) {
            correction[i / inputs] += fit.codes()[i] * fit.input().quantizer().zeroPoint();
        }
        return correction;
    }

    private double error(LinearFit fit, int[] correction, MemorySegment sums, MemorySegment y) {
        ActivationQuantizer quantizer = fit.input().quantizer();
        double error = 0;
        for (int r = 0; r < rows; r++) {
            for (int n = 0; n < outputs; n++) {
                long i = (long) r * outputs + n;
                float value = (sums.getAtIndex(JAVA_INT, i) - correction[n]) * (quantizer.scale() * fit.scales()[n])
                        + (fit.bias()[n] - samples.layer.bias()[n]);
                double d = (double) value - y.getAtIndex(JAVA_FLOAT, i);
                error += samples.gains[r] * d * d;
            }
        }
        return error;
    }

    private double energy(MemorySegment y) {
        double energy = 0;
        for (int r = 0; r < rows; r++) {
            for (int n = 0; n < outputs; n++) {
                double v = y.getAtIndex(JAVA_FLOAT, (long) r * outputs + n);
                energy += samples.gains[r] * v * v;
            }
        }
        return energy;
    }
}
