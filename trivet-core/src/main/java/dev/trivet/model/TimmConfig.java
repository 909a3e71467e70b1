package dev.trivet.model;

import dev.trivet.BadInputException;
import java.util.List;
import java.util.Locale;
import java.util.OptionalInt;
import tools.jackson.databind.JsonNode;

/**
 * timm's {@code config.json}: an architecture name, which gives the preset, and fields that override parts of it, either
 * at the top or under {@code model_args}; preprocessing under {@code pretrained_cfg}. What neither says is read from the tensors:
 * the class count, whether queries, keys and values have a bias, register tokens, where the last LayerNorm stands.
 */
public final class TimmConfig {
    private TimmConfig() {}

    /** @throws IllegalArgumentException if the config describes no model that Trivet knows */
    static ModelConfig of(JsonNode root, OptionalInt imageSize, TensorHints hints) {
        return build(root.path("architecture").asString(), root, imageSize, hints);
    }

    /**
     * The built-in model of that name.
     *
     * @throws BadInputException if there is none
     */
    public static ModelConfig preset(String architecture) {
        return preset(architecture, OptionalInt.empty(), TensorHints.NONE);
    }

    static ModelConfig preset(String architecture, OptionalInt imageSize, TensorHints hints) {
        try {
            return build(architecture, ConfigFile.empty(), imageSize, hints);
        } catch (IllegalArgumentException e) {
            throw new BadInputException(String.valueOf(e.getMessage()), e);
        }
    }

    private static ModelConfig build(String architecture, JsonNode root, OptionalInt wantedSize, TensorHints hints) {
        Presets.Preset preset = Presets.find(architecture)
                .orElseThrow(() -> new IllegalArgumentException(
                        "unknown architecture \"" + architecture + "\"; Trivet knows " + Presets.examples()));
        ConfigFields fields = new ConfigFields(List.of(ConfigFile.part(root, "model_args"), root));
        ConfigFields preprocessing = new ConfigFields(List.of(ConfigFile.part(root, "pretrained_cfg")));
        Geometry geometry = switch (preset) {
            case Presets.Vit vit -> vit(vit, fields, wantedSize, hints);
            case Presets.Swin swin -> swin(swin, fields, wantedSize, hints);
        };
        // Settings that change the numbers but not the tensors: what is not computed must not pass.
        ConfigFile.require(fields.text("act_layer", "gelu"), "gelu", "act_layer");
        ConfigFile.require(fields.text("norm_layer", "layernorm"), "layernorm", "norm_layer");
        ConfigFile.require(preprocessing.text("crop_mode", "center"), "center", "crop_mode");
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

    private static VitConfig vit(Presets.Vit preset, ConfigFields fields, OptionalInt imageSize, TensorHints hints) {
        int width = fields.integer("embed_dim", preset.width());
        for (String setting : List.of("qk_norm", "pre_norm", "dynamic_img_pad", "scale_attn_norm", "scale_mlp_norm")) {
            if (fields.bool(setting, false)) {
                throw new IllegalArgumentException(setting + " is not supported");
            }
        }
        boolean classToken = fields.bool("class_token", preset.classToken());
        boolean normBefore = !fields.bool("fc_norm", !hints.normBeforePooling());
        Pooling pooling = switch (fields.text("global_pool", classToken ? "token" : "avg")) {
            case "token" -> Pooling.TOKEN;
            case "avg" -> normBefore ? Pooling.NORMALIZED_AVERAGE : Pooling.AVERAGE;
            default ->
                throw new IllegalArgumentException(
                        "global_pool must be token or avg, not " + fields.text("global_pool", ""));
        };
        return new VitConfig(
                imageSize.orElseGet(() -> fields.side("img_size", preset.imageSize())),
                fields.side("patch_size", preset.patchSize()),
                fields.integer("in_chans", 3),
                width,
                fields.integer("depth", preset.depth()),
                fields.integer("num_heads", preset.heads()),
                (int) (width * fields.number("mlp_ratio", 4.0)),
                fields.integer("num_classes", hints.classes().orElse(ImageNetClasses.COUNT)),
                pooling,
                classToken,
                preset.distilled(),
                fields.bool("qkv_bias", hints.qkvBias().orElse(true)),
                1e-6f,
                fields.integer("reg_tokens", preset.registers() > 0 ? preset.registers() : hints.registers()),
                hints.preLogits());
    }

    private static SwinConfig swin(Presets.Swin preset, ConfigFields fields, OptionalInt imageSize, TensorHints hints) {
        ConfigFile.require(fields.text("global_pool", "avg"), "avg", "global_pool");
        if (fields.bool("always_partition", false)) {
            throw new IllegalArgumentException("always_partition is not supported");
        }
        if (fields.has("head_dim")) {
            throw new IllegalArgumentException("head_dim is not supported, only width over heads");
        }
        return new SwinConfig(
                imageSize.orElseGet(() -> fields.side("img_size", preset.imageSize())),
                fields.side("patch_size", preset.patchSize()),
                fields.integer("in_chans", 3),
                fields.integer("embed_dim", preset.width()),
                fields.integers("depths", preset.depths()),
                fields.integers("num_heads", preset.heads()),
                fields.side("window_size", preset.window()),
                fields.number("mlp_ratio", 4.0),
                fields.integer("num_classes", hints.classes().orElse(preset.classes())),
                fields.bool("qkv_bias", hints.qkvBias().orElse(true)),
                fields.bool("ape", hints.positions()),
                WindowPadding.AFTER_SHIFT,
                1e-5f);
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
