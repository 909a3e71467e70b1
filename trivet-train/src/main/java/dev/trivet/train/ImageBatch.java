package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.zeros;

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
    private final int size;
    private final float[][] normalised;
    private final Tensor patches;
    private final Tensor labels;
    private final Tensor kept;
    private final FloatBuffer patchValues;
    private final LongBuffer labelValues;
    private final FloatBuffer keptValues;
    private final byte[] augmented;

    /**
     * @param blocks residual blocks of the model
     * @param size number of images
     */
    ImageBatch(PatchGrid grid, int blocks, Preprocessing preprocessing, int size) {
        this.grid = grid;
        this.blocks = blocks;
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
        kept = zeros(blocks, 2, size, 1, 1);
        patchValues = Torch.floats(patches);
        labelValues = labels.data_ptr_long().capacity(size).asBuffer();
        keptValues = Torch.floats(kept);
        augmented = new byte[grid.imageLength()];
    }

    /** Images that it has room for. */
    int size() {
        return size;
    }

    void put(int at, ImageSet images, int index) {
        put(at, images.pixels(index), images.label(index));
    }

    void put(int at, ImageSet images, int index, Augmentation augmentation, DropPath dropPath, int epoch) {
        augmentation.apply(images.pixels(index), augmented, grid.channels(), grid.imageSize(), epoch, index);
        put(at, augmented, images.label(index));
        dropPath.apply(keptValues, blocks, size, at, epoch, index);
    }

    private void put(int at, byte[] pixels, int label) {
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
        labelValues.put(at, label);
    }

    /** {@code [size, patches, patchLength]}, float32. */
    Tensor patches() {
        return patches;
    }

    /** {@code [size]}, int64. */
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
    }
}
