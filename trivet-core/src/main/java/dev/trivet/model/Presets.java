package dev.trivet.model;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Built-in geometries: timm's ViT and DeiT names. Width, depth and heads follow the size word; patch and image size stand in
 * the name itself ({@code deit_small_distilled_patch16_224}); timm adds a training tag after a dot, which changes nothing.
 */
final class Presets {
    private static final Pattern NAME =
            Pattern.compile("(vit|deit)_(tiny|small|base|large)(_distilled)?_patch(\\d{1,3})_(\\d{2,4})(\\.[\\w.-]+)?");

    /** ViT and DeiT share T/S/B; there is no large DeiT of the first generation. */
    private static final Map<String, Size> SIZES = Map.of(
            "tiny", new Size(192, 12, 3),
            "small", new Size(384, 12, 6),
            "base", new Size(768, 12, 12),
            "large", new Size(1024, 24, 16));

    private record Size(int width, int depth, int heads) {}

    /** A named architecture before a config's own fields override parts of it. */
    record Preset(boolean deit, int width, int depth, int heads, boolean distilled, int patchSize, int imageSize) {
        List<Float> mean() {
            return deit ? Preprocessing.IMAGENET_MEAN : Preprocessing.HALF;
        }

        List<Float> std() {
            return deit ? Preprocessing.IMAGENET_STD : Preprocessing.HALF;
        }
    }

    private Presets() {}

    static Optional<Preset> find(String architecture) {
        Matcher name = NAME.matcher(architecture);
        if (!name.matches()) {
            return Optional.empty();
        }
        boolean deit = name.group(1).equals("deit");
        boolean distilled = name.group(3) != null;
        if ((deit && name.group(2).equals("large")) || (!deit && distilled)) {
            return Optional.empty();
        }
        Size size = SIZES.get(name.group(2));
        if (size == null) {
            return Optional.empty();
        }
        return Optional.of(new Preset(
                deit,
                size.width,
                size.depth,
                size.heads,
                distilled,
                Integer.parseInt(name.group(4)),
                Integer.parseInt(name.group(5))));
    }

    /** Examples for messages. */
    static String examples() {
        return "vit_{tiny,small,base,large}_patch16_224 or deit_{tiny,small,base}[_distilled]_patch16_224";
    }
}
