package dev.trivet.image;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.zip.CRC32;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class ImageDecoderTest {
    private static final Path EXPECTED = Fixtures.image("expected.safetensors");

    static List<String> names() {
        return Fixtures.imageNames();
    }

    /**
     * The bytes of Pillow's {@code open(file).convert("RGB")}; for 16-bit gray, which Pillow clips, the high bytes that the
     * file was made of.
     */
    @ParameterizedTest
    @MethodSource("names")
    void decodesLikePillow(String name) {
        RgbImage expected = Fixtures.stored(EXPECTED, name);
        RgbImage actual = ImageDecoder.decode(Fixtures.image(name));
        assertThat(actual.width()).isEqualTo(expected.width());
        assertThat(actual.height()).isEqualTo(expected.height());
        assertThat(actual.pixels()).isEqualTo(expected.pixels());
    }

    @Test
    void everyFixtureHasItsPixels() throws IOException {
        try (var files = Files.list(Fixtures.image("."))) {
            assertThat(files.map(f -> f.getFileName().toString())
                            .filter(n -> !n.endsWith(".safetensors"))
                            .toList())
                    .containsExactlyInAnyOrderElementsOf(names());
        }
    }

    @Test
    void theTypeIsToldByTheBytes() {
        assertThat(ImageDecoder.decode(Fixtures.bytes("png_rgb.png"), "photo.jpg")
                        .pixels())
                .isEqualTo(Fixtures.stored(EXPECTED, "png_rgb.png").pixels());
    }

    @ParameterizedTest
    @CsvSource({
        "'',is empty",
        "hello,is not an image",
        "GIF89a......,is a GIF image",
        "BM......,is a BMP image",
        "RIFF....WEBPVP8 ,is a WebP image",
        "....ftypavif,is an AVIF or HEIC image",
    })
    void namesWhatIsNoJpegOrPng(String text, String problem) {
        assertRefused(text.getBytes(ISO_8859_1), problem);
    }

    @Test
    void namesFilesThatCannotBeRead(@TempDir Path folder) {
        Path missing = folder.resolve("missing.jpg");
        assertThatThrownBy(() -> ImageDecoder.decode(missing))
                .isInstanceOf(BadInputException.class)
                .hasMessage(missing + ": does not exist; check the path");
        assertThatThrownBy(() -> ImageDecoder.decode(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(folder + ": is a folder");
    }

    @ParameterizedTest
    @CsvSource({
        "jpeg_444.jpg",
        "jpeg_420.jpg",
        "jpeg_progressive.jpg",
        "jpeg_gray.jpg",
        "jpeg_cmyk_adobe.jpg",
        "jpeg_restart.jpg"
    })
    void everyPrefixOfAJpegIsTruncated(String name) {
        byte[] bytes = Fixtures.bytes(name);
        for (int length = 3; length < bytes.length; length++) {
            assertRefused(Arrays.copyOf(bytes, length), "");
        }
        assertRefused(Arrays.copyOf(bytes, bytes.length - 1), "is truncated; copy or download it again");
        assertRefused(Arrays.copyOf(bytes, bytes.length / 2), "");
    }

    @ParameterizedTest
    @CsvSource({"png_rgb.png", "png_palette_4bit.png", "png_rgb_16bit_interlaced.png"})
    void everyPrefixOfAPngThatLacksPixelsIsTruncated(String name) {
        byte[] bytes = Fixtures.bytes(name);
        int withoutEnd = bytes.length - 12; // what follows are length, type and checksum of IEND
        for (int length = 8; length < withoutEnd; length++) {
            assertRefused(Arrays.copyOf(bytes, length), "is truncated; copy or download it again");
        }
    }

    @Test
    void bombsAreRefusedBeforeTheyAreDecoded() {
        byte[] png = Fixtures.bytes("png_rgb.png");
        assertRefused(withPngSize(png, 20_000, 20_000), "is 20000 x 20000 pixels, more than the 100000000");
        assertRefused(withPngSize(png, -1, -1), "is 4294967295 x 4294967295 pixels");
        assertRefused(withPngSize(png, 9_000, 9_000), "is truncated"); // too few bytes for so many pixels
        assertRefused(withPngSize(png, 0, 5), "claims to be 0 x 5 pixels");
        byte[] jpeg = Fixtures.bytes("jpeg_444.jpg");
        assertRefused(withJpegSize(jpeg, 60_000, 50_000), "is 60000 x 50000 pixels");
        assertRefused(withJpegSize(jpeg, 9_000, 9_000), "is truncated");
        assertRefused(withJpegSize(jpeg, 5, 0), "claims to be 5 x 0 pixels");
    }

    @Test
    void aWrongChecksumIsDamage() {
        byte[] png = Fixtures.bytes("png_rgb.png");
        int data = new String(png, ISO_8859_1).indexOf("IDAT");
        png[data + 20] ^= 1;
        assertRefused(png, "is damaged (a checksum is wrong); copy or download it again");
    }

    @Test
    void unsupportedJpegsSaySo() {
        byte[] jpeg = Fixtures.bytes("jpeg_444.jpg");
        int frame = frame(jpeg);
        byte[] arithmetic = jpeg.clone();
        arithmetic[frame + 1] = (byte) 0xC9;
        assertRefused(arithmetic, "save it as a baseline or progressive JPEG");
        byte[] twelveBits = jpeg.clone();
        twelveBits[frame + 4] = 12;
        assertRefused(twelveBits, "has 12 bits per sample; save it with 8 bits per sample");
        byte[] twoComponents = jpeg.clone();
        twoComponents[frame + 9] = 2;
        assertRefused(twoComponents, "has 2 colour components; save it as an RGB JPEG");
    }

    @Provide
    Arbitrary<String> fixtures() {
        return Arbitraries.of(names());
    }

    @Property(tries = 2000)
    void damagedBytesDecodeOrAreRefused(
            @ForAll("fixtures") String name, @ForAll @IntRange(min = 1, max = 12) int changes, @ForAll long seed) {
        byte[] bytes = Fixtures.bytes(name);
        Random random = new Random(seed);
        for (int i = 0; i < changes; i++) {
            // Half of the changes go into the headers, where they do most.
            int range = random.nextBoolean() ? bytes.length : Math.min(bytes.length, 200);
            bytes[random.nextInt(range)] = (byte) random.nextInt(256);
        }
        if (random.nextInt(4) == 0) {
            bytes = Arrays.copyOf(bytes, random.nextInt(bytes.length));
        }
        decodesOrIsRefused(bytes);
    }

    /** PNG checksums catch random damage early, so here they are made right again. */
    @Property(tries = 1000)
    void maliciousPngsDecodeOrAreRefused(@ForAll("fixtures") String name, @ForAll long seed) {
        byte[] bytes = Fixtures.bytes(name);
        if (!name.endsWith(".png")) {
            return;
        }
        Random random = new Random(seed);
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        for (int at = 8; at + 12 <= bytes.length; ) {
            int length = buffer.getInt(at);
            if (length > 0) {
                for (int i = random.nextInt(3); i > 0; i--) {
                    bytes[at + 8 + random.nextInt(length)] = (byte) random.nextInt(256);
                }
                checksum(buffer, at, length);
            }
            at += 12 + length;
        }
        decodesOrIsRefused(bytes);
    }

    private static void decodesOrIsRefused(byte[] bytes) {
        try {
            RgbImage image = ImageDecoder.decode(bytes, "some.file");
            assertThat(image.pixels()).hasSize(3 * image.width() * image.height());
        } catch (BadInputException e) {
            assertThat(e).hasMessageStartingWith("some.file: ").hasMessageContaining("; ");
            assertThat(e.getMessage()).doesNotContain("\n");
        }
    }

    private static void assertRefused(byte[] bytes, String problem) {
        assertThatThrownBy(() -> ImageDecoder.decode(bytes, "folder/some.jpg"))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith("folder/some.jpg: ")
                .hasMessageContaining(problem)
                .hasMessageContaining("; ");
    }

    private static byte[] withPngSize(byte[] png, int width, int height) {
        byte[] changed = png.clone();
        ByteBuffer buffer = ByteBuffer.wrap(changed);
        buffer.putInt(16, width).putInt(20, height);
        checksum(buffer, 8, 13);
        return changed;
    }

    private static void checksum(ByteBuffer png, int chunk, int length) {
        CRC32 crc = new CRC32();
        crc.update(png.slice(chunk + 4, length + 4));
        png.putInt(chunk + 8 + length, (int) crc.getValue());
    }

    private static byte[] withJpegSize(byte[] jpeg, int width, int height) {
        byte[] changed = jpeg.clone();
        ByteBuffer.wrap(changed).putShort(frame(jpeg) + 5, (short) height).putShort(frame(jpeg) + 7, (short) width);
        return changed;
    }

    private static int frame(byte[] jpeg) {
        return new String(jpeg, ISO_8859_1).indexOf("\u00ff\u00c0");
    }
}
