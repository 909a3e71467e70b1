package dev.trivet.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.image.AntialiasResize.Span;
import dev.trivet.model.Interpolation;
import java.util.Arrays;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;

/** Properties of the resampling; its bytes are compared with Pillow's in {@link ImagePreprocessorTest}. */
class AntialiasResizeTest {

    @Property(tries = 100)
    void aConstantImageStaysConstant(
            @ForAll @IntRange(min = 1, max = 60) int width,
            @ForAll @IntRange(min = 1, max = 60) int height,
            @ForAll @IntRange(min = 1, max = 60) int newWidth,
            @ForAll @IntRange(min = 1, max = 60) int newHeight,
            @ForAll byte value,
            @ForAll Interpolation interpolation) {
        byte[] pixels = new byte[3 * width * height];
        Arrays.fill(pixels, value);
        RgbImage out = AntialiasResize.resize(
                new RgbImage(width, height, pixels), Span.whole(newWidth), Span.whole(newHeight), interpolation);
        assertThat(out.width()).isEqualTo(newWidth);
        assertThat(out.height()).isEqualTo(newHeight);
        for (byte p : out.pixels()) {
            assertThat(p).isEqualTo(value);
        }
    }

    @Property(tries = 100)
    void followsTheFilterInDoublePrecision(
            @ForAll @IntRange(min = 1, max = 40) int width,
            @ForAll @IntRange(min = 1, max = 40) int height,
            @ForAll @IntRange(min = 1, max = 40) int newWidth,
            @ForAll @IntRange(min = 1, max = 40) int newHeight,
            @ForAll long seed,
            @ForAll Interpolation interpolation) {
        RgbImage image = noise(width, height, seed);
        RgbImage out = AntialiasResize.resize(image, Span.whole(newWidth), Span.whole(newHeight), interpolation);
        // Rounding between the passes costs half a level times the sum of absolute weights, which is at most 1.25; the
        // last rounding costs another half.
        double tolerance = 0.5 * 1.25 + 0.5 + 0.01;
        double[][] across = weights(width, newWidth, interpolation);
        double[][] down = weights(height, newHeight, interpolation);
        for (int c = 0; c < 3; c++) {
            for (int y = 0; y < newHeight; y++) {
                for (int x = 0; x < newWidth; x++) {
                    double sum = 0;
                    for (int i = 0; i < height; i++) {
                        double row = 0;
                        for (int j = 0; j < width && down[y][i] != 0; j++) {
                            row += across[x][j] * (image.pixels()[3 * (i * width + j) + c] & 0xff);
                        }
                        sum += down[y][i] * Math.clamp(row, 0.0, 255.0);
                    }
                    assertThat((double) (out.pixels()[3 * (y * newWidth + x) + c] & 0xff))
                            .isCloseTo(Math.clamp(sum, 0.0, 255.0), within(tolerance));
                }
            }
        }
    }

    @Property(tries = 100)
    void aWindowIsThatPartOfTheWhole(
            @ForAll @IntRange(min = 1, max = 50) int width,
            @ForAll @IntRange(min = 1, max = 50) int height,
            @ForAll @IntRange(min = 1, max = 50) int newWidth,
            @ForAll @IntRange(min = 1, max = 50) int newHeight,
            @ForAll long seed,
            @ForAll Interpolation interpolation) {
        RgbImage image = noise(width, height, seed);
        Random random = new Random(seed);
        int left = random.nextInt(newWidth);
        int top = random.nextInt(newHeight);
        int columns = 1 + random.nextInt(newWidth - left);
        int rows = 1 + random.nextInt(newHeight - top);
        RgbImage whole = AntialiasResize.resize(image, Span.whole(newWidth), Span.whole(newHeight), interpolation);
        RgbImage window = AntialiasResize.resize(
                image, new Span(newWidth, left, columns), new Span(newHeight, top, rows), interpolation);
        assertThat(window.width()).isEqualTo(columns);
        assertThat(window.height()).isEqualTo(rows);
        for (int y = 0; y < rows; y++) {
            int from = 3 * ((top + y) * newWidth + left);
            assertThat(Arrays.copyOfRange(window.pixels(), 3 * y * columns, 3 * (y + 1) * columns))
                    .isEqualTo(Arrays.copyOfRange(whole.pixels(), from, from + 3 * columns));
        }
    }

    @Property(tries = 20)
    void anUnchangedSizeKeepsEveryPixel(
            @ForAll @IntRange(min = 1, max = 50) int width,
            @ForAll @IntRange(min = 1, max = 50) int height,
            @ForAll long seed,
            @ForAll Interpolation interpolation) {
        RgbImage image = noise(width, height, seed);
        assertThat(AntialiasResize.resize(image, Span.whole(width), Span.whole(height), interpolation)
                        .pixels())
                .isEqualTo(image.pixels());
    }

    static RgbImage noise(int width, int height, long seed) {
        byte[] pixels = new byte[3 * width * height];
        new Random(seed).nextBytes(pixels);
        return new RgbImage(width, height, pixels);
    }

    /** {@code [out][in]}: the whole matrix of a stretched kernel, written from its definition. */
    private static double[][] weights(int in, int out, Interpolation interpolation) {
        double[][] matrix = new double[out][in];
        if (in == out) {
            for (int i = 0; i < in; i++) {
                matrix[i][i] = 1;
            }
            return matrix;
        }
        double scale = (double) in / out;
        for (int i = 0; i < out; i++) {
            double sum = 0;
            for (int j = 0; j < in; j++) {
                double x = Math.abs(j + 0.5 - (i + 0.5) * scale) / Math.max(1, scale);
                matrix[i][j] = interpolation == Interpolation.BILINEAR ? Math.max(0, 1 - x) : cubic(x);
                sum += matrix[i][j];
            }
            for (int j = 0; j < in; j++) {
                matrix[i][j] /= sum;
            }
        }
        return matrix;
    }

    private static double cubic(double x) {
        if (x < 1) {
            return 1.5 * x * x * x - 2.5 * x * x + 1;
        }
        return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
    }
}
