package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;

/**
 * Brings the tokens of each 2 x 2 square of a map together: upper left, lower left, upper right, lower right, channel after channel.
 * A map of odd side gets a row and a column of zeros.
 */
final class TokenMerging {
    private TokenMerging() {}

    /**
     * Gathers some of the squares.
     *
     * @param tokens float32 {@code [images, side * side, width]}
     * @param first the first square, of {@code [images * half * half]}, half of the side rounded up
     * @param end the square after the last
     * @param out float32 {@code [end - first, 4 * width]}
     */
    static void gather(MemorySegment tokens, int first, int end, int side, int width, MemorySegment out) {
        long bytes = 4L * width;
        int half = Math.ceilDiv(side, 2);
        long to = 0;
        for (int square = first; square < end; square++) {
            long image = (long) (square / (half * half)) * side * side;
            int row = square / half % half;
            int column = square % half;
            for (int corner = 0; corner < 4; corner++) {
                int r = 2 * row + corner % 2;
                int c = 2 * column + corner / 2;
                if (r < side && c < side) {
                    MemorySegment.copy(tokens, (image + (long) r * side + c) * bytes, out, to, bytes);
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
