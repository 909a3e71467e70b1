package dev.trivet.train;

import dev.trivet.model.Geometry;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;

/**
 * How a model cuts its input into patches.
 *
 * @param imageSize side of the image, pixels
 * @param patchSize side of a patch, pixels; divides {@code imageSize}
 * @param channels colour channels
 */
record PatchGrid(int imageSize, int patchSize, int channels) {
    static PatchGrid of(Geometry geometry) {
        int patchSize = switch (geometry) {
            case VitConfig vit -> vit.patchSize();
            case SwinConfig swin -> swin.patchSize();
        };
        return new PatchGrid(geometry.imageSize(), patchSize, geometry.channels());
    }

    /** Patches along one side. */
    int side() {
        return imageSize / patchSize;
    }

    int patches() {
        return side() * side();
    }

    /** Values of a patch, in the order {@code [channel, y, x]}. */
    int patchLength() {
        return channels * patchSize * patchSize;
    }

    /** Values of an image. */
    int imageLength() {
        return channels * imageSize * imageSize;
    }
}
