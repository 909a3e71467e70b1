package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.VitConfig;
import java.lang.foreign.MemorySegment;

/**
 * The patch embedding's convolution has stride equal to kernel size, so it is a linear layer over flattened patches; this
 * lays them out as the convolution's weight is stored: channel, then row, then column.
 */
final class PatchLayout {
    private PatchLayout() {}

    /**
     * @param input float32 {@code [images, channels, imageSize, imageSize]}
     * @param out float32 {@code [images * patches, channels * patchSize * patchSize]}
     */
    static void gather(VitConfig config, MemorySegment input, int images, MemorySegment out) {
        int size = config.imageSize();
        int patch = config.patchSize();
        long to = 0;
        for (int image = 0; image < images; image++) {
            for (int gridRow = 0; gridRow < config.grid(); gridRow++) {
                for (int gridColumn = 0; gridColumn < config.grid(); gridColumn++) {
                    for (int c = 0; c < config.channels(); c++) {
                        for (int y = 0; y < patch; y++) {
                            long row = ((long) image * config.channels() + c) * size + gridRow * patch + y;
                            long from = row * size + (long) gridColumn * patch;
                            MemorySegment.copy(input, JAVA_FLOAT, 4 * from, out, JAVA_FLOAT, 4 * to, patch);
                            to += patch;
                        }
                    }
                }
            }
        }
    }
}
