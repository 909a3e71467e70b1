package dev.trivet.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class RgbImageTest {
    static List<String> pngs() {
        return Fixtures.imageNames().stream()
                .filter(name -> name.endsWith(".png"))
                .toList();
    }

    /** What the JDK reads of a PNG file, in whatever form it keeps it, has the pixels that Pillow has. */
    @ParameterizedTest
    @MethodSource("pngs")
    void imagesOfTheJdkHavePillowsPixels(String name) throws IOException {
        RgbImage expected = Fixtures.stored(Fixtures.image("expected.safetensors"), name);
        RgbImage actual = RgbImage.of(ImageIO.read(Fixtures.image(name).toFile()));
        assertThat(actual.width()).isEqualTo(expected.width());
        assertThat(actual.height()).isEqualTo(expected.height());
        assertThat(actual.pixels()).isEqualTo(expected.pixels());
    }

    /** A part of an image shares its memory, but not its origin. */
    @Test
    void partsOfImagesAreTakenWhereTheyLie() {
        for (int type : new int[] {BufferedImage.TYPE_3BYTE_BGR, BufferedImage.TYPE_INT_RGB}) {
            BufferedImage whole = new BufferedImage(5, 4, type);
            whole.setRGB(2, 1, 0x010203);
            whole.setRGB(3, 1, 0xfffefd);
            assertThat(RgbImage.of(whole.getSubimage(2, 1, 2, 2)).pixels())
                    .containsExactly(1, 2, 3, (byte) 255, (byte) 254, (byte) 253, 0, 0, 0, 0, 0, 0);
        }
    }

    /** Half transparent: its colour is stored halved. */
    @Test
    void premultipliedColoursAreRestored() {
        BufferedImage image = new BufferedImage(1, 1, BufferedImage.TYPE_4BYTE_ABGR_PRE);
        image.setRGB(0, 0, 0x80ff0000);
        assertThat(RgbImage.of(image).pixels()).containsExactly((byte) 255, 0, 0);
    }

    @ParameterizedTest
    @CsvSource({"0,1,0", "1,-1,3", "2,2,11", "2,2,13"})
    void wantsThreeBytesForEachPixel(int width, int height, int bytes) {
        assertThatThrownBy(() -> new RgbImage(width, height, new byte[bytes]))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(bytes + " bytes");
    }
}
