package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;

/**
 * What quantization adds to the mean output of a linear layer, to be taken from its bias: eq. (14) to (16) of Liu et al. 2021.
 * With {@code eX = quantized X - X} and {@code eW = quantized W - W},
 *
 * <pre>E[quantized O] = E[O] + E[eW X] + E[W eX] + E[eW eX]      b &lt;- b - (the last three)</pre>
 *
 * (the paper multiplies from the left and writes the second as E[eX W]). The expectation runs over calibration images and their
 * rows (tokens), one value per output.
 *
 * <p>The weights are constants, so the expectation goes inside each product: {@code E[eW X] = eW E[X]} and so on. Two mean
 * vectors over the inputs, which {@link MeanError} gathers in any order, hold all that is needed; no output has to be computed.
 * The three terms stay apart because some implementations remove only the first.
 *
 * <p>The input is the one the layer sees in the float model. To remove also what quantized layers before it have shifted,
 * measure {@code quantized O - O} with {@link MeanError#add(MemorySegment, MemorySegment, int)} instead.
 *
 * <p>Immutable and safe for use by many threads.
 */
final class BiasCorrection {
    private final double[] weightError;
    private final double[] inputError;
    private final double[] jointError;

    /**
     * @param meanInput {@code [inputs]}: E[X]
     * @param meanInputError {@code [inputs]}: E[quantized X - X]
     * @param weight {@code [outputs, inputs]}
     * @param quantizedWeight {@code [outputs, inputs]}, codes times scale
     */
    BiasCorrection(double[] meanInput, double[] meanInputError, float[] weight, float[] quantizedWeight) {
        int inputs = meanInput.length;
        if (inputs == 0
                || meanInputError.length != inputs
                || weight.length % inputs != 0
                || quantizedWeight.length != weight.length) {
            throw new IllegalArgumentException(inputs + " and " + meanInputError.length + " inputs, " + weight.length
                    + " and " + quantizedWeight.length + " weights");
        }
        int outputs = weight.length / inputs;
        weightError = new double[outputs];
        inputError = new double[outputs];
        jointError = new double[outputs];
        for (int n = 0; n < outputs; n++) {
            for (int k = 0; k < inputs; k++) {
                double w = weight[n * inputs + k];
                double e = quantizedWeight[n * inputs + k] - w;
                weightError[n] += e * meanInput[k];
                inputError[n] += w * meanInputError[k];
                jointError[n] += e * meanInputError[k];
            }
        }
    }

    /**
     * The terms of one set of rows.
     *
     * @param input float32 {@code [rows, inputs]}
     * @param quantizedInput float32 {@code [rows, inputs]}, codes less zero point times scale
     * @param rows at least 1
     * @param weight {@code [outputs, inputs]}
     * @param quantizedWeight {@code [outputs, inputs]}, codes times scale
     */
    static BiasCorrection of(
            MemorySegment input,
            MemorySegment quantizedInput,
            int rows,
            int inputs,
            float[] weight,
            float[] quantizedWeight) {
        double[] mean = new double[inputs];
        double[] meanError = new double[inputs];
        for (int r = 0; r < rows; r++) {
            for (int k = 0; k < inputs; k++) {
                double x = input.getAtIndex(JAVA_FLOAT, (long) r * inputs + k);
                mean[k] += x;
                meanError[k] += quantizedInput.getAtIndex(JAVA_FLOAT, (long) r * inputs + k) - x;
            }
        }
        for (int k = 0; k < inputs; k++) {
            mean[k] /= rows;
            meanError[k] /= rows;
        }
        return new BiasCorrection(mean, meanError, weight, quantizedWeight);
    }

    int outputs() {
        return weightError.length;
    }

    /** E[eW X] of one output. */
    double weightError(int output) {
        return weightError[output];
    }

    /** E[W eX] of one output. */
    double inputError(int output) {
        return inputError[output];
    }

    /** E[eW eX] of one output. */
    double jointError(int output) {
        return jointError[output];
    }

    /** E[quantized O] - E[O] of one output: the three terms together. */
    double total(int output) {
        return weightError[output] + inputError[output] + jointError[output];
    }

    /**
     * The bias that makes up for the error.
     *
     * @param bias {@code [outputs]}, left as it is
     */
    float[] corrected(float[] bias) {
        if (bias.length != outputs()) {
            throw new IllegalArgumentException(bias.length + " biases for " + outputs() + " outputs");
        }
        float[] corrected = new float[bias.length];
        for (int n = 0; n < bias.length; n++) {
            corrected[n] = (float) (bias[n] - total(n));
        }
        return corrected;
    }
}
