package dev.trivet.model;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.IntStream;
import tools.jackson.databind.JsonNode;

/**
 * Hugging Face's {@code config.json} of a ViT, DeiT or Swin that classifies images. Fields that are absent have the default that
 * transformers gives them; a config written by transformers leaves such fields out.
 */
final class HuggingFaceConfig {
    private static final String TEACHER = "DeiTForImageClassificationWithTeacher";

    private static final Map<String, HuggingFaceNames.Family> CLASSES = Map.of(
            "ViTForImageClassification",
            HuggingFaceNames.Family.VIT,
            "DeiTForImageClassification",
            HuggingFaceNames.Family.DEIT,
            TEACHER,
            HuggingFaceNames.Family.DEIT,
            "SwinForImageClassification",
            HuggingFaceNames.Family.SWIN);

    private HuggingFaceConfig() {}

    static boolean isOne(JsonNode root) {
        return root.path("architectures").isArray() || root.path("model_type").isString();
    }

    /** The image size that the config itself gives. */
    static int imageSize(JsonNode root) {
        return new ConfigFields(List.of(root)).side("image_size", 224);
    }

    /**
     * The configuration with the preprocessing that the model was published with, for checkpoints without
     * {@code preprocessor_config.json}.
     *
     * @throws IllegalArgumentException if a field is wrong or asks for what is not computed
     */
    static ModelConfig of(JsonNode root, OptionalInt imageSize, TensorHints hints) {
        ConfigFields fields = new ConfigFields(List.of(root));
        String name = className(fields);
        HuggingFaceNames.Family family = Optional.ofNullable(CLASSES.get(name))
                .orElseThrow(() -> new IllegalArgumentException("unknown architecture \"" + name
                        + "\"; of Hugging Face's, Trivet reads "
                        + String.join(", ", CLASSES.keySet().stream().sorted().toList())));
        ConfigFile.require(fields.text("hidden_act", "gelu"), "gelu", "hidden_act");
        List<String> labels = labels(root);
        int classes = classes(labels, hints);
        int size = imageSize.orElseGet(() -> imageSize(root));
        Geometry geometry = family == HuggingFaceNames.Family.SWIN
                ? swin(fields, size, classes, hints)
                : vit(fields, size, classes, family, name.equals(TEACHER), hints);
        boolean halves = family == HuggingFaceNames.Family.VIT;
        boolean named =
                IntStream.range(0, labels.size()).anyMatch(i -> !labels.get(i).equals("LABEL_" + i));
        return new ModelConfig(
                name,
                geometry,
                HuggingFacePreprocessing.published(size, geometry.channels(), halves),
                named ? labels : List.of());
    }

    private static String className(ConfigFields fields) {
        List<String> names = fields.texts("architectures");
        if (names.size() > 1) {
            throw new IllegalArgumentException("architectures names more than one: " + names);
        }
        if (names.size() == 1) {
            return names.getFirst();
        }
        String type = fields.text("model_type", "");
        return switch (type) {
            case "vit" -> "ViTForImageClassification";
            case "deit" -> "DeiTForImageClassification";
            case "swin" -> "SwinForImageClassification";
            default -> type;
        };
    }

    /** {@code id2label} in class order; empty where the config has none. */
    private static List<String> labels(JsonNode root) {
        JsonNode map = ConfigFile.part(root, "id2label");
        List<String> labels = new ArrayList<>();
        for (int i = 0; i < map.size(); i++) {
            JsonNode label = map.path(String.valueOf(i));
            if (!label.isString()) {
                throw new IllegalArgumentException(
                        "id2label has " + map.size() + " classes, but no name for class " + i);
            }
            labels.add(label.asString());
        }
        return labels;
    }

    private static int classes(List<String> labels, TensorHints hints) {
        if (labels.isEmpty()) {
            return hints.classes().orElse(2);
        }
        int inWeights = hints.classes().orElse(labels.size());
        if (inWeights != labels.size()) {
            throw new IllegalArgumentException(
                    "id2label names " + labels.size() + " classes where the weights have " + inWeights);
        }
        return inWeights;
    }

    private static VitConfig vit(
            ConfigFields fields,
            int imageSize,
            int classes,
            HuggingFaceNames.Family family,
            boolean teacher,
            TensorHints hints) {
        // The token that a model without a teacher's head carries along.
        int registers = family == HuggingFaceNames.Family.DEIT && !teacher ? 1 : 0;
        return new VitConfig(
                imageSize,
                fields.side("patch_size", 16),
                fields.integer("num_channels", 3),
                fields.integer("hidden_size", 768),
                fields.integer("num_hidden_layers", 12),
                fields.integer("num_attention_heads", 12),
                fields.integer("intermediate_size", 3072),
                classes,
                Pooling.TOKEN,
                true,
                teacher,
                fields.bool("qkv_bias", hints.qkvBias().orElse(true)),
                (float) fields.number("layer_norm_eps", 1e-12),
                registers,
                0);
    }

    private static SwinConfig swin(ConfigFields fields, int imageSize, int classes, TensorHints hints) {
        return new SwinConfig(
                imageSize,
                fields.side("patch_size", 4),
                fields.integer("num_channels", 3),
                fields.integer("embed_dim", 96),
                fields.integers("depths", List.of(2, 2, 6, 2)),
                fields.integers("num_heads", List.of(3, 6, 12, 24)),
                fields.integer("window_size", 7),
                fields.number("mlp_ratio", 4.0),
                classes,
                fields.bool("qkv_bias", hints.qkvBias().orElse(true)),
                fields.bool("use_absolute_embeddings", hints.positions()),
                WindowPadding.BEFORE_SHIFT,
                (float) fields.number("layer_norm_eps", 1e-5));
    }
}
