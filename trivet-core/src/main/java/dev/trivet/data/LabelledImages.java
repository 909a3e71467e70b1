package dev.trivet.data;

import dev.trivet.image.RgbImage;
import java.util.List;

/** Images with class labels, read one at a time. Implementations are safe to read from several threads. */
public interface LabelledImages {
    /** Number of images. */
    int size();

    /** Class names in label order; a label is an index into this list. */
    List<String> classNames();

    /** Label of image {@code index}. */
    int label(int index);

    /** What messages call image {@code index}: its path, or its number within a file. */
    String name(int index);

    /**
     * Decodes image {@code index}.
     *
     * @throws dev.trivet.BadInputException if it cannot be read; the message names it
     */
    RgbImage read(int index);
}
