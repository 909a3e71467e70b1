package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.Preprocessing;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import org.bytedeco.pytorch.Tensor;

/**
 * Memory for one batch: normalised patches and labels, filled anew for each step. The image is cut into patches here, in
 * the order {@code [row of patches, column, channel, y, x]}, which turns the patch convolution into a plain matrix product.
 */
final class ImageBatch implements AutoCloseable {
    private final PatchGrid grid;
    private final int blocks;
    private final int classes;
    private final int size;
    private final float[][] normalised;
    private final Tensor patches;
    private final Tensor labels;
    private final Tensor targets;
    private final Tensor kept;
    private final FloatBuffer patchValues;
    private final LongBuffer labelValues;
    private final FloatBuffer targetValues;
    private final FloatBuffer keptValues;
    private final byte[] augmented;
    private final byte[] mixedIn;

    /**
     * @param geometry of the model that it is for
     * @param size number of images
     */
    ImageBatch(Geometry geometry, Preprocessing preprocessing, int size) {
        grid = PatchGrid.of(geometry);
        blocks = Math.toIntExact(geometry.units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .count());
        classes = geometry.classes();
        this.size = size;
        normalised = new float[grid.channels()][256];
        for (int c = 0; c < grid.channels(); c++) {
            float mean = preprocessing.mean().get(c);
            float std = preprocessing.std().get(c);
            for (int p = 0; p < 256; p++) {
                normalised[c][p] = (p / 255f - mean) / std;
            }
        }
        patches = zeros(size, grid.patches(), grid.patchLength());
        labels = Torch.longs(new int[size]);
        targets = zeros(size, classes);
        targetValues = Torch.floats(targets);
        kept = zeros(blocks, 2, size, 1, 1);
        patchValues = Torch.floats(patches);
        labelValues = labels.data_ptr_long().capacity(size).asBuffer();
        keptValues = Torch.floats(kept);
        augmented = new byte[grid.imageLength()];
        mixedIn = new byte[grid.imageLength()];
    }

    /** Images that it has room for. */
    int size() {
        return size;
    }

    /** Puts an image as it is. */
    void put(int at, ImageSet images, int index) {
        put(at, images.pixels(index));
        label(at, images.label(index), images.label(index), 1);
    }

    /**
     * Puts an image varied.
     *
     * @param place in the batch that is drawn, of which this one may be a part
     * @param blend how images of that batch are mixed
     */
    void put(int at, ImageSet images, Draw draw, int place, Varying varying, Mixing.Blend blend) {
        int index = draw.image(place);
        int variation = draw.variation(place);
        varying.augmentation()
                .apply(images.pixels(index), augmented, grid.channels(), grid.imageSize(), variation, index);
        int partner = draw.partner(place);
        int other = draw.image(partner);
        if (blend.share() < 1) {
            varying.augmentation()
                    .apply(
                            images.pixels(other),
                            mixedIn,
                            grid.channels(),
                            grid.imageSize(),
                            draw.variation(partner),
                            other);
            blend.apply(augmented, mixedIn, grid.channels(), grid.imageSize());
        }
        put(at, augmented);
        label(at, images.label(index), images.label(other), blend.share());
        varying.dropPath().apply(keptValues, blocks, size, at, variation, index);
    }

    private void label(int at, int label, int other, double share) {
        labelValues.put(at, label);
        for (int c = 0; c < classes; c++) {
            double own = c == label ? share : 0;
            targetValues.put(at * classes + c, (float) (own + (c == other ? 1 - share : 0)));
        }
    }

    private void put(int at, byte[] pixels) {
        int side = grid.imageSize();
        int patch = grid.patchSize();
        int out = at * grid.patches() * grid.patchLength();
        for (int row = 0; row < side; row += patch) {
            for (int column = 0; column < side; column += patch) {
                for (int c = 0; c < grid.channels(); c++) {
                    for (int y = 0; y < patch; y++) {
                        int from = (c * side + row + y) * side + column;
                        for (int x = 0; x < patch; x++) {
                            patchValues.put(out++, normalised[c][pixels[from + x] & 0xff]);
                        }
                    }
                }
            }
        }
    }

    /** {@code [size, patches, patchLength]}, float32. */
    Tensor patches() {
        return patches;
    }

    /** Share of each class in each image, {@code [size, classes]}; what to learn where images are mixed. */
    Tensor targets() {
        return targets;
    }

    /** {@code [size]}, int64; of a mixed image its own. */
    Tensor labels() {
        return labels;
    }

    /** What drop path leaves of each residual branch, {@code [blocks, 2, size, 1, 1]}; for images put with a drop path. */
    Tensor kept() {
        return kept;
    }

    @Override
    public void close() {
        kept.close();
        patches.close();
        labels.close();
        targets.close();
    }
}
