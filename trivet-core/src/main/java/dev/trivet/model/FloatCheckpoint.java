package dev.trivet.model;

import dev.trivet.BadInputException;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.Tensor;
import dev.trivet.tensor.TensorSource;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * A float model on disk: config and tensors, checked against each other when opened. Safe to read from several threads;
 * tensors must not be used after {@link #close()}.
 */
public final class FloatCheckpoint implements AutoCloseable {
    private static final int NAMED = 3;

    private final ModelConfig config;
    private final SafetensorsFile tensors;
    /** The same tensors under the names that Trivet uses. */
    private final TensorSource named;

    private FloatCheckpoint(ModelConfig config, SafetensorsFile tensors, TensorSource named) {
        this.config = config;
        this.tensors = tensors;
        this.named = named;
    }

    /**
     * Opens a folder with {@code model.safetensors} and {@code config.json}, or a {@code .safetensors} file with a config
     * beside it.
     *
     * @param architecture a preset to use instead of a config file
     * @throws BadInputException if a file is missing or malformed, or the tensors are not those of the config's model: the
     *     message names unknown, missing and wrongly shaped ones
     */
    public static FloatCheckpoint open(Path path, Optional<String> architecture) {
        boolean folder = Files.isDirectory(path);
        Path weights = folder ? path.resolve("model.safetensors") : path;
        Path configFile = folder ? path.resolve("config.json") : path.resolveSibling("config.json");
        if (folder && !Files.exists(weights) && !Files.exists(configFile)) {
            throw new BadInputException(path, "holds no model", "give a folder with model.safetensors and config.json");
        }
        SafetensorsFile tensors = SafetensorsFile.open(weights);
        try {
            ModelConfig config = architecture.map(TimmConfig::preset).orElseGet(() -> TimmConfig.read(configFile));
            return named(config, tensors);
        } catch (RuntimeException e) {
            tensors.close();
            throw e;
        }
    }

    private static FloatCheckpoint named(ModelConfig config, SafetensorsFile tensors) {
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

    /** The weights' file. */
    public Path file() {
        return tensors.file();
    }

    /** Bytes of the weights' file. */
    public long bytes() {
        try {
            return Files.size(tensors.file());
        } catch (java.io.IOException e) {
            throw new BadInputException(
                    tensors.file(), "cannot be read (" + BadInputException.reason(e) + ")", "check the file", e);
        }
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
