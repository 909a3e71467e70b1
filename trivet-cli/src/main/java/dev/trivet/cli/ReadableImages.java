package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.image.ImagePreprocessor;
import dev.trivet.ptq.CalibrationImages;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/** The first images of a data set that can be read, preprocessed for a model. */
record ReadableImages(LabelledImages images, ImagePreprocessor preprocessor, List<Integer> indices)
        implements CalibrationImages {

    /** @param count at most so many; those that cannot be read are left out without a word */
    static ReadableImages of(LabelledImages images, ImagePreprocessor preprocessor, int count) {
        List<Integer> indices = new ArrayList<>();
        for (int i = 0; i < images.size() && indices.size() < count; i++) {
            try {
                images.read(i);
                indices.add(i);
            } catch (BadInputException _) {
                // The evaluation names it.
            }
        }
        return new ReadableImages(images, preprocessor, List.copyOf(indices));
    }

    @Override
    public int size() {
        return indices.size();
    }

    @Override
    public void load(int index, MemorySegment input) {
        preprocessor.apply(images.read(indices.get(index)), input, 0);
    }
}
