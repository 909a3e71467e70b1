package dev.trivet.model;

import dev.trivet.BadInputException;
import dev.trivet.tensor.Tensor;
import dev.trivet.tensor.TensorFile;
import dev.trivet.tensor.TensorSource;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/**
 * A float model on disk: config and tensors, checked against each other when opened. Safe to read from several threads;
 * tensors must not be used after {@link #close()}.
 */
public final class FloatCheckpoint implements AutoCloseable {
    private static final int NAMED = 3;

    private final ModelConfig config;
    private final TensorFile tensors;
    /** The same tensors under the names that Trivet uses. */
    private final TensorSource named;

    private FloatCheckpoint(ModelConfig config, TensorFile tensors, TensorSource named) {
        this.config = config;
        this.tensors = tensors;
        this.named = named;
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
        boolean folder = Files.isDirectory(path);
        Path configFile = folder ? path.resolve("config.json") : path.resolveSibling("config.json");
        Path weights = folder ? weights(path, configFile) : path;
        TensorFile tensors = TensorFile.open(weights);
        try {
            ModelConfig config = architecture.map(TimmConfig::preset).orElseGet(() -> TimmConfig.read(configFile));
            return named(config, tensors);
        } catch (RuntimeException e) {
            tensors.close();
            throw e;
        }
    }

    private static FloatCheckpoint named(ModelConfig config, TensorFile tensors) {
        return switch (config.geometry()) {
            case VitConfig vit -> {
                check(vit, tensors);
                yield new FloatCheckpoint(config, tensors, tensors);
            }
            case SwinConfig swin -> {
                SwinCheckpointNames names = new SwinCheckpointNames(tensors);
                SwinConfig found = names.hasPositions() ? swin.withPositions() : swin;
                check(found, names);
                yield new FloatCheckpoint(config.withGeometry(found), tensors, names);
            }
        };
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

    private static void check(Geometry geometry, TensorSource source) {
        VitTensors wanted = VitTensors.of(geometry);
        Set<String> known = new HashSet<>();
        List<String> missing = new ArrayList<>();
        wanted.floats().forEach((name, shape) -> check(source, name, shape, known, missing));
        for (VitTensors.Linear linear : wanted.linears()) {
            check(source, linear.weight(), linear.fileShape(), known, missing);
            if (linear.bias()) {
                check(source, linear.biasName(), List.of((long) linear.outputs()), known, missing);
            }
        }
        List<String> unknown =
                source.names().stream().filter(name -> !known.contains(name)).toList();
        if (!missing.isEmpty() || !unknown.isEmpty()) {
            String problem = (missing.isEmpty() ? "" : "lacks " + some(missing))
                    + (missing.isEmpty() || unknown.isEmpty() ? "" : " and ")
                    + (unknown.isEmpty() ? "" : "has unknown " + some(unknown));
            throw new BadInputException(source.file(), problem, "check that config.json belongs to these weights");
        }
    }

    private static void check(
            TensorSource source, String name, List<Long> shape, Set<String> known, List<String> missing) {
        known.add(name);
        Optional<Tensor> tensor = source.find(name);
        if (tensor.isEmpty()) {
            missing.add(name);
        } else if (!tensor.get().shape().equals(shape)) {
            throw new BadInputException(
                    source.file(),
                    "tensor " + name + " has shape " + tensor.get().shapeText() + " where the config asks for " + shape,
                    "check that config.json belongs to these weights");
        } else if (!tensor.get().isFloating()) {
            throw new BadInputException(
                    source.file(),
                    "tensor " + name + " is " + tensor.get().dtype(),
                    "a float model needs F32, F16 or BF16");
        }
    }

    private static String some(List<String> names) {
        String first = String.join(", ", names.subList(0, Math.min(NAMED, names.size())));
        String more = names.size() > NAMED ? " and " + (names.size() - NAMED) + " more" : "";
        return (names.size() == 1 ? "tensor " : "tensors ") + first + more;
    }

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
     * Values of a tensor that the geometry asks for.
     *
     * @throws BadInputException if one of them is not a number
     */
    public float[] floats(String name) {
        float[] values = named.find(name)
                .orElseThrow(() -> new IllegalStateException("unchecked tensor " + name))
                .toFloats();
        for (float value : values) {
            if (!Float.isFinite(value)) {
                throw new BadInputException(
                        tensors.file(), "tensor " + name + " holds " + value, "download or train the weights again");
            }
        }
        return values;
    }

    @Override
    public void close() {
        tensors.close();
    }
}
