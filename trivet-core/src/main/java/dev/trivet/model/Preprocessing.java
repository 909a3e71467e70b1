package dev.trivet.model;

import java.util.List;

/**
 * How an image becomes the model's input; it travels with the weights. The image is resized with antialiasing as {@code fit} says, the middle {@code imageSize} square is cut out, pixels are scaled to [0, 1] and normalised per channel:
 * {@code (p / 255 - mean) / std}.
 *
 * @param imageSize side of the square crop
 * @param resize length of the short side, or of both sides, before the crop, at least {@code imageSize} as a rule; smaller is padded
 *     black
 * @param interpolation resampling filter
 * @param mean one value per channel; its length is the channel count (1 means luma)
 * @param std one positive value per channel
 * @param fit how the image comes to have that length
 */
public record Preprocessing(
        int imageSize, int resize, Interpolation interpolation, List<Float> mean, List<Float> std, Fit fit) {
    /** What a resize does to the aspect ratio. */
    public enum Fit {
        /** The short side becomes {@code resize}, the long one follows. */
        SHORT_SIDE,
        /** Both sides become {@code resize}, as Hugging Face's ViT and DeiT processors do. */
        SQUASH
    }

    /** Mean of ImageNet pixels: DeiT and Swin. */
    public static final List<Float> IMAGENET_MEAN = List.of(0.485f, 0.456f, 0.406f);
    /** Standard deviation of ImageNet pixels: DeiT and Swin. */
    public static final List<Float> IMAGENET_STD = List.of(0.229f, 0.224f, 0.225f);
    /** Mean and deviation of the original ViT. */
    public static final List<Float> HALF = List.of(0.5f, 0.5f, 0.5f);

    /** With {@link Fit#SHORT_SIDE}. */
    public Preprocessing(int imageSize, int resize, Interpolation interpolation, List<Float> mean, List<Float> std) {
        this(imageSize, resize, interpolation, mean, std, Fit.SHORT_SIDE);
    }

    /** @throws IllegalArgumentException if a value is outside its range; the message says which */
    public Preprocessing {
        mean = List.copyOf(mean);
        std = List.copyOf(std);
        if (mean.size() != std.size() || (mean.size() != 1 && mean.size() != 3)) {
            throw new IllegalArgumentException("mean and std must both have 1 or 3 values");
        }
        for (float s : std) {
            if (!(s > 0) || !Float.isFinite(s)) {
                throw new IllegalArgumentException("std must be positive, not " + s);
            }
        }
        for (float m : mean) {
            if (!Float.isFinite(m)) {
                throw new IllegalArgumentException("mean must be finite");
            }
        }
        if (imageSize < 1 || resize < 1 || resize > 1 << 14 || imageSize > 1 << 14) {
            throw new IllegalArgumentException("image size " + imageSize + ", resize " + resize + " out of range");
        }
    }

    /** Colour channels, 1 or 3. */
    public int channels() {
        return mean.size();
    }
}
