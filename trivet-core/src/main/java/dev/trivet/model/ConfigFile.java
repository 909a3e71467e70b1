package dev.trivet.model;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.OptionalInt;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Reads a {@code config.json}: timm's, which names an {@code architecture}, or Hugging Face's, which names {@code architectures} or a
 * {@code model_type} and has its preprocessing in {@code preprocessor_config.json} beside it.
 */
public final class ConfigFile {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final long LONGEST = 16 << 20;
    private static final String MISSING = "put the model's config.json there or name an --architecture";

    private ConfigFile() {}

    /**
     * Reads a config of either kind.
     *
     * @throws BadInputException if the file is missing, malformed, or describes no model that Trivet knows
     */
    public static ModelConfig read(Path file) {
        return read(file, OptionalInt.empty(), TensorHints.NONE);
    }

    /**
     * The same, of timm's only: for what writes such a file for what it makes.
     *
     * @throws BadInputException also if it is another's
     */
    public static ModelConfig readTimm(Path file) {
        if (!parse(file, MISSING).path("architecture").isString()) {
            throw new BadInputException(file, "has no \"architecture\"", "give a timm config");
        }
        return read(file);
    }

    /**
     * @param imageSize in place of the config's own
     * @param hints for what the config leaves open
     */
    static ModelConfig read(Path file, OptionalInt imageSize, TensorHints hints) {
        JsonNode root = parse(file, MISSING);
        boolean timm = root.path("architecture").isString();
        if (!timm && !HuggingFaceConfig.isOne(root)) {
            throw new BadInputException(
                    file,
                    "has no \"architecture\" (timm) and no \"architectures\" or \"model_type\" (Hugging Face)",
                    "give the model's own config.json or name an --architecture");
        }
        ModelConfig config;
        try {
            if (timm) {
                return TimmConfig.of(root, imageSize, hints);
            }
            config = HuggingFaceConfig.of(root, imageSize, hints);
        } catch (IllegalArgumentException e) {
            throw new BadInputException(file, String.valueOf(e.getMessage()), "correct the config", e);
        }
        Path processor = file.resolveSibling("preprocessor_config.json");
        return Files.exists(processor) ? withPreprocessing(config, root, processor) : config;
    }

    private static ModelConfig withPreprocessing(ModelConfig config, JsonNode root, Path processor) {
        JsonNode fields = parse(processor, "download it again");
        try {
            int ownSize = HuggingFaceConfig.imageSize(root);
            Preprocessing preprocessing = HuggingFacePreprocessing.of(
                    fields, ownSize, config.geometry().imageSize());
            return new ModelConfig(config.architecture(), config.geometry(), preprocessing, config.labels());
        } catch (IllegalArgumentException e) {
            throw new BadInputException(processor, String.valueOf(e.getMessage()), "correct it", e);
        }
    }

    private static JsonNode parse(Path file, String ifMissing) {
        try {
            if (Files.size(file) > LONGEST) {
                throw new BadInputException(file, "is over 16 MB", "give the model's config.json");
            }
            JsonNode root = JSON.readTree(Files.readString(file));
            if (!root.isObject()) {
                throw new BadInputException(file, "is not a JSON object", "give the model's config.json");
            }
            return root;
        } catch (NoSuchFileException e) {
            throw new BadInputException(file, "no such file", ifMissing, e);
        } catch (IOException e) {
            throw new BadInputException(
                    file, "cannot be read (" + BadInputException.reason(e) + ")", "check the file", e);
        } catch (JacksonException e) {
            throw new BadInputException(
                    file, "is not valid JSON (" + e.getOriginalMessage() + ")", "download the config again", e);
        }
    }

    /** An object without fields, for what a config does not have. */
    static JsonNode empty() {
        return JSON.createObjectNode();
    }

    /**
     * A nested object; an empty one where there is none.
     *
     * @throws IllegalArgumentException if it is something else
     */
    static JsonNode part(JsonNode root, String name) {
        JsonNode part = root.path(name);
        if (part.isMissingNode() || part.isNull()) {
            return empty();
        }
        if (!part.isObject()) {
            throw ConfigFields.wrong(name, "an object", part);
        }
        return part;
    }

    /** @throws IllegalArgumentException if a setting has another value than the only one that is computed */
    static void require(String value, String known, String name) {
        if (!value.equalsIgnoreCase(known)) {
            throw new IllegalArgumentException(name + " " + value + " is not supported, only " + known);
        }
    }
}
