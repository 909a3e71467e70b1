package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;

/**
 * Brings the tokens of each 2 x 2 square of a map together: upper left, lower left, upper right, lower right, channel after channel.
 * A map of odd side gets a row and a column of zeros.
 */
final class TokenMerging {
    private TokenMerging() {}

    /**
     * @param tokens float32 {@code [images, side * side, width]}
     * @param out float32 {@code [images, half * half, 4 * width]}, half of the side rounded up
     */
    static void gather(MemorySegment tokens, int images, int side, int width, MemorySegment out) {
        long bytes = 4L * width;
        int half = Math.ceilDiv(side, 2);
        long to = 0;
        for (int image = 0; image < images; image++) {
            long first = (long) image * side * side;
            for (int row = 0; row < half; row++) {
                for (int column = 0; column < half; column++) {
                    for (int corner = 0; corner < 4; corner++) {
                        int r = 2 * row + corner % 2;
                        int c = 2 * column + corner / 2;
                        if (r < side && c < side) {
                            MemorySegment.copy(tokens, (first + (long) r * side + c) * bytes, out, to, bytes);
                        } else {
                            for (long at = to; at < to + bytes; at += 4) {
                                out.set(java.lang.foreign.ValueLayout.JAVA_FLOAT, at, 0f);
                            }
                        }
                        to += bytes;
                    }
                }
            }
        }
    }
}
