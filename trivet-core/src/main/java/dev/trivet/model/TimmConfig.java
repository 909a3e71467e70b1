package dev.trivet.model;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
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
        ConfigFields fields = new ConfigFields(List.of(part(root, "model_args"), root));
        ConfigFields preprocessing = new ConfigFields(List.of(part(root, "pretrained_cfg")));
        Geometry geometry = switch (preset) {
            case Presets.Vit vit -> vit(vit, fields);
            case Presets.Swin swin -> swin(swin, fields);
        };
        // Settings that change the numbers but not the tensors: what is not computed must not pass.
        require(fields.text("act_layer", "gelu"), "gelu", "act_layer");
        require(fields.text("norm_layer", "layernorm"), "layernorm", "norm_layer");
        require(preprocessing.text("crop_mode", "center"), "center", "crop_mode");
        double crop = preprocessing.number("crop_pct", preset.crop());
        if (!(crop > 0 && crop <= 1)) {
            throw new IllegalArgumentException("crop_pct must be in (0, 1], not " + crop);
        }
        int imageSize = geometry.imageSize();
        Preprocessing pre = new Preprocessing(
                imageSize,
                (int) Math.floor(imageSize / crop),
                interpolation(preprocessing),
                preprocessing.floats("mean", preset.mean()),
                preprocessing.floats("std", preset.std()));
        return new ModelConfig(architecture, geometry, pre, fields.texts("label_names"));
    }

    private static VitConfig vit(Presets.Vit preset, ConfigFields fields) {
        int width = fields.integer("embed_dim", preset.width());
        boolean classToken = fields.bool("class_token", true);
        Pooling pooling = switch (fields.text("global_pool", classToken ? "token" : "avg")) {
            case "token" -> Pooling.TOKEN;
            case "avg" -> Pooling.AVERAGE;
            default ->
                throw new IllegalArgumentException(
                        "global_pool must be token or avg, not " + fields.text("global_pool", ""));
        };
        return new VitConfig(
                fields.integer("img_size", preset.imageSize()),
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
    }

    private static SwinConfig swin(Presets.Swin preset, ConfigFields fields) {
        require(fields.text("global_pool", "avg"), "avg", "global_pool");
        if (fields.bool("always_partition", false)) {
            throw new IllegalArgumentException("always_partition is not supported");
        }
        if (fields.has("head_dim")) {
            throw new IllegalArgumentException("head_dim is not supported, only width over heads");
        }
        return new SwinConfig(
                fields.side("img_size", preset.imageSize()),
                fields.side("patch_size", preset.patchSize()),
                fields.integer("in_chans", 3),
                fields.integer("embed_dim", preset.width()),
                fields.integers("depths", preset.depths()),
                fields.integers("num_heads", preset.heads()),
                fields.side("window_size", preset.window()),
                fields.number("mlp_ratio", 4.0),
                fields.integer("num_classes", preset.classes()),
                fields.bool("qkv_bias", true),
                fields.bool("ape", false),
                WindowPadding.AFTER_SHIFT,
                1e-5f);
    }

    /** A nested object; an empty one where the config has none. */
    private static JsonNode part(JsonNode root, String name) {
        JsonNode part = root.path(name);
        if (part.isMissingNode() || part.isNull()) {
            return JSON.createObjectNode();
        }
        if (!part.isObject()) {
            throw ConfigFields.wrong(name, "an object", part);
        }
        return part;
    }

    private static Interpolation interpolation(ConfigFields preprocessing) {
        String name = preprocessing.text("interpolation", Interpolation.BICUBIC.name());
        try {
            return Interpolation.valueOf(name.toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException("interpolation must be bicubic or bilinear, not " + name, e);
        }
    }
}
