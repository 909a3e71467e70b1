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

    private static void require(String value, String known, String name) {
        if (!value.equalsIgnoreCase(known)) {
            throw new IllegalArgumentException(name + " " + value + " is not supported, only " + known);
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
        Fields fields = new Fields(List.of(part(root, "model_args"), root));
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
        Fields preprocessing = new Fields(List.of(part(root, "pretrained_cfg")));
        List<Float> mean = preprocessing.floats("mean", preset.mean());
        List<Float> std = preprocessing.floats("std", preset.std());
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
        // Settings that change the numbers but not the tensors: what is not computed must not pass.
        require(fields.text("act_layer", "gelu"), "gelu", "act_layer");
        require(fields.text("norm_layer", "layernorm"), "layernorm", "norm_layer");
        require(preprocessing.text("crop_mode", "center"), "center", "crop_mode");
        double crop = preprocessing.number("crop_pct", CROP);
        if (!(crop > 0 && crop <= 1)) {
            throw new IllegalArgumentException("crop_pct must be in (0, 1], not " + crop);
        }
        Preprocessing pre = new Preprocessing(
                imageSize, (int) Math.floor(imageSize / crop), interpolation(preprocessing), mean, std);
        return new ModelConfig(architecture, geometry, pre, fields.texts("label_names"));
    }

    /** A nested object; an empty one where the config has none. */
    private static JsonNode part(JsonNode root, String name) {
        JsonNode part = root.path(name);
        if (part.isMissingNode() || part.isNull()) {
            return JSON.createObjectNode();
        }
        if (!part.isObject()) {
            throw Fields.wrong(name, "an object", part);
        }
        return part;
    }

    private static Interpolation interpolation(Fields preprocessing) {
        String name = preprocessing.text("interpolation", Interpolation.BICUBIC.name());
        try {
            return Interpolation.valueOf(name.toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException("interpolation must be bicubic or bilinear, not " + name, e);
        }
    }

    /**
     * Fields of the first object that has them; an absent field and {@code null} mean the default.
     *
     * @param objects in order of precedence
     */
    private record Fields(List<JsonNode> objects) {
        private Optional<JsonNode> find(String name) {
            return objects.stream()
                    .map(object -> object.path(name))
                    .filter(node -> !node.isMissingNode())
                    .findFirst()
                    .filter(node -> !node.isNull());
        }

        static IllegalArgumentException wrong(String name, String wanted, JsonNode node) {
            return new IllegalArgumentException(name + " must be " + wanted + ", not " + node);
        }

        int integer(String name, int otherwise) {
            Optional<JsonNode> found = find(name);
            if (found.isPresent()
                    && (!found.get().isIntegralNumber() || !found.get().canConvertToInt())) {
                throw wrong(name, "an integer", found.get());
            }
            return found.map(JsonNode::intValue).orElse(otherwise);
        }

        double number(String name, double otherwise) {
            Optional<JsonNode> found = find(name);
            if (found.isPresent() && !isFinite(found.get())) {
                throw wrong(name, "a number", found.get());
            }
            return found.map(JsonNode::doubleValue).orElse(otherwise);
        }

        /** Whether a double can hold it; a JSON number may be larger than that. */
        private static boolean isFinite(JsonNode node) {
            return node.isNumber() && Double.isFinite(node.asDouble(Double.NaN));
        }

        boolean bool(String name, boolean otherwise) {
            Optional<JsonNode> found = find(name);
            if (found.isPresent() && !found.get().isBoolean()) {
                throw wrong(name, "true or false", found.get());
            }
            return found.map(JsonNode::booleanValue).orElse(otherwise);
        }

        String text(String name, String otherwise) {
            Optional<JsonNode> found = find(name);
            if (found.isPresent() && !found.get().isString()) {
                throw wrong(name, "a text", found.get());
            }
            return found.map(JsonNode::asString).orElse(otherwise);
        }

        List<Float> floats(String name, List<Float> otherwise) {
            Optional<JsonNode> found = find(name);
            if (found.isEmpty()) {
                return otherwise;
            }
            List<Float> values = new ArrayList<>();
            for (JsonNode value : elements(name, "an array of numbers", found.get())) {
                float number = isFinite(value) ? (float) value.doubleValue() : Float.NaN;
                if (!Float.isFinite(number)) {
                    throw wrong(name, "an array of numbers", found.get());
                }
                values.add(number);
            }
            return values;
        }

        List<String> texts(String name) {
            Optional<JsonNode> found = find(name);
            List<String> values = new ArrayList<>();
            if (found.isPresent()) {
                for (JsonNode value : elements(name, "an array of texts", found.get())) {
                    if (!value.isString()) {
                        throw wrong(name, "an array of texts", found.get());
                    }
                    values.add(value.asString());
                }
            }
            return values;
        }

        private static JsonNode elements(String name, String wanted, JsonNode node) {
            if (!node.isArray()) {
                throw wrong(name, wanted, node);
            }
            return node;
        }
    }
}
