package dev.trivet.model;

/**
 * Position embeddings for another number of patches: the square map of positions is resized as an image would be, with a bicubic
 * filter that is stretched by the reduction factor (antialiasing), each channel by itself.
 *
 * <p>Output {@code i} of an axis lies over {@code c = (i + 0.5) s}, {@code s = in / out}, and is
 * {@code sum w((j + 0.5 - c) / max(s, 1)) p[j]} over {@code |j + 0.5 - c| < 2 max(s, 1)}, where {@code w} is Keys' cubic convolution
 * (1981) with a = -0.5 and the weights are normalised to sum 1. That is what timm's {@code resample_abs_pos_embed} gives through
 * PyTorch's {@code interpolate(mode="bicubic", antialias=True)}. Differs from it in computing in double precision.
 */
final class PositionResampling {
    private static final double A = -0.5;
    private static final double SUPPORT = 2;

    private PositionResampling() {}

    /**
     * Resizes the map of positions.
     *
     * @param positions {@code [from * from, width]}
     * @return {@code [to * to, width]}; the same values if the sides are equal
     */
    static float[] resample(float[] positions, int from, int to, int width) {
        if (from == to) {
            return positions.clone();
        }
        double[][] weights = weights(from, to);
        double[] wide = new double[from * to * width];
        for (int row = 0; row < from; row++) {
            for (int x = 0; x < to; x++) {
                for (int j = 0; j < from; j++) {
                    double w = weights[x][j];
                    for (int c = 0; w != 0 && c < width; c++) {
                        wide[(row * to + x) * width + c] += w * positions[(row * from + j) * width + c];
                    }
                }
            }
        }
        float[] out = new float[to * to * width];
        double[] sum = new double[to * width];
        for (int y = 0; y < to; y++) {
            java.util.Arrays.fill(sum, 0);
            for (int j = 0; j < from; j++) {
                double w = weights[y][j];
                for (int i = 0; w != 0 && i < sum.length; i++) {
                    sum[i] += w * wide[j * sum.length + i];
                }
            }
            for (int i = 0; i < sum.length; i++) {
                out[y * sum.length + i] = (float) sum[i];
            }
        }
        return out;
    }

    /** {@code [to][from]}, each row with sum 1. */
    private static double[][] weights(int from, int to) {
        double scale = (double) from / to;
        double stretch = Math.max(scale, 1);
        double[][] weights = new double[to][from];
        for (int i = 0; i < to; i++) {
            double center = (i + 0.5) * scale;
            double sum = 0;
            for (int j = 0; j < from; j++) {
                double w = kernel((j + 0.5 - center) / stretch);
                weights[i][j] = w;
                sum += w;
            }
            for (int j = 0; j < from; j++) {
                weights[i][j] /= sum;
            }
        }
        return weights;
    }

    private static double kernel(double signed) {
        double x = Math.abs(signed);
        if (x < 1) {
            return ((A + 2) * x - (A + 3)) * x * x + 1;
        }
        return x < SUPPORT ? (((x - 5) * x + 8) * x - 4) * A : 0;
    }
}
