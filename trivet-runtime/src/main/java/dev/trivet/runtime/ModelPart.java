package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;

/** What one member of a {@link ThreadTeam} does of one image; all members run the same units at the same time. */
sealed interface ModelPart permits VitPart, SwinPart {
    /**
     * Runs this part of some units in a row.
     *
     * @param in one image, or what the unit before the first gave
     * @param out logits, or what the last unit gives
     */
    void run(int firstUnit, int endUnit, MemorySegment in, MemorySegment out);
}
