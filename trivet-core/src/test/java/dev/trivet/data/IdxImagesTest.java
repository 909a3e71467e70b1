package dev.trivet.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.image.RgbImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The bytes of the files are written out here as the format's description gives them. */
class IdxImagesTest {
    /** Two images of 2 rows and 3 columns. */
    private static final byte[] IMAGES = {
        0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, (byte) 255, 20, 30, 40, 50, 60
    };

    private static final byte[] LABELS = {0, 0, 8, 1, 0, 0, 0, 2, 1, 0};

    @TempDir
    private Path folder;

    private Path images;
    private Path labels;

    @BeforeEach
    void nameFiles() {
        images = folder.resolve("images");
        labels = folder.resolve("labels");
    }

    private IdxImages open(byte[] imageBytes, byte[] labelBytes, String... names) throws IOException {
        Files.write(images, imageBytes);
        Files.write(labels, labelBytes);
        return IdxImages.open(images, labels, List.of(names));
    }

    private static byte[] compressed(byte[] bytes) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (GZIPOutputStream gzip = new GZIPOutputStream(out)) {
            gzip.write(bytes);
        }
        return out.toByteArray();
    }

    @Test
    void readsImagesAndLabels() throws IOException {
        check(open(IMAGES, LABELS, "cat", "dog"));
    }

    @Test
    void readsCompressedFilesWhateverTheirName() throws IOException {
        check(open(compressed(IMAGES), compressed(LABELS), "cat", "dog"));
    }

    private static void check(IdxImages set) {
        assertThat(set.size()).isEqualTo(2);
        assertThat(set.rows()).isEqualTo(2);
        assertThat(set.columns()).isEqualTo(3);
        assertThat(set.classNames()).containsExactly("cat", "dog");
        assertThat(set.label(0)).isEqualTo(1);
        assertThat(set.label(1)).isEqualTo(0);
        assertThat(set.name(1)).isEqualTo("images#1");
        RgbImage image = set.read(1);
        assertThat(image.width()).isEqualTo(3);
        assertThat(image.height()).isEqualTo(2);
        assertThat(image.pixels())
                .containsExactly(-1, -1, -1, 20, 20, 20, 30, 30, 30, 40, 40, 40, 50, 50, 50, 60, 60, 60);
    }

    @Test
    void callsClassesByNumberWhereTheyHaveNoNames() throws IOException {
        assertThat(open(IMAGES, LABELS).classNames()).containsExactly("0", "1");
    }

    @Test
    void findsThePartsOfAFolder() throws IOException {
        Files.write(folder.resolve("train-images-idx3-ubyte"), IMAGES);
        Files.write(folder.resolve("train-labels-idx1-ubyte.gz"), compressed(LABELS));
        assertThat(IdxImages.train(folder, List.of()).size()).isEqualTo(2);
        assertThatThrownBy(() -> IdxImages.test(folder, List.of()))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(folder.toString())
                .hasMessageContaining("t10k-images-idx3-ubyte.gz");
    }

    @Test
    void refusesAnotherKindOfFile() {
        byte[] floats = IMAGES.clone();
        floats[2] = 0x0d;
        assertThatThrownBy(() -> open(floats, LABELS))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(images.toString())
                .hasMessageContaining("00000d03, not 00000803");
        assertThatThrownBy(() -> open(LABELS, LABELS)).hasMessageContaining("00000801, not 00000803");
        assertThatThrownBy(() -> open(IMAGES, IMAGES)).hasMessageContaining("00000803, not 00000801");
    }

    @Test
    void refusesEveryTruncation() {
        for (int length = 0; length < IMAGES.length; length++) {
            byte[] cut = Arrays.copyOf(IMAGES, length);
            assertThatThrownBy(() -> open(cut, LABELS))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining(images + ": ends too early");
        }
    }

    @Test
    void refusesEveryTruncationOfACompressedFile() throws IOException {
        byte[] whole = compressed(IMAGES);
        // From 2 on: a file of fewer bytes does not even say that it is compressed.
        for (int length = 2; length < whole.length; length++) {
            byte[] cut = Arrays.copyOf(whole, length);
            assertThatThrownBy(() -> open(cut, LABELS)).isInstanceOf(BadInputException.class);
        }
    }

    @Test
    void refusesDamagedCompression() throws IOException {
        byte[] damaged = compressed(IMAGES);
        damaged[damaged.length - 6] ^= 1; // within the checksum
        assertThatThrownBy(() -> open(damaged, LABELS))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("is damaged");
    }

    @Test
    void refusesBytesAfterTheEnd() {
        assertThatThrownBy(() -> open(Arrays.copyOf(IMAGES, IMAGES.length + 1), LABELS))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("goes on after the 12 bytes");
    }

    @Test
    void refusesImpossibleSizesWithoutMakingRoomForThem() {
        for (int size : new int[] {0, -1, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
            byte[] bytes = IMAGES.clone();
            ByteBuffer.wrap(bytes).putInt(4, size);
            assertThatThrownBy(() -> open(bytes, LABELS))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining(images + ": claims dimension");
        }
        byte[] large = IMAGES.clone();
        ByteBuffer.wrap(large).putInt(4, 300_000_000);
        assertThatThrownBy(() -> open(large, LABELS))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("ends too early");
    }

    @Test
    void refusesFilesThatDoNotBelongTogether() {
        byte[] three = {0, 0, 8, 1, 0, 0, 0, 3, 1, 0, 0};
        assertThatThrownBy(() -> open(IMAGES, three))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("3 labels where images has 2 images");
    }

    @Test
    void refusesLabelsWithoutAName() {
        assertThatThrownBy(() -> open(IMAGES, LABELS, "only"))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("label 1");
    }

    @Test
    void namesAMissingFile() {
        assertThatThrownBy(() -> IdxImages.open(images, labels, List.of()))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(images + ": does not exist");
    }
}
