package dev.trivet.model;

import dev.trivet.tensor.TensorSource;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Names of Hugging Face's {@code ViTForImageClassification}, {@code DeiTForImageClassification}, the same {@code WithTeacher}, and
 * {@code SwinForImageClassification}. Queries, keys and values are three tensors there, and a Swin's patch merging stands at the end
 * of the stage before it. A {@code DeiTForImageClassification} has a distillation token but one head, which does not look at
 * it: to us that is a register token.
 */
final class HuggingFaceNames implements NameScheme {
    /** A family of models; its tensors share a prefix. */
    enum Family {
        VIT,
        DEIT,
        SWIN;

        String prefix() {
            return name().toLowerCase(Locale.ROOT) + ".";
        }
    }

    private static final Pattern IN_BLOCK =
            Pattern.compile("((?:layers\\.\\d+\\.)?blocks\\.\\d+)\\.(.+?)(\\.weight|\\.bias|)");
    private static final Pattern MERGING = Pattern.compile("layers\\.(\\d{1,3})\\.(downsample\\..+)");

    private static final Map<String, String> PARTS = Map.of(
            "norm1", "layernorm_before",
            "attn.proj", "attention.output.dense",
            "norm2", "layernorm_after",
            "mlp.fc1", "intermediate.dense",
            "mlp.fc2", "output.dense");

    /** What a model for classification does not use, or what follows from the window. */
    private static final Pattern DERIVED =
            Pattern.compile("(vit|deit|swin)\\.pooler\\.dense\\.(weight|bias)|vit\\.embeddings\\.mask_token"
                    + "|swin\\.encoder\\.layers\\.\\d+\\.blocks\\.\\d+\\.attention\\.self\\.relative_position_index");

    private final Family family;
    /** The head that looks at the class token. */
    private final String head;

    HuggingFaceNames(Family family, TensorSource source) {
        this.family = family;
        boolean teacher = source.names().stream().anyMatch(name -> name.startsWith("cls_classifier."));
        head = teacher ? "cls_classifier" : "classifier";
    }

    @Override
    public boolean isDerived(String stored) {
        return DERIVED.matcher(stored).matches();
    }

    @Override
    public List<String> stored(String name) {
        Matcher block = IN_BLOCK.matcher(name);
        if (block.matches()) {
            return inBlock(block.group(1), block.group(2), block.group(3));
        }
        Matcher merging = MERGING.matcher(name);
        if (merging.matches()) {
            int before = Integer.parseInt(merging.group(1)) - 1;
            return List.of(family.prefix() + "encoder.layers." + before + "." + merging.group(2));
        }
        return List.of(outside(name));
    }

    private List<String> inBlock(String block, String part, String parameter) {
        boolean swin = family == Family.SWIN;
        String start = family.prefix() + "encoder." + (swin ? block : block.replace("blocks.", "layer.")) + ".";
        String attention = start + (swin ? "attention.self." : "attention.attention.");
        if (part.equals("attn.qkv")) {
            return List.of(
                    attention + "query" + parameter, attention + "key" + parameter, attention + "value" + parameter);
        }
        if (part.equals("attn.relative_position_bias_table")) {
            return List.of(attention + "relative_position_bias_table");
        }
        String known = PARTS.get(part);
        return List.of((known == null ? start + part : start + known) + parameter);
    }

    private String outside(String name) {
        String embeddings = family.prefix() + "embeddings.";
        Optional<String> exact = switch (name) {
            case VitNames.CLASS_TOKEN -> Optional.of(embeddings + "cls_token");
            case VitNames.DISTILLATION_TOKEN, VitNames.REGISTERS -> Optional.of(embeddings + "distillation_token");
            case VitNames.POSITIONS, SwinNames.POSITIONS -> Optional.of(embeddings + "position_embeddings");
            default -> Optional.empty();
        };
        return exact.orElseGet(() -> replaced(
                        name, VitNames.PATCH_EMBEDDING, embeddings + "patch_embeddings.projection")
                .or(() -> replaced(name, SwinNames.PATCH_EMBEDDING_NORM, embeddings + "norm"))
                .or(() -> replaced(name, SwinNames.FINAL_NORM, family.prefix() + "layernorm"))
                .or(() -> replaced(name, VitNames.DISTILLATION_HEAD, "distillation_classifier"))
                .or(() -> replaced(name, SwinNames.HEAD, head))
                .or(() -> replaced(name, VitNames.HEAD, head))
                .orElse(name));
    }

    private static Optional<String> replaced(String name, String layer, String stored) {
        return name.startsWith(layer + ".") ? Optional.of(stored + name.substring(layer.length())) : Optional.empty();
    }
}
