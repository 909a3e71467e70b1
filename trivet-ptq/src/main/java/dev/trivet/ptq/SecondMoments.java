package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;

/**
 * Sums over calibration rows from which every least-squares question about one linear layer is answered: of the quantized
 * inputs {@code x [inputs]} and the wanted outputs {@code y [outputs]} (the float product without bias),
 *
 * <pre>n,  sum x,  sum y,  H = sum x x^T,  C = sum x y^T.</pre>
 *
 * Per image the products are made in float32 and added here in double. Not thread-safe.
 */
final class SecondMoments {
    final int inputs;
    final int outputs;
    double rows;

    final double[] x;
    final double[] y;
    /** {@code [inputs, inputs]}. */
    final double[] xx;
    /** {@code [inputs, outputs]}. */
    final double[] xy;

    SecondMoments(int inputs, int outputs) {
        this.inputs = inputs;
        this.outputs = outputs;
        x = new double[inputs];
        y = new double[outputs];
        xx = new double[inputs * inputs];
        xy = new double[inputs * outputs];
    }

    /**
     * Adds one image.
     *
     * @param gains what each row counts, {@code [rows]}
     * @param values float32 {@code [rows, inputs]}
     * @param wanted float32 {@code [rows, outputs]}
     * @param squares float32 {@code [inputs, inputs]}: values^T values, each row counted so often
     * @param cross float32 {@code [inputs, outputs]}: values^T wanted, likewise
     */
    void add(float[] gains, MemorySegment values, MemorySegment wanted, MemorySegment squares, MemorySegment cross) {
        for (float gain : gains) {
            rows += gain;
        }
        addColumns(x, values, gains);
        addColumns(y, wanted, gains);
        for (int i = 0; i < xx.length; i++) {
            xx[i] += squares.getAtIndex(JAVA_FLOAT, i);
        }
        for (int i = 0; i < xy.length; i++) {
            xy[i] += cross.getAtIndex(JAVA_FLOAT, i);
        }
    }

    private static void addColumns(double[] sums, MemorySegment values, float[] gains) {
        for (int r = 0; r < gains.length; r++) {
            for (int c = 0; c < sums.length; c++) {
                sums[c] += gains[r] * values.getAtIndex(JAVA_FLOAT, (long) r * sums.length + c);
            }
        }
    }

    /** Adds all of another. */
    void add(SecondMoments other) {
        rows += other.rows;
        add(x, other.x);
        add(y, other.y);
        add(xx, other.xx);
        add(xy, other.xy);
    }

    private static void add(double[] to, double[] from) {
        for (int i = 0; i < to.length; i++) {
            to[i] += from[i];
        }
    }

    /** Covariance of the inputs, {@code [inputs, inputs]}. */
    double[] inputCovariance() {
        double[] c = new double[xx.length];
        for (int i = 0; i < inputs; i++) {
            for (int j = 0; j < inputs; j++) {
                c[i * inputs + j] = xx[i * inputs + j] / rows - x[i] / rows * (x[j] / rows);
            }
        }
        return c;
    }

    /** Covariance of inputs and wanted outputs, {@code [inputs, outputs]}. */
    double[] crossCovariance() {
        double[] c = new double[xy.length];
        for (int i = 0; i < inputs; i++) {
            for (int n = 0; n < outputs; n++) {
                c[i * outputs + n] = xy[i * outputs + n] / rows - x[i] / rows * (y[n] / rows);
            }
        }
        return c;
    }
}
