package dev.trivet.image;

import dev.trivet.model.Interpolation;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Resizing with antialiasing: the filter is stretched by the reduction factor, so that every input pixel counts.
 *
 * <p>Idea: a separable filter, first along the rows, then along the columns. Output sample {@code i} of an axis lies over
 * the input position {@code c = (i + 0.5) s}, {@code s = in / out}, and is {@code sum w((j + 0.5 - c) / max(s, 1)) p[j]}
 * with the weights normalised to sum 1. Weights are rounded to multiples of 2^-22, sums are integers, and the rows are
 * rounded to 8 bits between the two passes.
 *
 * <p>This is the arithmetic of Pillow's {@code Image.resize} for 8-bit images, and results are the same bit for bit: models
 * are trained and evaluated behind it, and the kernels of other imaging libraries (which do not stretch the filter, or
 * round elsewhere) move pixels by up to 22 levels and with them some predictions. As in Pillow an axis whose length stays
 * is left out. The difference: only the rows and columns that a wanted window depends on are computed.
 */
final class AntialiasResize {
    private static final int FRACTION_BITS = 22;
    private static final int HALF = 1 << (FRACTION_BITS - 1);

    private AntialiasResize() {}

    /** The wanted part of one axis: {@code count} samples from {@code start} of an axis resized to {@code length}. */
    record Span(long length, long start, int count) {
        Span {
            if (length < 1 || start < 0 || count < 1 || start + count > length) {
                throw new IllegalArgumentException(count + " samples from " + start + " are not within " + length);
            }
        }

        static Span whole(int length) {
            return new Span(length, 0, length);
        }
    }

    /**
     * The window {@code columns} x {@code rows} of the resized image.
     *
     * @return {@code columns.count()} wide and {@code rows.count()} high
     */
    static RgbImage resize(RgbImage image, Span columns, Span rows, Interpolation interpolation) {
        boolean sameHeight = rows.length() == image.height();
        @Nullable Weights vertical = sameHeight ? null : Weights.of(image.height(), rows, interpolation);
        int firstRow = vertical == null ? (int) rows.start() : vertical.first();
        int endRow = vertical == null ? firstRow + rows.count() : vertical.end();

        byte[] narrowed;
        if (columns.length() == image.width()) {
            narrowed = columns(image, (int) columns.start(), columns.count(), firstRow, endRow - firstRow);
        } else {
            Weights horizontal = Weights.of(image.width(), columns, interpolation);
            narrowed = horizontal(image, horizontal, columns.count(), firstRow, endRow - firstRow);
        }
        byte[] pixels =
                vertical == null ? narrowed : vertical(narrowed, vertical, 3 * columns.count(), rows.count(), firstRow);
        return new RgbImage(columns.count(), rows.count(), pixels);
    }

    private static byte[] columns(RgbImage image, int start, int count, int firstRow, int rows) {
        if (count == image.width() && rows == image.height()) {
            return image.pixels();
        }
        byte[] out = new byte[3 * count * rows];
        for (int y = 0; y < rows; y++) {
            int from = 3 * ((firstRow + y) * image.width() + start);
            System.arraycopy(image.pixels(), from, out, 3 * count * y, 3 * count);
        }
        return out;
    }

    private static byte[] horizontal(RgbImage image, Weights weights, int count, int firstRow, int rows) {
        byte[] in = image.pixels();
        byte[] out = new byte[3 * count * rows];
        int[] values = weights.values();
        int at = 0;
        for (int y = 0; y < rows; y++) {
            int row = 3 * (firstRow + y) * image.width();
            for (int x = 0; x < count; x++) {
                int k = x * weights.stride();
                int from = row + 3 * weights.starts()[x];
                int end = from + 3 * weights.counts()[x];
                int red = HALF;
                int green = HALF;
                int blue = HALF;
                for (int i = from; i < end; i += 3, k++) {
                    int w = values[k];
                    red += (in[i] & 0xff) * w;
                    green += (in[i + 1] & 0xff) * w;
                    blue += (in[i + 2] & 0xff) * w;
                }
                out[at] = clip(red);
                out[at + 1] = clip(green);
                out[at + 2] = clip(blue);
                at += 3;
            }
        }
        return out;
    }

