package dev.trivet.model;

import java.util.List;

/** Shape of a model that classifies square images. */
public sealed interface Geometry permits VitConfig, SwinConfig {
    /** Side of the input image, pixels. */
    int imageSize();

    /** Colour channels, 1 or 3. */
    int channels();

    /** Outputs of the head. */
    int classes();

    /**
     * The same model with another number of outputs.
     *
     * @throws IllegalArgumentException if the number is out of range
     */
    Geometry withClasses(int number);

    /** What the model consists of, in execution order: an embedding, blocks and patch mergings, a head. */
    List<ModelUnit> units();
}
