package dev.trivet.format;

import dev.trivet.BadInputException;
import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.TensorFile;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * A model for as long as it takes to compile it. Codes of 8 bits are the bytes of the mapped file and are copied nowhere; codes of other
 * widths are expanded off-heap. Closing gives all of that back at once, without waiting for the collector. A float checkpoint is read to the
 * heap, as {@link ModelFile#read} does.
 *
 * <p>Safe to read from several threads. The model must not be used after {@link #close()}, and the file must not be cut short before.
 */
public final class MappedModel implements AutoCloseable {
    private final Path path;
    private final VitModel model;
    private final Arena memory;
    private final Optional<TensorFile> file;

    private MappedModel(Path path, VitModel model, Arena memory, Optional<TensorFile> file) {
        this.path = path;
        this.model = model;
        this.memory = memory;
        this.file = file;
    }

    /**
     * Opens what {@link ModelFile#read(Path, Optional, OptionalInt)} reads, under the same conditions.
     *
     * @param architecture a preset to use instead of a float checkpoint's config file
     * @param imageSize side of the images, pixels; empty for the model's own
     * @throws BadInputException if it is no sound model, or quantized for images of another size
     */
    public static MappedModel open(Path path, Optional<String> architecture, OptionalInt imageSize) {
        ModelFile.checkIsModel(path);
        Arena memory = Arena.ofShared();
        try {
            if (!Files.isDirectory(path)) {
                TensorFile file = TensorFile.open(path);
                try {
                    if (file instanceof SafetensorsFile single && QuantizedModelFile.isQuantized(single)) {
                        VitModel model = QuantizedModelFile.read(single, Optional.of(memory))
                                .model();
                        ModelFile.checkImageSize(path, model, imageSize);
                        return new MappedModel(file.file(), model, memory, Optional.of(file));
                    }
                } catch (RuntimeException | Error e) {
                    file.close();
                    throw e;
                }
                file.close();
            }
            try (FloatCheckpoint checkpoint = FloatCheckpoint.open(path, architecture, imageSize)) {
                return new MappedModel(
                        checkpoint.files().getFirst(), VitModel.read(checkpoint), memory, Optional.empty());
            }
        } catch (RuntimeException | Error e) {
            memory.close();
            throw e;
        }
    }

    /** The file with the weights; of a sharded checkpoint the index. */
    public Path file() {
        return path;
    }

    /** The model, to be used until this is closed. */
    public VitModel model() {
        return model;
    }

    /** Unmaps the file. */
    @Override
    public void close() {
        file.ifPresent(TensorFile::close);
        memory.close();
    }
}
