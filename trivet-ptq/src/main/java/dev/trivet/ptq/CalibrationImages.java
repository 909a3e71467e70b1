package dev.trivet.ptq;

import java.lang.foreign.MemorySegment;

/** Preprocessed images to calibrate on, produced anew each time they are asked for; safe to call from several threads. */
public interface CalibrationImages {
    /** Number of images. */
    int size();

    /**
     * Writes image {@code index}.
     *
     * @param input float32 {@code [channels, imageSize, imageSize]}
     * @throws dev.trivet.BadInputException if it cannot be read
     */
    void load(int index, MemorySegment input);
}
