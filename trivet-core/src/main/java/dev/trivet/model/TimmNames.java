package dev.trivet.model;

import dev.trivet.tensor.TensorSource;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * timm's names, of today and of before, and those of the original checkpoints (Facebook's DeiT, Microsoft's Swin), which differ from
 * timm's in few places. Which it is shows in the tensors.
 *
 * <ul>
 *   <li>Microsoft's Swin and timm before 0.9 hold a patch merging at the end of the stage before it ({@code layers.0.downsample} leads
 *       into stage 1) and call the head {@code head}; today's timm holds it at the start of the stage that it leads into and calls
 *       the head {@code head.fc}. Only the old placement has {@code layers.0.downsample}.
 *   <li>Microsoft's files also carry what the geometry already says, position indices and masks.
 *   <li>Facebook's DeiT-III calls layer scales {@code gamma_1} and {@code gamma_2}.
 *   <li>A model that pools the class token may call its last LayerNorm {@code fc_norm}: whether it stands before or behind
 *       taking one token changes nothing.
 *   <li>Models saved from several devices carry {@code module.} before every name.
 * </ul>
 */
final class TimmNames implements NameScheme {
    private static final Pattern MERGING = Pattern.compile("layers\\.(\\d{1,3})\\.downsample\\.(.+)");
    private static final Pattern DERIVED =
            Pattern.compile("layers\\.\\d+\\.blocks\\.\\d+\\.(attn\\.relative_position_index|attn_mask)");
    private static final Pattern LAYER_SCALE = Pattern.compile("(blocks\\.\\d+)\\.ls([12])\\.gamma");
    private static final String HEAD = SwinNames.HEAD + ".";
    private static final String OLD_HEAD = "head.";
    private static final String NORM = "norm.";
    private static final String POOLED_NORM = "fc_norm.";
    private static final String MODULE = "module.";

    private final Set<String> names;
    private final String prefix;
    private final boolean mergingBefore;
    private final boolean oldHead;

    TimmNames(TensorSource source) {
        names = Set.copyOf(source.names());
        prefix = !names.isEmpty() && names.stream().allMatch(name -> name.startsWith(MODULE)) ? MODULE : "";
        mergingBefore = has("layers.0.downsample.reduction.weight");
        oldHead = has("head.weight");
    }

    private boolean has(String name) {
        return names.contains(prefix + name);
    }

    @Override
    public boolean isDerived(String stored) {
        return stored.startsWith(prefix)
                && DERIVED.matcher(stored.substring(prefix.length())).matches();
    }

    @Override
    public List<String> stored(String name) {
        return List.of(prefix + unprefixed(name));
    }

    private String unprefixed(String name) {
        Matcher merging = MERGING.matcher(name);
        if (mergingBefore && merging.matches()) {
            return SwinNames.merging(Integer.parseInt(merging.group(1)) - 1) + "." + merging.group(2);
        }
        Matcher scale = LAYER_SCALE.matcher(name);
        if (scale.matches() && !has(name)) {
            String original = scale.group(1) + ".gamma_" + scale.group(2);
            return has(original) ? original : name;
        }
        if (name.startsWith(NORM) && !has(name)) {
            String pooled = POOLED_NORM + name.substring(NORM.length());
            return has(pooled) ? pooled : name;
        }
        return oldHead && name.startsWith(HEAD) ? OLD_HEAD + name.substring(HEAD.length()) : name;
    }
}
