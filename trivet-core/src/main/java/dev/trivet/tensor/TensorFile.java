package dev.trivet.tensor;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;

/**
 * A checkpoint on disk in one of the forms that Trivet reads. Safe to read from several threads; tensors must not be used after
 * {@link #close()}.
 */
public sealed interface TensorFile extends TensorSource, AutoCloseable
        permits SafetensorsFile, ShardedSafetensors, TorchFile {
    /**
     * Opens and checks a file: {@code NAME.safetensors.index.json} with its shards, a {@code torch.save} file ({@code .pth},
     * {@code .pt}, {@code .bin}, or any zip file), and everything else as safetensors.
     *
     * @throws BadInputException if it cannot be read or is not sound
     */
    static TensorFile open(Path file) {
        String name = String.valueOf(file.getFileName()).toLowerCase(Locale.ROOT);
        if (name.endsWith(".index.json")) {
            return ShardedSafetensors.open(file);
        }
        boolean torch = name.endsWith(".pth") || name.endsWith(".pt") || name.endsWith(".bin");
        return torch || isZip(file) ? TorchFile.open(file) : SafetensorsFile.open(file);
    }

    private static boolean isZip(Path file) {
        // Opening a pipe would wait for its writer; what is wrong with the file is told by whoever opens it in full.
        if (!Files.isRegularFile(file)) {
            return false;
        }
        try (InputStream in = Files.newInputStream(file)) {
            return ZipDirectory.startsLikeZip(in.readNBytes(4));
        } catch (IOException _) {
            return false;
        }
    }

    /** Every file that holds a part of the checkpoint, {@link #file()} first. */
    List<Path> files();

    /**
     * Bytes of all of them.
     *
     * @throws BadInputException if one is gone
     */
    default long fileBytes() {
        long bytes = 0;
        for (Path file : files()) {
            try {
                bytes += Files.size(file);
            } catch (IOException e) {
                throw new BadInputException(
                        file, "cannot be read (" + BadInputException.reason(e) + ")", "check the file", e);
            }
        }
        return bytes;
    }

    @Override
    void close();
}
