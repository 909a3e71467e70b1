package dev.trivet.model;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Reads timm's {@code config.json}: an architecture name, which gives the preset, and fields that override parts of it, either
 * at the top or under {@code model_args}; preprocessing under {@code pretrained_cfg}.
 */
public final class TimmConfig {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final long LONGEST = 16 << 20;
    /** timm's crop fraction where a config gives none. */
    private static final double CROP = 0.9;

    private TimmConfig() {}

    /**
     * @throws BadInputException if the file is missing, malformed, or describes no model that Trivet knows
     */
    public static ModelConfig read(Path file) {
        JsonNode root = parse(file);
        JsonNode name = root.path("architecture");
        if (!name.isString()) {
            throw new BadInputException(
                    file, "has no \"architecture\"", "Trivet reads timm configs; name one with --architecture");
        }
        try {
            return build(name.asString(), root);
        } catch (IllegalArgumentException e) {
            throw new BadInputException(file, String.valueOf(e.getMessage()), "correct the config", e);
        }
    }

    /**
     * The built-in model of that name.
     *
     * @throws BadInputException if there is none
     */
    public static ModelConfig preset(String architecture) {
        try {
            return build(architecture, JSON.createObjectNode());
        } catch (IllegalArgumentException e) {
            throw new BadInputException(String.valueOf(e.getMessage()), e);
        }
    }

    private static JsonNode parse(Path file) {
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
            throw new BadInputException(
                    file, "no such file", "put the model's config.json there or name an --architecture", e);
        } catch (IOException e) {
            throw new BadInputException(
                    file, "cannot be read (" + BadInputException.reason(e) + ")", "check the file", e);
        } catch (JacksonException e) {
            throw new BadInputException(
                    file, "is not valid JSON (" + e.getOriginalMessage() + ")", "download the config again", e);
        }
    }

    private static ModelConfig build(String architecture, JsonNode root) {
        Presets.Preset preset = Presets.find(architecture)
                .orElseThrow(() -> new IllegalArgumentException(
                        "unknown architecture \"" + architecture + "\"; Trivet knows " + Presets.examples()));
        Fields fields = new Fields(root);
        int imageSize = fields.integer("img_size", preset.imageSize());
        int width = fields.integer("embed_dim", preset.width());
        boolean classToken = fields.bool("class_token", true);
        Pooling pooling = switch (fields.text("global_pool", classToken ? "token" : "avg")) {
            case "token" -> Pooling.TOKEN;
            case "avg" -> Pooling.AVERAGE;
            default ->
                throw new IllegalArgumentException(
                        "global_pool must be token or avg, not " + fields.text("global_pool", ""));
        };
        JsonNode preprocessing = root.path("pretrained_cfg");
        List<Float> mean = floats(preprocessing.path("mean")).orElse(preset.mean());
        List<Float> std = floats(preprocessing.path("std")).orElse(preset.std());
        VitConfig geometry = new VitConfig(
                imageSize,
                fields.integer("patch_size", preset.patchSize()),
                fields.integer("in_chans", 3),
                width,
                fields.integer("depth", preset.depth()),
                fields.integer("num_heads", preset.heads()),
                (int) (width * fields.number("mlp_ratio", 4.0)),
                fields.integer("num_classes", 1000),
                pooling,
                classToken,
                preset.distilled(),
                fields.bool("qkv_bias", true),
                1e-6f);
        double crop = preprocessing.path("crop_pct").isNumber()
                ? preprocessing.path("crop_pct").asDouble()
                : CROP;
        if (!(crop > 0 && crop <= 1)) {
            throw new IllegalArgumentException("crop_pct must be in (0, 1], not " + crop);
        }
        Preprocessing pre = new Preprocessing(
                imageSize, (int) Math.floor(imageSize / crop), interpolation(preprocessing), mean, std);
        return new ModelConfig(architecture, geometry, pre, labels(root));
    }

    private static Interpolation interpolation(JsonNode preprocessing) {
        JsonNode name = preprocessing.path("interpolation");
        if (!name.isString()) {
            return Interpolation.BICUBIC;
        }
        try {
            return Interpolation.valueOf(name.asString().toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException("interpolation must be bicubic or bilinear, not " + name.asString(), e);
        }
    }

    private static Optional<List<Float>> floats(JsonNode array) {
        if (!array.isArray()) {
            return Optional.empty();
        }
        List<Float> values = new ArrayList<>();
        for (JsonNode value : array) {
            if (!value.isNumber()) {
                throw new IllegalArgumentException("mean and std must be numbers");
            }
            values.add(value.floatValue());
        }
        return Optional.of(values);
    }

    private static List<String> labels(JsonNode root) {
        JsonNode names = root.path("label_names");
        List<String> labels = new ArrayList<>();
        for (JsonNode label : names) {
            labels.add(label.asString());
        }
        return labels;
    }

    /** A field of the config: at the top, or under {@code model_args}. */
    private record Fields(JsonNode root) {
        private JsonNode find(String name) {
            JsonNode arguments = root.path("model_args").path(name);
            return arguments.isMissingNode() ? root.path(name) : arguments;
        }

        int integer(String name, int otherwise) {
            JsonNode node = find(name);
            if (node.isMissingNode() || node.isNull()) {
                return otherwise;
            }
            if (!node.isIntegralNumber() || !node.canConvertToInt()) {
                throw new IllegalArgumentException(name + " must be an integer, not " + node);
            }
            return node.intValue();
        }

        double number(String name, double otherwise) {
            JsonNode node = find(name);
            if (node.isMissingNode() || node.isNull()) {
                return otherwise;
            }
            if (!node.isNumber()) {
                throw new IllegalArgumentException(name + " must be a number, not " + node);
            }
            return node.doubleValue();
        }

        boolean bool(String name, boolean otherwise) {
            JsonNode node = find(name);
            return node.isBoolean() ? node.booleanValue() : otherwise;
        }

        String text(String name, String otherwise) {
            JsonNode node = find(name);
            return node.isString() ? node.asString() : otherwise;
        }
    }
}
