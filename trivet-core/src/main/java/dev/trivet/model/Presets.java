package dev.trivet.model;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Built-in geometries: timm's ViT, DeiT and Swin names. Width, depth and heads follow the size word; patch, window and image size
 * stand in the name itself ({@code deit_small_distilled_patch16_224}, {@code swin_tiny_patch4_window7_224}); timm adds a training tag
 * after a dot, which changes nothing but the class count of a Swin trained on ImageNet-22k alone.
 */
final class Presets {
    private static final Pattern NAME =
            Pattern.compile("(vit|deit)_(tiny|small|base|large)(_distilled)?_patch(\\d{1,3})_(\\d{2,4})(\\.[\\w.-]+)?");

    private static final Pattern SWIN_NAME = Pattern.compile(
            "swin_(tiny|small|base|large)_patch(\\d{1,3})_window(\\d{1,2})_(\\d{2,4})((?:_in22k)?(?:\\.[\\w.-]+)?)");

    private static final double CROP = 0.9;
    /** Outputs of models that were not fine-tuned on the 1,000 classes. */
    private static final int IMAGENET_22K = 21841;

    /** ViT and DeiT share T/S/B; there is no large DeiT of the first generation. */
    private static final Map<String, Size> SIZES = Map.of(
            "tiny", new Size(192, 12, 3),
            "small", new Size(384, 12, 6),
            "base", new Size(768, 12, 12),
            "large", new Size(1024, 24, 16));

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

    record Vit(boolean deit, int width, int depth, int heads, boolean distilled, int patchSize, int imageSize)
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
            return CROP;
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

        /** The models for 384 pixels see the whole image. */
        @Override
        public double crop() {
            return imageSize == 384 ? 1 : CROP;
        }
    }

    private Presets() {}

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
        boolean deit = name.group(1).equals("deit");
        boolean distilled = name.group(3) != null;
        if ((deit && name.group(2).equals("large")) || (!deit && distilled)) {
            return Optional.empty();
        }
        Size size = SIZES.get(name.group(2));
        if (size == null) {
            return Optional.empty();
        }
        return Optional.of(new Vit(
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
        return "vit_{tiny,small,base,large}_patch16_224, deit_{tiny,small,base}[_distilled]_patch16_224"
                + " or swin_{tiny,small,base,large}_patch4_window7_224";
    }
}
