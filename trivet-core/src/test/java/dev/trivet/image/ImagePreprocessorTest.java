package dev.trivet.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.model.Interpolation;
import dev.trivet.model.Preprocessing;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class ImagePreprocessorTest {
    private static final Path GOLDENS = Fixtures.folder("goldens/resize");

    static List<String> goldens() {
        try (SafetensorsFile file = SafetensorsFile.open(GOLDENS.resolve("expected_u8_hwc.safetensors"))) {
            return file.names();
        }
    }

    /** Bytes of Pillow's resize and torchvision's centre crop. */
    @ParameterizedTest
    @MethodSource("goldens")
    void resizesAndCropsLikePillow(String key) throws IOException {
        String[] parts = key.split("\\.", -1);
        Path input;
        try (Stream<Path> files = Files.list(GOLDENS)) {
            input = files.filter(f -> f.getFileName().toString().startsWith("in_" + parts[0] + "_"))
                    .findFirst()
                    .orElseThrow();
        }
        ImagePreprocessor preprocessor = new ImagePreprocessor(new Preprocessing(
                224,
                Integer.parseInt(parts[2]),
                Interpolation.valueOf(parts[1].toUpperCase(Locale.ROOT)),
                Preprocessing.HALF,
                Preprocessing.HALF));
        RgbImage expected = Fixtures.stored(GOLDENS.resolve("expected_u8_hwc.safetensors"), key);
        RgbImage actual = preprocessor.resizeAndCrop(ImageDecoder.decode(input));
        assertThat(actual.width()).isEqualTo(224);
        assertThat(actual.height()).isEqualTo(224);
        assertThat(actual.pixels()).isEqualTo(expected.pixels());
    }

    /** Pillow's {@code resize((n, n))}, which Hugging Face's ViT and DeiT processors call, of an image of 100 x 80. */
    @ParameterizedTest
    @CsvSource({"24, BILINEAR, squash_24_bilinear.png", "32, BICUBIC, squash_32_bicubic_crop_24.png"})
    void squashesLikePillow(int resize, Interpolation interpolation, String expected) {
        ImagePreprocessor preprocessor = new ImagePreprocessor(new Preprocessing(
                24, resize, interpolation, Preprocessing.HALF, Preprocessing.HALF, Preprocessing.Fit.SQUASH));
        RgbImage actual = preprocessor.resizeAndCrop(ImageDecoder.decode(GOLDENS.resolve("in_3_100x80.png")));
        assertThat(actual.pixels())
                .isEqualTo(ImageDecoder.decode(GOLDENS.resolve(expected)).pixels());
    }

    @Test
    void allGoldensAreThere() {
        assertThat(goldens()).hasSize(24);
    }

    @Test
    void roundsTheCornerHalfToEven() {
        // 5 - 2 = 3 columns too many: the corner 1.5 becomes 2; 3 - 2 = 1 row too many: 0.5 becomes 0.
        RgbImage image = AntialiasResizeTest.noise(5, 3, 1);
        byte[] out = preprocessor(2, 3).resizeAndCrop(image).pixels();
        for (int y = 0; y < 2; y++) {
            for (int i = 0; i < 6; i++) {
                assertThat(out[6 * y + i]).isEqualTo(image.pixels()[3 * (5 * y + 2) + i]);
            }
        }
    }

    @Test
    void putsSmallImagesOnBlack() {
        // 3 x 2 in the middle of 4 x 4: the odd column goes to the right.
        RgbImage image = new RgbImage(3, 2, bytes(1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19));
        RgbImage out = preprocessor(4, 2).resizeAndCrop(image);
        assertThat(out.pixels())
                .isEqualTo(bytes(
                        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
                        1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, //
                        11, 12, 13, 14, 15, 16, 17, 18, 19, 0, 0, 0, //
                        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    }

    @Test
    void cropsOneAxisAndPadsTheOther() {
        RgbImage image = AntialiasResizeTest.noise(6, 2, 3);
        byte[] out = preprocessor(4, 2).resizeAndCrop(image).pixels();
        for (int i = 0; i < 12; i++) {
            assertThat(out[i]).isZero();
            assertThat(out[12 + i]).isEqualTo(image.pixels()[3 + i]);
            assertThat(out[24 + i]).isEqualTo(image.pixels()[18 + 3 + i]);
            assertThat(out[36 + i]).isZero();
        }
    }

    /** The resized image would have 224 x 2.5 million pixels; only the crop is made. */
    @Test
    void aThinLineNeedsNoMemoryForItsWholeEnlargement() {
        RgbImage out = preprocessor(224, 248).resizeAndCrop(AntialiasResizeTest.noise(1, 10_000, 4));
        assertThat(out.width()).isEqualTo(224);
        assertThat(out.height()).isEqualTo(224);
    }

    @Test
    void normalizesChannelByChannel() {
        Preprocessing preprocessing =
                new Preprocessing(1, 1, Interpolation.BICUBIC, List.of(0f, 0.5f, 0.25f), List.of(1f, 0.5f, 0.125f));
        RgbImage pixel = new RgbImage(1, 1, bytes(51, 255, 0));
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(17); // an odd offset: no alignment is asked for
            new ImagePreprocessor(preprocessing).normalize(pixel, out, 5);
            assertThat(out.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 5)).isEqualTo(0.2f);
            assertThat(out.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 9)).isEqualTo(1f);
            assertThat(out.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 13)).isEqualTo(-2f);
            assertThat(out.get(ValueLayout.JAVA_INT_UNALIGNED, 0)).isZero();
        }
    }

    /** Steps of torchvision's ToTensor and Normalize with the ImageNet statistics, worked in NumPy's float32. */
    @Test
    void normalizesInFloat32() {
        Preprocessing preprocessing =
                new Preprocessing(1, 1, Interpolation.BICUBIC, Preprocessing.IMAGENET_MEAN, Preprocessing.IMAGENET_STD);
        float[] out = apply(preprocessing, new RgbImage(1, 1, bytes(200, 17, 255)));
        assertThat(out).containsExactly(1.3070468f, -1.7380952f, 2.64f);
    }

    @Test
    void writesPlanesOneAfterAnother() {
        Preprocessing preprocessing =
                new Preprocessing(2, 2, Interpolation.BICUBIC, List.of(0f, 0f, 0f), List.of(1f, 1f, 1f));
        RgbImage image = new RgbImage(2, 2, bytes(0, 255, 51, 51, 0, 255, 255, 51, 0, 0, 0, 255));
        assertThat(apply(preprocessing, image)).containsExactly(0f, 0.2f, 1f, 0f, 1f, 0f, 0.2f, 0f, 0.2f, 1f, 0f, 1f);
    }

    /** Pillow: Image.new("RGB", (1, 1), (200, 100, 50)).convert("L") is 124. */
    @Test
    void oneChannelIsLuma() {
        Preprocessing preprocessing = new Preprocessing(1, 1, Interpolation.BICUBIC, List.of(0f), List.of(1f));
        assertThat(apply(preprocessing, new RgbImage(1, 1, bytes(200, 100, 50))))
                .containsExactly(124 / 255f);
        assertThat(apply(preprocessing, new RgbImage(1, 1, bytes(255, 255, 255))))
                .containsExactly(1f);
        assertThat(apply(preprocessing, new RgbImage(1, 1, bytes(7, 7, 7)))).containsExactly(7 / 255f);
    }

    @Test
    void refusesAnotherSizeAndAShortBuffer() {
        ImagePreprocessor preprocessor = preprocessor(2, 2);
        MemorySegment out = MemorySegment.ofArray(new float[preprocessor.outputLength()]);
        assertThatThrownBy(() -> preprocessor.normalize(AntialiasResizeTest.noise(3, 2, 1), out, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("3 x 2");
        assertThatThrownBy(() -> preprocessor.normalize(AntialiasResizeTest.noise(2, 2, 1), out, 4))
                .isInstanceOf(IndexOutOfBoundsException.class);
    }

    private static ImagePreprocessor preprocessor(int imageSize, int resize) {
        return new ImagePreprocessor(
                new Preprocessing(imageSize, resize, Interpolation.BICUBIC, Preprocessing.HALF, Preprocessing.HALF));
    }

    private static float[] apply(Preprocessing preprocessing, RgbImage image) {
        ImagePreprocessor preprocessor = new ImagePreprocessor(preprocessing);
        float[] out = new float[preprocessor.outputLength()];
        preprocessor.apply(image, MemorySegment.ofArray(out), 0);
        return out;
    }

    private static byte[] bytes(int... values) {
        byte[] bytes = new byte[values.length];
        for (int i = 0; i < values.length; i++) {
            bytes[i] = (byte) values[i];
        }
        return bytes;
    }
}
