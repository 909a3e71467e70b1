package dev.trivet.model;

import java.util.Collections;
import java.util.List;
import java.util.Set;
import tools.jackson.databind.JsonNode;

/**
 * Hugging Face's {@code preprocessor_config.json}. A {@code size} of height and width, or of one number, squashes the whole image to
 * a square; {@code shortest_edge} keeps the aspect ratio; {@code do_center_crop} cuts the middle out. Absent fields have the
 * default of the processor's class.
 */
final class HuggingFacePreprocessing {
    private static final Set<String> PROCESSORS = Set.of("ViT", "DeiT", "Bit");
    private static final double RESCALE = 1 / 255.0;

    private HuggingFacePreprocessing() {}

    /** Mean and deviation of the papers' models, the whole image squashed to the model's size. */
    static Preprocessing published(int imageSize, int channels, boolean halves) {
        return new Preprocessing(
                imageSize,
                imageSize,
                halves ? Interpolation.BILINEAR : Interpolation.BICUBIC,
                (halves ? Preprocessing.HALF : Preprocessing.IMAGENET_MEAN).subList(0, channels),
                (halves ? Preprocessing.HALF : Preprocessing.IMAGENET_STD).subList(0, channels),
                Preprocessing.Fit.SQUASH);
    }

    /**
     * @param ownSize image size of the checkpoint
     * @param imageSize the size that is wanted; lengths are scaled alike
     * @throws IllegalArgumentException if a field is wrong or asks for what is not computed
     */
    static Preprocessing of(JsonNode root, int ownSize, int imageSize) {
        ConfigFields fields = new ConfigFields(List.of(root));
        String type = fields.text("image_processor_type", fields.text("feature_extractor_type", "ViTImageProcessor"))
                .replaceFirst("(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "");
        if (!PROCESSORS.contains(type)) {
            throw new IllegalArgumentException(
                    "the image processor " + type + " is not supported, only ViT, DeiT and Bit");
        }
        for (String step : List.of("do_resize", "do_rescale")) {
            if (!fields.bool(step, true)) {
                throw new IllegalArgumentException(step + " false is not supported");
            }
        }
        if (Math.abs(fields.number("rescale_factor", RESCALE) - RESCALE) > 1e-7) {
            throw new IllegalArgumentException("rescale_factor must be 1/255");
        }
        if (fields.has("crop_pct")) {
            throw new IllegalArgumentException("crop_pct is not supported, only crop_size");
        }
        boolean squash = !root.path("size").has("shortest_edge");
        boolean crop = fields.bool("do_center_crop", !type.equals("ViT"));
        int resize = squash
                ? square(root, "size", type.equals("DeiT") ? 256 : 224)
                : new ConfigFields(List.of(root.path("size"))).integer("shortest_edge", 0);
        int cropped = crop ? square(root, "crop_size", 224) : resize;
        if (!crop && !squash) {
            throw new IllegalArgumentException("shortest_edge without do_center_crop gives images that are no squares");
        }
        if (cropped != ownSize) {
            throw new IllegalArgumentException("it gives images of " + cropped + " where the model takes " + ownSize);
        }
        boolean normalized = fields.bool("do_normalize", true);
        return new Preprocessing(
                imageSize,
                (int) Math.min(Integer.MAX_VALUE, (long) resize * imageSize / ownSize), // too large is refused there
                interpolation(fields.integer("resample", type.equals("ViT") ? 2 : 3)),
                normalized ? fields.floats("image_mean", Preprocessing.HALF) : Collections.nCopies(3, 0f),
                normalized ? fields.floats("image_std", Preprocessing.HALF) : Collections.nCopies(3, 1f),
                squash ? Preprocessing.Fit.SQUASH : Preprocessing.Fit.SHORT_SIDE);
    }

    /** One number, or equal height and width. */
    private static int square(JsonNode root, String name, int otherwise) {
        if (!root.path(name).isObject()) {
            return new ConfigFields(List.of(root)).integer(name, otherwise);
        }
        ConfigFields sides = new ConfigFields(List.of(root.path(name)));
        int height = sides.integer("height", -1);
        if (height < 1 || height != sides.integer("width", -1)) {
            throw ConfigFields.wrong(name, "a number or equal height and width", root.path(name));
        }
        return height;
    }

    /** Pillow's numbers. */
    private static Interpolation interpolation(int resample) {
        return switch (resample) {
            case 2 -> Interpolation.BILINEAR;
            case 3 -> Interpolation.BICUBIC;
            default ->
                throw new IllegalArgumentException("resample must be 2 (bilinear) or 3 (bicubic), not " + resample);
        };
    }
}
