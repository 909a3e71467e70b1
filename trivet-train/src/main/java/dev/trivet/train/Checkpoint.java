package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;

/**
 * All that a training needs to go on as if it had never stopped: parameters, their running average, the optimiser's moments,
 * and where it stood. One safetensors file, replaced as a whole at the end of each epoch. It also says what was trained,
 * on what and how ({@link #identity}); nothing else may go on from it.
 *
 * @param identity what must be the same on resuming, by the name a message gives it: model, data, settings, float model
 * @param precision the precision in use, which {@link Precision#AUTO} must not choose anew
 * @param stage the {@link Stage} it is in, from 0
 * @param epochs epochs of the stage done
 * @param steps steps of the stage done
 * @param vectors the state by name: vectors of {@code [parameters]}, and ranges of activations
 */
record Checkpoint(
        Map<String, String> identity,
        Precision precision,
        int stage,
        int epochs,
        long steps,
        Map<String, float[]> vectors) {
    static final String FILE_NAME = "checkpoint.safetensors";

    private static final String IDENTITY = "identity.";
    private static final String REMEDY = "start anew in an empty output folder";

    Checkpoint {
        identity = Map.copyOf(identity);
        vectors = Map.copyOf(vectors);
    }

    /** @throws BadInputException if the file cannot be written; the former one is then still there */
    void write(Path file) {
        Map<String, String> metadata = new TreeMap<>();
        identity.forEach((name, value) -> metadata.put(IDENTITY + name, value));
        metadata.put("precision", precision.name());
        metadata.put("stage", String.valueOf(stage));
        metadata.put("epochs", String.valueOf(epochs));
        metadata.put("steps", String.valueOf(steps));
        List<Tensor> tensors = vectors.entrySet().stream()
                .map(vector -> Tensor.ofFloats(vector.getKey(), vector.getValue(), vector.getValue().length))
                .toList();
        SafetensorsWriter.write(file, tensors, metadata);
    }

    /**
     * Reads a checkpoint that must belong to this training.
     *
     * @param identity what is trained now
     * @throws BadInputException if it is not a checkpoint, or is one of another model, other data or other settings; the
     *     message names which
     */
    static Checkpoint read(Path file, Map<String, String> identity) {
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            Map<String, String> metadata = source.metadata();
            for (Map.Entry<String, String> part : new TreeMap<>(identity).entrySet()) {
                String found = metadata.get(IDENTITY + part.getKey());
                if (found == null) {
                    throw new BadInputException(
                            file, "is not a checkpoint of a training that says its " + part.getKey(), REMEDY);
                }
                if (!found.equals(part.getValue())) {
                    throw new BadInputException(
                            file,
                            "comes from another " + part.getKey() + " (" + found + ", now " + part.getValue() + ")",
                            "resume with the same " + part.getKey() + " or " + REMEDY);
                }
            }
            Map<String, float[]> vectors = new TreeMap<>();
            for (String name : source.names()) {
                vectors.put(name, source.find(name).orElseThrow().toFloats());
            }
            try {
                return new Checkpoint(
                        identity,
                        Precision.valueOf(Objects.requireNonNullElse(metadata.get("precision"), "")),
                        Integer.parseInt(metadata.getOrDefault("stage", "0")),
                        Integer.parseInt(Objects.requireNonNullElse(metadata.get("epochs"), "")),
                        Long.parseLong(Objects.requireNonNullElse(metadata.get("steps"), "")),
                        vectors);
            } catch (IllegalArgumentException e) {
                throw new BadInputException(file, "does not say where the training stood", REMEDY, e);
            }
        }
    }

    /**
     * One vector of the state.
     *
     * @throws BadInputException if the file lacks it or it has another length
     */
    float[] vector(Path file, String name, int length) {
        float[] vector = vectors.get(name);
        if (vector == null || vector.length != length) {
            throw new BadInputException(file, "has no vector " + name + " of " + length + " values", REMEDY);
        }
        return vector;
    }
}
