package dev.trivet.format;

import dev.trivet.BadInputException;
import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * A model read from disk, float or quantized.
 *
 * @param file the file with the weights
 * @param bytes its size
 * @param version of a quantized file; empty for a float checkpoint
 * @param provenance where a quantized model came from; empty for a float checkpoint
 */
public record ModelFile(Path file, long bytes, OptionalInt version, VitModel model, Optional<Provenance> provenance) {
    /**
     * Reads a quantized file, or a float checkpoint (a folder with {@code model.safetensors} and {@code config.json}, or a
     * {@code .safetensors} file with a config beside it).
     *
     * @param architecture a preset to use instead of a float checkpoint's config file
     * @throws BadInputException if it is neither, or not sound
     */
    public static ModelFile read(Path path, Optional<String> architecture) {
        if (!Files.exists(path)) {
            throw new BadInputException(path, "no such model", "check the path");
        }
        if (!Files.isDirectory(path)) {
            try (SafetensorsFile file = SafetensorsFile.open(path)) {
                if (QuantizedModelFile.isQuantized(file)) {
                    QuantizedModelFile.Contents contents = QuantizedModelFile.read(file);
                    return new ModelFile(
                            path,
                            size(path),
                            OptionalInt.of(contents.version()),
                            contents.model(),
                            Optional.of(contents.provenance()));
                }
            }
        }
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(path, architecture)) {
            return new ModelFile(
                    checkpoint.file(),
                    size(checkpoint.file()),
                    OptionalInt.empty(),
                    VitModel.read(checkpoint),
                    Optional.empty());
        }
    }

    private static long size(Path path) {
        try {
            return Files.size(path);
        } catch (IOException e) {
            throw new BadInputException(
                    path, "cannot be read (" + BadInputException.reason(e) + ")", "check the file", e);
        }
    }
}
