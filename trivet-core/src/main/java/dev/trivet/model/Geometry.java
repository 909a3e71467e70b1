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

    /**
     * How many tokens of the last block the head reads, the first ones: class and distillation token, or all where it reads their average. Of that
     * block nothing else is needed but keys and values.
     */
    int headTokens();

    /** Whether the head reads all tokens. */
    default boolean headReadsAll() {
        return headTokens() == units().getLast().input().tokens();
    }

    /** What the model consists of, in execution order: an embedding, blocks and patch mergings, a head. */
    List<ModelUnit> units();
}
