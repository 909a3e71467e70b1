package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;

/**
 * What is added to the scaled scores of windows before the softmax.
 *
 * @param relative float32 {@code [heads, windowTokens, windowTokens]}
 * @param mask float32 {@code [windows, windowTokens, windowTokens]}; not read where no window is masked
 * @param masked for each window whether its mask holds anything but zeros
 */
@SuppressWarnings("ArrayRecordComponent") // a table, never compared
public record ScoreBias(MemorySegment relative, MemorySegment mask, boolean[] masked) {
    /** Whether any window is masked. */
    boolean isMasked() {
        for (boolean window : masked) {
            if (window) {
                return true;
            }
        }
        return false;
    }
}