    /** Row by row over whole rows: the inner loop runs over neighbours in memory, which the compiler vectorises. */
    private static byte[] vertical(byte[] in, Weights weights, int rowLength, int rows, int firstRow) {
        byte[] out = new byte[rowLength * rows];
        int[] sums = new int[rowLength];
        for (int y = 0; y < rows; y++) {
            Arrays.fill(sums, HALF);
            int from = (weights.starts()[y] - firstRow) * rowLength;
            for (int t = 0; t < weights.counts()[y]; t++, from += rowLength) {
                addRow(sums, in, from, weights.values()[y * weights.stride() + t]);
            }
            int at = y * rowLength;
            for (int i = 0; i < rowLength; i++) {
                out[at + i] = clip(sums[i]);
            }
        }
        return out;
    }

    private static void addRow(int[] sums, byte[] in, int from, int weight) {
        for (int i = 0; i < sums.length; i++) {
            sums[i] += (in[from + i] & 0xff) * weight;
        }
    }

    private static byte clip(int sum) {
        return (byte) Math.clamp(sum >> FRACTION_BITS, 0, 255);
    }

    /**
     * Weights of one axis in units of 2^-22.
     *
     * @param starts first input sample of each output sample
     * @param counts number of input samples of each output sample
     * @param values {@code [outputs, stride]}; the first {@code counts[i]} of row i count
     */
    @SuppressWarnings("ArrayRecordComponent") // private carrier, never compared
    private record Weights(int[] starts, int[] counts, int[] values, int stride) {

        static Weights of(int inputLength, Span span, Interpolation interpolation) {
            double scale = (double) inputLength / span.length();
            double stretch = Math.max(scale, 1.0);
            double support = support(interpolation) * stretch;
            double inverse = 1.0 / stretch;
            int stride = Math.min((int) Math.ceil(support) * 2 + 1, inputLength);
            int[] starts = new int[span.count()];
            int[] counts = new int[span.count()];
            int[] values = new int[Math.multiplyExact(span.count(), stride)];
            double[] exact = new double[stride];
            for (int i = 0; i < span.count(); i++) {
                double center = (span.start() + i + 0.5) * scale;
                int start = Math.max((int) (center - support + 0.5), 0);
                int count = Math.min((int) (center + support + 0.5), inputLength) - start;
                double sum = 0;
                for (int j = 0; j < count; j++) {
                    exact[j] = kernel((j + start - center + 0.5) * inverse, interpolation);
                    sum += exact[j];
                }
                for (int j = 0; j < count; j++) {
                    double w = (sum == 0 ? exact[j] : exact[j] / sum) * (1 << FRACTION_BITS);
                    values[i * stride + j] = (int) (w < 0 ? w - 0.5 : w + 0.5);
                }
                starts[i] = start;
                counts[i] = count;
            }
            return new Weights(starts, counts, values, stride);
        }

        /** First input sample that any output needs. */
        int first() {
            return starts[0];
        }

        /** One past the last input sample that any output needs. */
        int end() {
            return starts[starts.length - 1] + counts[counts.length - 1];
        }

        private static double support(Interpolation interpolation) {
            return switch (interpolation) {
                case BILINEAR -> 1.0;
                case BICUBIC -> 2.0;
            };
        }

        /** Triangle, or Keys' cubic convolution (1981) with a = -0.5. */
        private static double kernel(double signed, Interpolation interpolation) {
            double x = Math.abs(signed);
            return switch (interpolation) {
                case BILINEAR -> x < 1 ? 1 - x : 0;
                case BICUBIC -> {
                    double a = -0.5;
                    if (x < 1) {
                        yield ((a + 2) * x - (a + 3)) * x * x + 1;
                    }
                    yield x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
                }
            };
        }
    }
}
