package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;

/**
 * The patch embedding's convolution has stride equal to kernel size, so it is a linear layer over flattened patches; this
 * lays them out as the convolution's weight is stored: channel, then row, then column.
 */
final class PatchLayout {
    private PatchLayout() {}

    /**
     * Lays out some patches.
     *
     * @param size side of the image
     * @param patch side of a patch
     * @param input float32 {@code [images, channels, size, size]}
     * @param first the first patch, of {@code [images * patches]}
     * @param end the patch after the last
     * @param out float32 {@code [end - first, channels * patch * patch]}
     */
    static void gather(int size, int patch, int channels, MemorySegment input, int first, int end, MemorySegment out) {
        int grid = size / patch;
        long to = 0;
        for (int p = first; p < end; p++) {
            int image = p / (grid * grid);
            int gridRow = p / grid % grid;
            int gridColumn = p % grid;
            for (int c = 0; c < channels; c++) {
                for (int y = 0; y < patch; y++) {
                    long row = ((long) image * channels + c) * size + (long) gridRow * patch + y;
                    long from = row * size + (long) gridColumn * patch;
                    MemorySegment.copy(input, JAVA_FLOAT, 4 * from, out, JAVA_FLOAT, 4 * to, patch);
                    to += patch;
                }
            }
        }
    }
}
