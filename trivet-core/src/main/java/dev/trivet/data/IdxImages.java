package dev.trivet.data;

import dev.trivet.BadInputException;
import dev.trivet.image.ImageDecoder;
import dev.trivet.image.RgbImage;
import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;

/**
 * Grey images in the IDX format of MNIST and its successors: a file of 8-bit images (magic number 0x00000803, then count,
 * rows and columns as big-endian 32-bit numbers, then the pixels) and a file of 8-bit labels (0x00000801, count, labels).
 * Either may be compressed with gzip, which is told from its first bytes, not from its name. Everything is held in memory;
 * {@link #read} gives each grey value to all three colours.
 *
 * <p>Immutable, hence safe to read from several threads.
 */
public final class IdxImages implements LabelledImages {
    /** The classes of Fashion-MNIST in label order; the files themselves do not name them. */
    public static final List<String> FASHION_MNIST_CLASSES = List.of(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot");

    private static final int IMAGES_MAGIC = 0x00000803;
    private static final int LABELS_MAGIC = 0x00000801;
    private static final int GZIP_MAGIC = 0x1f8b;
    private static final String REMEDY = "copy or download the file again";

    private final Path imagesFile;
    private final int rows;
    private final int columns;
    private final byte[] pixels;
    private final byte[] labels;
    private final List<String> classNames;

    private IdxImages(Path imagesFile, int rows, int columns, byte[] pixels, byte[] labels, List<String> classNames) {
        this.imagesFile = imagesFile;
        this.rows = rows;
        this.columns = columns;
        this.pixels = pixels;
        this.labels = labels;
        this.classNames = List.copyOf(classNames);
    }

    /**
     * Reads a pair of files.
     *
     * @param classNames names in label order; empty to call the classes by their numbers
     * @throws BadInputException if a file cannot be read, is not IDX, is cut short or too long, if the counts of the two
     *     differ, or if a label has no name
     */
    public static IdxImages open(Path images, Path labels, List<String> classNames) {
        Content pictures = load(images, IMAGES_MAGIC, 3, "images");
        Content numbers = load(labels, LABELS_MAGIC, 1, "labels");
        int count = pictures.dimensions()[0];
        if (count != numbers.dimensions()[0]) {
            throw new BadInputException(
                    labels,
                    "has " + numbers.dimensions()[0] + " labels where " + images.getFileName() + " has " + count
                            + " images",
                    "give the two files of one set");
        }
        long area = (long) pictures.dimensions()[1] * pictures.dimensions()[2];
        if (area > ImageDecoder.MAX_PIXELS) {
            throw new BadInputException(images, "has images of " + area + " pixels", "give smaller images");
        }
        int largest = 0;
        for (byte label : numbers.values()) {
            largest = Math.max(largest, label & 0xff);
        }
        List<String> names = classNames.isEmpty()
                ? IntStream.rangeClosed(0, largest).mapToObj(String::valueOf).toList()
                : classNames;
        if (largest >= names.size()) {
            throw new BadInputException(
                    labels,
                    "holds label " + largest + " but only " + names.size() + " classes are named",
                    "give a name for every label");
        }
        return new IdxImages(
                images, pictures.dimensions()[1], pictures.dimensions()[2], pictures.values(), numbers.values(), names);
    }

    /**
     * The training part of a folder in MNIST's layout: {@code train-images-idx3-ubyte} and
     * {@code train-labels-idx1-ubyte}, with or without {@code .gz}.
     *
     * @throws BadInputException if a file is missing or bad, see {@link #open}
     */
    public static IdxImages train(Path folder, List<String> classNames) {
        return part(folder, "train", classNames);
    }

    /**
     * The test part of a folder in MNIST's layout: {@code t10k-images-idx3-ubyte} and {@code t10k-labels-idx1-ubyte}, with
     * or without {@code .gz}.
     *
     * @throws BadInputException if a file is missing or bad, see {@link #open}
     */
    public static IdxImages test(Path folder, List<String> classNames) {
        return part(folder, "t10k", classNames);
    }

    private static IdxImages part(Path folder, String part, List<String> classNames) {
        return open(
                existing(folder, part + "-images-idx3-ubyte"),
                existing(folder, part + "-labels-idx1-ubyte"),
                classNames);
    }

    private static Path existing(Path folder, String name) {
        Path plain = folder.resolve(name);
        Path compressed = folder.resolve(name + ".gz");
        return Optional.of(plain)
                .filter(Files::isRegularFile)
                .or(() -> Optional.of(compressed).filter(Files::isRegularFile))
                .orElseThrow(() -> new BadInputException(
                        folder,
                        "holds neither " + name + " nor " + name + ".gz",
                        "give the folder with the four IDX files"));
    }

    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Content(int[] dimensions, byte[] values) {}

    private static Content load(Path file, int magic, int dimensions, String what) {
        try (InputStream in = decompressed(file)) {
            int found = ByteBuffer.wrap(exactly(in, 4)).getInt();
            if (found != magic) {
                throw new BadInputException(
                        file,
                        String.format("is not an IDX file of 8-bit %s (magic %08x, not %08x)", what, found, magic),
                        "give the right file");
            }
            ByteBuffer header = ByteBuffer.wrap(exactly(in, 4 * dimensions));
            int[] sizes = new int[dimensions];
            long bytes = 1;
            for (int i = 0; i < dimensions; i++) {
                sizes[i] = header.getInt();
                // After each factor the product is below 2^31, so the next cannot overflow a long.
                bytes *= sizes[i];
                if (sizes[i] < 1 || bytes > Integer.MAX_VALUE - 64) {
                    throw new BadInputException(
                            file, "claims dimension " + i + " to be " + Integer.toUnsignedString(sizes[i]), REMEDY);
                }
            }
            // readNBytes grows with what arrives, so a header that claims too much costs no memory.
            byte[] values = exactly(in, (int) bytes);
            if (in.read() >= 0) {
                throw new BadInputException(file, "goes on after the " + bytes + " bytes of its " + what, REMEDY);
            }
            return new Content(sizes, values);
        } catch (NoSuchFileException e) {
            throw new BadInputException(file, "does not exist", "check the name", e);
        } catch (EOFException e) {
            throw new BadInputException(file, "ends too early", REMEDY, e);
        } catch (ZipException e) {
            throw new BadInputException(file, "is damaged (" + e.getMessage() + ")", REMEDY, e);
        } catch (IOException e) {
            throw new BadInputException(
                    file,
                    "cannot be read (" + BadInputException.reason(e) + ")",
                    "check the file and its permissions",
                    e);
        }
    }

    private static byte[] exactly(InputStream in, int count) throws IOException {
        byte[] bytes = in.readNBytes(count);
        if (bytes.length < count) {
            throw new EOFException();
        }
        return bytes;
    }

    private static InputStream decompressed(Path file) throws IOException {
        InputStream in = new BufferedInputStream(Files.newInputStream(file), 1 << 16);
        try {
            in.mark(2);
            int magic = in.read() << 8 | in.read();
            in.reset();
            return magic == GZIP_MAGIC ? new GZIPInputStream(in, 1 << 16) : in;
        } catch (IOException e) {
            in.close();
            throw e;
        }
    }

    /** Pixels in a column. */
    public int rows() {
        return rows;
    }

    /** Pixels in a row. */
    public int columns() {
        return columns;
    }

    @Override
    public int size() {
        return labels.length;
    }

    @Override
    public List<String> classNames() {
        return classNames;
    }

    @Override
    public int label(int index) {
        return labels[index] & 0xff;
    }

    @Override
    public String name(int index) {
        return imagesFile.getFileName() + "#" + index;
    }

    @Override
    public RgbImage read(int index) {
        byte[] rgb = new byte[3 * rows * columns];
        int from = Math.multiplyExact(index, rows * columns);
        for (int i = 0; i < rows * columns; i++) {
            byte grey = pixels[from + i];
            rgb[3 * i] = grey;
            rgb[3 * i + 1] = grey;
            rgb[3 * i + 2] = grey;
        }
        return new RgbImage(columns, rows, rgb);
    }
}
