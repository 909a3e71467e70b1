package dev.trivet.model;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Built-in geometries: timm's ViT, DeiT and Swin names. Width, depth and heads follow the size word; patch, window and image size
 * stand in the name itself ({@code deit_small_distilled_patch16_224}, {@code swin_tiny_patch4_window7_224}); timm adds a training tag
 * after a dot, which changes nothing but the class count of a Swin trained on ImageNet-22k alone.
 */
final class Presets {
    private static final Pattern NAME = Pattern.compile(
            "(vit|deit3?)_(tiny|small|medium|base|large|huge)(_distilled)?_patch(\\d{1,3})(_reg\\d{1,2})?(_gap)?"
                    + "_(\\d{2,4}|dinov2)(_in21k)?(\\.[\\w.-]+)?");

    private static final Pattern SWIN_NAME = Pattern.compile(
            "swin_(tiny|small|base|large)_patch(\\d{1,3})_window(\\d{1,2})_(\\d{2,4})((?:_in22k)?(?:\\.[\\w.-]+)?)");

    private static final double CROP = 0.9;
    /** Outputs of models that were not fine-tuned on the 1,000 classes. */
    private static final int IMAGENET_22K = 21841;

    /** Images that DINOv2 was trained with. */
    private static final int DINO_IMAGE = 518;

    private static final Map<String, Size> SIZES = Map.of(
            "tiny", new Size(192, 12, 3),
            "small", new Size(384, 12, 6),
            "medium", new Size(512, 12, 8),
            "base", new Size(768, 12, 12),
            "large", new Size(1024, 24, 16),
            "huge", new Size(1280, 32, 16));

    /** The sizes that each family was published in. */
    private static final Map<String, Set<String>> FAMILIES = Map.of(
            "vit", SIZES.keySet(),
            "deit", Set.of("tiny", "small", "base"),
            "deit3", Set.of("small", "medium", "base", "large", "huge"));

    private record Size(int width, int depth, int heads) {}

    /** Depths of the stages; the first stage's width and heads. Published heads are 32 channels wide. */
    private static final Map<String, SwinSize> SWIN_SIZES = Map.of(
            "tiny", new SwinSize(96, List.of(2, 2, 6, 2), 3),
            "small", new SwinSize(96, List.of(2, 2, 18, 2), 3),
            "base", new SwinSize(128, List.of(2, 2, 18, 2), 4),
            "large", new SwinSize(192, List.of(2, 2, 18, 2), 6));

    private record SwinSize(int width, List<Integer> depths, int heads) {}

    /** A named architecture before a config's own fields override parts of it. */
    sealed interface Preset {
        List<Float> mean();

        List<Float> std();

        /** timm's crop fraction where a config gives none. */
        double crop();
    }

    /**
     * @param classToken whether there is one; the mean of the patches is pooled otherwise
     */
    record Vit(
            boolean deit,
            int width,
            int depth,
            int heads,
            boolean distilled,
            int patchSize,
            int imageSize,
            boolean classToken,
            int registers)
            implements Preset {
        @Override
        public List<Float> mean() {
            return deit ? Preprocessing.IMAGENET_MEAN : Preprocessing.HALF;
        }

        @Override
        public List<Float> std() {
            return deit ? Preprocessing.IMAGENET_STD : Preprocessing.HALF;
        }

        @Override
        public double crop() {
            return cropFor(imageSize);
        }
    }

    record Swin(
            int width, List<Integer> depths, List<Integer> heads, int patchSize, int window, int imageSize, int classes)
            implements Preset {
        @Override
        public List<Float> mean() {
            return Preprocessing.IMAGENET_MEAN;
        }

        @Override
        public List<Float> std() {
            return Preprocessing.IMAGENET_STD;
        }

        @Override
        public double crop() {
            return cropFor(imageSize);
        }
    }

    private Presets() {}

    /** The models for 384 pixels and those of DINOv2 see the whole image. */
    private static double cropFor(int imageSize) {
        return imageSize == 384 || imageSize == DINO_IMAGE ? 1 : CROP;
    }

    static Optional<Preset> find(String architecture) {
        Matcher swin = SWIN_NAME.matcher(architecture);
        return swin.matches() ? swin(swin) : vit(architecture);
    }

    private static Optional<Preset> swin(Matcher name) {
        SwinSize size = SWIN_SIZES.get(name.group(1));
        int patchSize = Integer.parseInt(name.group(2));
        int window = Integer.parseInt(name.group(3));
        int imageSize = Integer.parseInt(name.group(4));
        if (size == null) {
            return Optional.empty();
        }
        List<Integer> heads =
                Stream.iterate(size.heads, h -> 2 * h).limit(size.depths.size()).toList();
        String tag = name.group(5) == null ? "" : name.group(5);
        int classes = tag.endsWith("in22k") ? IMAGENET_22K : ImageNetClasses.COUNT;
        return Optional.of(new Swin(size.width, size.depths, heads, patchSize, window, imageSize, classes));
    }

    private static Optional<Preset> vit(String architecture) {
        Matcher name = NAME.matcher(architecture);
        if (!name.matches()) {
            return Optional.empty();
        }
        String family = name.group(1);
        boolean vit = family.equals("vit");
        boolean distilled = name.group(3) != null;
        boolean average = name.group(6) != null;
        boolean dino = name.group(7).equals("dinov2");
        boolean onlyOfVit = name.group(5) != null || average || dino;
        Size size = SIZES.get(name.group(2));
        Set<String> published = FAMILIES.get(family);
        if (size == null
                || published == null
                || !published.contains(name.group(2))
                || (distilled && !family.equals("deit"))
                || (onlyOfVit && !vit)) {
            return Optional.empty();
        }
        // I-JEPA's base model, which has no registers, is the one whose heads are not 64 wide.
        boolean narrowHeads = average && name.group(5) == null && name.group(2).equals("base");
        return Optional.of(new Vit(
                !vit || dino,
                size.width,
                size.depth,
                narrowHeads ? 16 : size.heads,
                distilled,
                Integer.parseInt(name.group(4)),
                dino ? DINO_IMAGE : Integer.parseInt(name.group(7)),
                !average,
                name.group(5) == null ? 0 : Integer.parseInt(name.group(5).substring("_reg".length()))));
    }

    /** Examples for messages. */
    static String examples() {
        return "vit_{tiny,small,base,large}_patch16_224, deit_{tiny,small,base}[_distilled]_patch16_224,"
                + " deit3_{small,medium,base,large}_patch16_224 or swin_{tiny,small,base,large}_patch4_window7_224";
    }
}
