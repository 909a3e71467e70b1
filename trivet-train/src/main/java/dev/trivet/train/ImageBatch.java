package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Memory for one batch: normalised patches and labels, filled anew for each step. The image is cut into patches here, in
 * the order {@code [row of patches, column, channel, y, x]}, which turns the patch convolution into a plain matrix product.
 */
final class ImageBatch implements AutoCloseable {
    private final VitConfig config;
    private final float[][] normalised;
    private final Tensor patches;
    private final Tensor labels;
    private final FloatBuffer patchValues;
    private final LongBuffer labelValues;
    private final byte[] augmented;

    ImageBatch(VitConfig config, Preprocessing preprocessing, int size) {
        this.config = config;
        normalised = new float[config.channels()][256];
        for (int c = 0; c < config.channels(); c++) {
            float mean = preprocessing.mean().get(c);
            float std = preprocessing.std().get(c);
            for (int p = 0; p < 256; p++) {
                normalised[c][p] = (p / 255f - mean) / std;
            }
        }
        patches = zeros(size, config.patches(), config.patchLength());
        try (Tensor floats = zeros(size)) {
            labels = floats.to(ScalarType.Long);
        }
        patchValues = VitModule.floats(patches);
        labelValues = labels.data_ptr_long().capacity(size).asBuffer();
        augmented = new byte[config.channels() * config.imageSize() * config.imageSize()];
    }

    void put(int at, ImageSet images, int index) {
        put(at, images.pixels(index), images.label(index));
    }

    void put(int at, ImageSet images, int index, Augmentation augmentation, int epoch) {
        augmentation.apply(images.pixels(index), augmented, config.channels(), config.imageSize(), epoch, index);
        put(at, augmented, images.label(index));
    }

    private void put(int at, byte[] pixels, int label) {
        int side = config.imageSize();
        int patch = config.patchSize();
        int out = at * config.patches() * config.patchLength();
        for (int row = 0; row < side; row += patch) {
            for (int column = 0; column < side; column += patch) {
                for (int c = 0; c < config.channels(); c++) {
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

    @Override
    public void close() {
        patches.close();
        labels.close();
    }
}
