package dev.trivet.format;

import dev.trivet.BadInputException;
import dev.trivet.image.ImageDecoder;
import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.TensorFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * A model read from disk, float or quantized.
 *
 * @param files the files with the weights; of a sharded checkpoint the index first
 * @param bytes their size
 * @param version of a quantized file; empty for a float checkpoint
 * @param provenance where a quantized model came from; empty for a float checkpoint
 */
public record ModelFile(
        List<Path> files, long bytes, OptionalInt version, VitModel model, Optional<Provenance> provenance) {
    /** Copies the list. */
    public ModelFile {
        files = List.copyOf(files);
    }

    /**
     * Reads a quantized file, or a float checkpoint as {@link FloatCheckpoint#open} takes it: a folder with weights and
     * {@code config.json}, or a weights file (safetensors, sharded or not, or {@code torch.save}'s) with a config beside it.
     *
     * @param architecture a preset to use instead of a float checkpoint's config file
     * @throws BadInputException if it is neither, or not sound
     */
    public static ModelFile read(Path path, Optional<String> architecture) {
        return read(path, architecture, OptionalInt.empty());
    }

    /**
     * The same, a float checkpoint for images of another size than its own, as {@link FloatCheckpoint#open(Path, Optional, OptionalInt)}
     * says.
     *
     * @throws BadInputException also if a quantized file is for images of another size
     */
    public static ModelFile read(Path path, Optional<String> architecture, OptionalInt imageSize) {
        checkIsModel(path);
        if (!Files.isDirectory(path)) {
            try (TensorFile file = TensorFile.open(path)) {
                if (file instanceof SafetensorsFile single && QuantizedModelFile.isQuantized(single)) {
                    QuantizedModelFile.Contents contents = QuantizedModelFile.read(single);
                    checkImageSize(path, contents.model(), imageSize);
                    return new ModelFile(
                            file.files(),
                            file.fileBytes(),
                            OptionalInt.of(contents.version()),
                            contents.model(),
                            Optional.of(contents.provenance()));
                }
            }
        }
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(path, architecture, imageSize)) {
            return new ModelFile(
                    checkpoint.files(),
                    checkpoint.bytes(),
                    OptionalInt.empty(),
                    VitModel.read(checkpoint),
                    Optional.empty());
        }
    }

    /** Refuses what is plainly no model before readers of models say what they make of it. */
    static void checkIsModel(Path path) {
        if (!Files.exists(path)) {
            throw new BadInputException(path, "no such model", "check the path");
        }
        if (ImageDecoder.looksLikeImage(path)) {
            throw new BadInputException(
                    path, "is an image, not a model", "give the model here, and images where they belong");
        }
    }

    /** A quantized model runs at its own size alone. */
    static void checkImageSize(Path path, VitModel model, OptionalInt wanted) {
        int own = model.geometry().imageSize();
        if (wanted.orElse(own) != own) {
            throw new BadInputException(
                    path,
                    "is quantized for images of " + own + ", not " + wanted.getAsInt(),
                    "quantize the float model with --image-size " + wanted.getAsInt());
        }
    }

    /** The file with the weights; of a sharded checkpoint the index. */
    public Path file() {
        return files.getFirst();
    }
}
