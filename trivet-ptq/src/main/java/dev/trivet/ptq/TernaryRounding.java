package dev.trivet.ptq;

import dev.trivet.quant.TernaryWeights;

/**
 * Fits ternary weights {@code alpha t}, {@code t} in {-1, 0, 1}, to real ones where it counts: per output channel it lowers
 *
 * <pre>E(alpha, t) = (w - alpha t)^T H (w - alpha t),</pre>
 *
 * the squared output error over calibration inputs of covariance H (damped).
 *
 * <p>1. {@link #scales}: the threshold is searched. Over a grid of multiples of mean|w| around TWN's 0.7, t follows from the threshold
 * and alpha is the least-squares scale of that t under H's diagonal; the pair of least diagonal error is taken.
 *
 * <p>2. {@link CompensatedRounding} rounds one input after another to -alpha, 0, alpha with that scale, feeding errors on (GPTQ).
 *
 * <p>3. {@link #refine}: alpha is fitted again in closed form, {@code alpha = t^T H w / t^T H t}, then inputs are visited in turn and each
 * code is set to the one of the three that is best while all others stand (coordinate descent, as COMQ does with uniform grids). Neither
 * step can raise E; they alternate until no code changes. GPTQ decides about an input before it knows the later ones' codes; with three
 * levels the errors are so large that going back pays. With {@code g = H (w - alpha t)} at hand a visit costs one addition and
 * a changed code one row of H.
 *
 * <p>The scale is rounded as a file stores it, and the codes are visited again until none changes. Immutable and safe for use by many threads.
 */
final class TernaryRounding {
    private static final double LEAST_THRESHOLD = 0.2;
    private static final double MOST_THRESHOLD = 1.6;
    private static final int THRESHOLDS = 29;
    private static final int MOST_SWEEPS = 30;

    private final double[] h;
    private final double damping;
    private final int inputs;
    private final int outputs;

    /**
     * @param h covariance of the quantized inputs {@code [inputs, inputs]}
     * @param damping is added to its diagonal
     */
    TernaryRounding(double[] h, double damping, int inputs, int outputs) {
        this.h = h;
        this.damping = damping;
        this.inputs = inputs;
        this.outputs = outputs;
    }

    /**
     * Scales from the search of thresholds.
     *
     * @param weight {@code [inputs, outputs]}
     * @return {@code [outputs]}
     */
    float[] scales(double[] weight) {
        float[] scales = new float[outputs];
        for (int n = 0; n < outputs; n++) {
            double mean = 0;
            for (int k = 0; k < inputs; k++) {
                mean += Math.abs(weight[k * outputs + n]) / inputs;
            }
            double most = -1;
            double best = 0;
            for (int i = 0; i < THRESHOLDS; i++) {
                double ratio = LEAST_THRESHOLD + (MOST_THRESHOLD - LEAST_THRESHOLD) * i / (THRESHOLDS - 1);
                double agreement = 0; // t^T D w
                double energy = 0; // t^T D t
                for (int k = 0; k < inputs; k++) {
                    double magnitude = Math.abs(weight[k * outputs + n]);
                    if (magnitude > ratio * mean) {
                        agreement += (h[k * inputs + k] + damping) * magnitude;
                        energy += h[k * inputs + k] + damping;
                    }
                }
                // With alpha = agreement / energy the error is w^T D w - agreement^2 / energy.
                double explained = energy > 0 ? agreement * agreement / energy : 0;
                if (explained > most) {
                    most = explained;
                    best = energy > 0 ? agreement / energy : 0;
                }
            }
            scales[n] = TernaryWeights.storedScale(best);
        }
        return scales;
    }

    /**
     * Alternates scale and codes, from where they stand.
     *
     * @param weight {@code [inputs, outputs]}
     * @param start codes of -1, 0 and 1
     */
    CompensatedRounding.Rounded refine(double[] weight, CompensatedRounding.Rounded start) {
        int[] codes = start.codes().clone();
        float[] scales = start.scales().clone();
        Channel channel = new Channel();
        for (int n = 0; n < outputs; n++) {
            channel.open(weight, n, codes, scales[n]);
            boolean changed = true;
            for (int sweep = 0; sweep < MOST_SWEEPS && changed; sweep++) {
                channel.fitScale();
                changed = channel.sweep();
            }
            // A code may tip because the scale was rounded, and then the scale is another.
            changed = true;
            for (int sweep = 0; sweep < MOST_SWEEPS && changed; sweep++) {
                channel.rescale(TernaryWeights.storedScale(channel.fittedScale()));
                changed = channel.sweep();
            }
            System.arraycopy(channel.t, 0, codes, n * inputs, inputs);
            scales[n] = (float) channel.alpha;
        }
        return new CompensatedRounding.Rounded(codes, scales);
    }

    /** One output channel. */
    private final class Channel {
        final int[] t = new int[inputs];
        double alpha;
        /** H w. */
        private final double[] hw = new double[inputs];
        /** H (w - alpha t). */
        private final double[] g = new double[inputs];

        void open(double[] weight, int n, int[] codes, double scale) {
            alpha = scale;
            for (int k = 0; k < inputs; k++) {
                t[k] = codes[n * inputs + k];
                double w = weight[k * outputs + n];
                hw[k] = damping * w;
                g[k] = damping * (w - alpha * t[k]);
            }
            for (int j = 0; j < inputs; j++) {
                double w = weight[j * outputs + n];
                double e = w - alpha * t[j];
                for (int k = 0; k < inputs; k++) {
                    double c = h[j * inputs + k];
                    hw[k] += c * w;
                    g[k] += c * e;
                }
            }
        }

        /** The best scale for the codes as they are; the present one if there is none. */
        double fittedScale() {
            double agreement = 0;
            double energy = 0;
            for (int k = 0; k < inputs; k++) {
                agreement += t[k] * hw[k];
                energy += t[k] * (hw[k] - g[k]) / alpha;
            }
            double fitted = agreement / energy;
            return fitted > 0 && fitted < Double.POSITIVE_INFINITY ? fitted : alpha;
        }

        void fitScale() {
            rescale(fittedScale());
        }

        void rescale(double scale) {
            double ratio = scale / alpha;
            for (int k = 0; k < inputs; k++) {
                g[k] = hw[k] - ratio * (hw[k] - g[k]);
            }
            alpha = scale;
        }

        /** Visits all inputs; says whether a code changed. */
        boolean sweep() {
            boolean changed = false;
            for (int k = 0; k < inputs; k++) {
                // Where alpha t_k would be best were it free.
                double free = t[k] + g[k] / ((h[k * inputs + k] + damping) * alpha);
                int code = (int) Math.clamp(Math.rint(free), -1, 1);
                if (code != t[k]) {
                    double step = alpha * (code - t[k]);
                    int row = k * inputs;
                    for (int j = 0; j < inputs; j++) {
                        g[j] -= step * h[row + j];
                    }
                    g[k] -= step * damping;
                    t[k] = code;
                    changed = true;
                }
            }
            return changed;
        }
    }
}
