package dev.trivet.cli;

import dev.trivet.AtomicOutput;
import dev.trivet.BadInputException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/**
 * The embedded model and images: a ViT trained on Fashion-MNIST, the first 2,000 test and the first 512 training images of
 * that set (MIT licence, see the NOTICE beside them).
 */
final class DemoFiles {
    static final int TEST_IMAGES = 2000;
    static final int TRAIN_IMAGES = 512;

    private static final String FOLDER = "/dev/trivet/demo/";
    private static final List<String> NAMES = List.of(
            "model.safetensors",
            "config.json",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz");

    private DemoFiles() {}

    /** Copies all files to a folder, so that the demo reads them as any command would. */
    static void unpack(Path folder) {
        for (String name : NAMES) {
            Path target = folder.resolve(name);
            try (InputStream in = DemoFiles.class.getResourceAsStream(FOLDER + name)) {
                if (in == null) {
                    throw new IllegalStateException("the jar lacks " + FOLDER + name);
                }
                byte[] content = in.readAllBytes();
                if (Files.exists(target)) {
                    if (!java.util.Arrays.equals(content, Files.readAllBytes(target))) {
                        throw new BadInputException(target, "is there and is not the demo's", "name an empty folder");
                    }
                } else {
                    AtomicOutput.write(target, content);
                }
            } catch (IOException e) {
                throw new BadInputException(
                        target, "cannot be written (" + BadInputException.reason(e) + ")", "free some space", e);
            }
        }
    }

    /** Cuts the embedded subsets out of the whole set: how the files in the repository were made. */
    static void pack(Path wholeSet, Path folder) {
        cut(wholeSet, folder, "t10k", TEST_IMAGES);
        cut(wholeSet, folder, "train", TRAIN_IMAGES);
    }

    private static void cut(Path from, Path to, String split, int count) {
        cut(from, to, split + "-images-idx3-ubyte.gz", count, 16, 28 * 28);
        cut(from, to, split + "-labels-idx1-ubyte.gz", count, 8, 1);
    }

    private static void cut(Path from, Path to, String name, int count, int header, int itemBytes) {
        Path source = from.resolve(name);
        try (InputStream in = new GZIPInputStream(Files.newInputStream(source))) {
            byte[] bytes = in.readNBytes(header + count * itemBytes);
            if (bytes.length != header + count * itemBytes) {
                throw new BadInputException(source, "is too short", "give the whole set");
            }
            ByteBuffer.wrap(bytes).putInt(4, count);
            ByteArrayOutputStream packed = new ByteArrayOutputStream();
            try (GZIPOutputStream gzip = new GZIPOutputStream(packed)) {
                gzip.write(bytes);
            }
            AtomicOutput.write(to.resolve(name), packed.toByteArray());
        } catch (IOException e) {
            throw new BadInputException(
                    source, "cannot be read (" + BadInputException.reason(e) + ")", "give the whole set", e);
        }
    }
}
