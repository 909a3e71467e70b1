package dev.trivet.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CifarImagesTest {
    private static final int RECORD = 3073;

    @TempDir
    private Path folder;

    /** Records whose red is the place in the row, green the row and blue the record's number. */
    private void write(String name, int... labels) throws IOException {
        byte[] bytes = new byte[RECORD * labels.length];
        for (int n = 0; n < labels.length; n++) {
            bytes[n * RECORD] = (byte) labels[n];
            for (int i = 0; i < 1024; i++) {
                bytes[n * RECORD + 1 + i] = (byte) (i % 32);
                bytes[n * RECORD + 1025 + i] = (byte) (i / 32 + 200);
                bytes[n * RECORD + 2049 + i] = (byte) n;
            }
        }
        Files.write(folder.resolve(name), bytes);
    }

    @Test
    void readsRecordsOfAllFilesInOrder() throws IOException {
        write("data_batch_1.bin", 3, 9);
        write("data_batch_2.bin", 0);
        write("test_batch.bin", 7);
        CifarImages train = CifarImages.train(folder);
        assertThat(CifarImages.isIn(folder)).isTrue();
        assertThat(train.size()).isEqualTo(3);
        assertThat(new int[] {train.label(0), train.label(1), train.label(2)}).containsExactly(3, 9, 0);
        assertThat(train.classNames().get(train.label(1))).isEqualTo("truck");
        assertThat(train.name(2)).isEqualTo("data_batch_2.bin#0");
        byte[] pixels = train.read(1).pixels();
        int at = 3 * (5 * 32 + 17);
        assertThat(new int[] {pixels[at] & 0xff, pixels[at + 1] & 0xff, pixels[at + 2] & 0xff})
                .containsExactly(17, 205, 1);
        assertThat(CifarImages.test(folder).label(0)).isEqualTo(7);
    }

    @Test
    void refusesAGapInTheTrainingFiles() throws IOException {
        for (int number : new int[] {1, 2, 4, 5}) {
            write("data_batch_" + number + ".bin", number);
        }
        assertThatThrownBy(() -> CifarImages.train(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("data_batch_3.bin: does not exist though data_batch_5.bin does");
        write("data_batch_3.bin", 3);
        assertThat(CifarImages.train(folder).size()).isEqualTo(5);
        Files.delete(folder.resolve("data_batch_1.bin"));
        assertThatThrownBy(() -> CifarImages.train(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("data_batch_1.bin: does not exist");
    }

    @Test
    void refusesWhatIsNotCifar10() throws IOException {
        assertThat(CifarImages.isIn(folder)).isFalse();
        assertThatThrownBy(() -> CifarImages.train(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("holds no data_batch_1.bin");
        assertThatThrownBy(() -> CifarImages.test(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("test_batch.bin: does not exist");
        Files.write(folder.resolve("test_batch.bin"), new byte[RECORD - 1]);
        assertThatThrownBy(() -> CifarImages.test(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("3072 bytes, which is no multiple of 3073");
        write("test_batch.bin", 1, 10);
        assertThatThrownBy(() -> CifarImages.test(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("label 10 in record 1");
    }

    /** Sheets with a row for each image, whose red is the place in the row, green the row and blue the image's number. */
    private void writeSheet(String name, int images) throws IOException {
        BufferedImage sheet = new BufferedImage(1024, images, BufferedImage.TYPE_INT_RGB);
        for (int n = 0; n < images; n++) {
            for (int i = 0; i < 1024; i++) {
                sheet.setRGB(i, n, (i % 32) << 16 | (i / 32 + 200) << 8 | n);
            }
        }
        ImageIO.write(sheet, "png", folder.resolve(name).toFile());
    }

    @Test
    void readsSheetsLikeRecords() throws IOException {
        writeSheet("data_batch_1.png", 2);
        writeSheet("data_batch_2.png", 3);
        writeSheet("test_batch.png", 1);
        Files.writeString(folder.resolve("train_lables.json"), "[3,9,0,8,1]");
        Files.writeString(folder.resolve("test_lables.json"), "[7]");
        CifarImages train = CifarImages.train(folder);
        assertThat(CifarImages.isIn(folder)).isTrue();
        assertThat(train.size()).isEqualTo(5);
        assertThat(train.label(1)).isEqualTo(9);
        assertThat(train.label(3)).isEqualTo(8);
        assertThat(train.name(3)).isEqualTo("data_batch_2.png#1");
        byte[] pixels = train.read(4).pixels();
        int at = 3 * (5 * 32 + 17);
        assertThat(new int[] {pixels[at] & 0xff, pixels[at + 1] & 0xff, pixels[at + 2] & 0xff})
                .containsExactly(17, 205, 2);
        assertThat(CifarImages.test(folder).label(0)).isEqualTo(7);
    }

    @Test
    void refusesLabelsThatDoNotFitTheSheets() throws IOException {
        writeSheet("test_batch.png", 2);
        Path labels = folder.resolve("test_lables.json");
        assertThatThrownBy(() -> CifarImages.test(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("test_lables.json: does not exist");
        Files.writeString(labels, "[7]");
        assertThatThrownBy(() -> CifarImages.test(folder)).hasMessageContaining("has 1 labels");
        Files.writeString(labels, "[7, 10]");
        assertThatThrownBy(() -> CifarImages.test(folder)).hasMessageContaining("has 10 as label 1");
        Files.writeString(labels, "{}");
        assertThatThrownBy(() -> CifarImages.test(folder)).hasMessageContaining("is no array of labels");
        Files.writeString(labels, "[7,");
        assertThatThrownBy(() -> CifarImages.test(folder)).hasMessageContaining("cannot be read as JSON");
    }
}
