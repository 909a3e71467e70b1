package dev.trivet.model;

import dev.trivet.BadInputException;
import dev.trivet.tensor.TensorFile;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Stream;

/**
 * A float model on disk: config and tensors, checked against each other when opened. Safe to read from several threads;
 * tensors must not be used after {@link #close()}.
 */
public final class FloatCheckpoint implements AutoCloseable {
    /** Gives values under the names of {@link VitTensors}. */
    private interface Parameters {
        float[] floats(String name);
    }

    private final ModelConfig config;
    private final TensorFile tensors;
    private final Parameters parameters;

    private FloatCheckpoint(ModelConfig config, TensorFile tensors, Parameters parameters) {
        this.config = config;
        this.tensors = tensors;
        this.parameters = parameters;
    }

    /**
     * Opens a folder with weights and {@code config.json}, or a weights file with a config beside it. Weights are
     * {@code model.safetensors}, {@code model.safetensors.index.json} with its shards, or, where a folder has neither, its only
     * file that {@code torch.save} wrote ({@code .pth}, {@code .pt}, {@code pytorch_model.bin}).
     *
     * @param architecture a preset to use instead of a config file
     * @throws BadInputException if a file is missing or malformed, or the tensors are not those of the config's model: the
     *     message names unknown, missing and wrongly shaped ones
     */
    public static FloatCheckpoint open(Path path, Optional<String> architecture) {
        return open(path, architecture, OptionalInt.empty());
    }

    /**
     * The same, for images of another size than the checkpoint's: positions are resampled ({@link PositionResampling}); a Swin keeps
     * its windows and lays them over the larger or smaller map.
     *
     * @param imageSize side of the images to be read, pixels; empty for the checkpoint's own
     * @throws BadInputException also if the model cannot take images of that size
     */
    public static FloatCheckpoint open(Path path, Optional<String> architecture, OptionalInt imageSize) {
        boolean folder = Files.isDirectory(path);
        Path configFile = folder ? path.resolve("config.json") : path.resolveSibling("config.json");
        Path weights = folder ? weights(path, configFile) : path;
        TensorFile tensors = TensorFile.open(weights);
        try {
            CheckpointTensors named = new CheckpointTensors(tensors);
            TensorHints hints = TensorHints.of(named);
            ModelConfig stored = config(configFile, architecture, OptionalInt.empty(), hints);
            ModelConfig wanted = imageSize.isEmpty() ? stored : config(configFile, architecture, imageSize, hints);
            return new FloatCheckpoint(wanted, tensors, parameters(stored, wanted, named, weights));
        } catch (RuntimeException | Error e) {
            tensors.close();
            throw e;
        }
    }

    private static ModelConfig config(
            Path file, Optional<String> architecture, OptionalInt imageSize, TensorHints hints) {
        return architecture.isPresent()
                ? TimmConfig.preset(architecture.get(), imageSize, hints)
                : ConfigFile.read(file, imageSize, hints);
    }

    private static Parameters parameters(
            ModelConfig stored, ModelConfig wanted, CheckpointTensors tensors, Path weights) {
        if (stored.geometry() instanceof VitConfig before && wanted.geometry() instanceof VitConfig after) {
            return new VitParameters(before, after, tensors)::floats;
        }
        Map<String, List<Long>> shapes = VitTensors.of(stored.geometry()).fileShapes();
        tensors.check(shapes);
        VitTensors.of(wanted.geometry()).floats().forEach((name, shape) -> {
            if (!shape.equals(shapes.get(name))) {
                throw new BadInputException(
                        weights,
                        "for images of " + wanted.geometry().imageSize() + " tensor " + name + " would have shape "
                                + shape + " where it has " + shapes.get(name),
                        "give an image size that leaves every window as it is");
            }
        });
        return tensors::floats;
    }

    private static Path weights(Path folder, Path configFile) {
        Path single = folder.resolve("model.safetensors");
        Path index = folder.resolve("model.safetensors.index.json");
        if (Files.exists(single) || Files.exists(index)) {
            return Files.exists(single) ? single : index;
        }
        List<Path> torch = torchFiles(folder);
        if (torch.size() > 1) {
            throw new BadInputException(
                    folder,
                    "holds " + torch.size() + " torch.save files, such as "
                            + torch.get(0).getFileName() + " and "
                            + torch.get(1).getFileName(),
                    "name one of them");
        }
        if (torch.isEmpty() && !Files.exists(configFile)) {
            throw new BadInputException(
                    folder,
                    "holds no model",
                    "give a folder with model.safetensors and config.json, or a .safetensors or .pth file");
        }
        return torch.isEmpty() ? single : torch.getFirst();
    }

    private static List<Path> torchFiles(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(FloatCheckpoint::isTorchFile).sorted().toList();
        } catch (IOException e) {
            throw unreadable(folder, e);
        } catch (UncheckedIOException e) {
            throw unreadable(folder, Objects.requireNonNull(e.getCause()));
        }
    }

    private static BadInputException unreadable(Path folder, IOException e) {
        return new BadInputException(
                folder, "cannot be read (" + BadInputException.reason(e) + ")", "check the folder", e);
    }

    private static boolean isTorchFile(Path file) {
        String name = String.valueOf(file.getFileName());
        return name.endsWith(".pth") || name.endsWith(".pt") || name.equals("pytorch_model.bin");
    }

    /** The config beside the weights, or the preset that replaces it. */
    public ModelConfig config() {
        return config;
    }

    /** The weights' file; of a sharded checkpoint the index. */
    public Path file() {
        return tensors.file();
    }

    /** Every file that holds a part of the weights, {@link #file()} first. */
    public List<Path> files() {
        return tensors.files();
    }

    /** Bytes of the weights' files. */
    public long bytes() {
        return tensors.fileBytes();
    }

    /**
     * Values of a tensor that the geometry asks for, in a new array.
     *
     * @throws BadInputException if one of them is not a number
     */
    public float[] floats(String name) {
        return parameters.floats(name);
    }

    @Override
    public void close() {
        tensors.close();
    }
}
