package dev.trivet.model;

import dev.trivet.BadInputException;
import java.util.List;

/**
 * What a checkpoint's configuration says: geometry, preprocessing, labels.
 *
 * @param architecture the name the checkpoint goes by, such as {@code deit_tiny_patch16_224}
 * @param labels one readable name per class, in class order; empty where the checkpoint names none
 */
public record ModelConfig(String architecture, Geometry geometry, Preprocessing preprocessing, List<String> labels) {
    /** @throws IllegalArgumentException if the parts contradict each other */
    public ModelConfig {
        labels = List.copyOf(labels);
        if (!labels.isEmpty() && labels.size() != geometry.classes()) {
            throw new IllegalArgumentException(labels.size() + " labels for " + geometry.classes() + " classes");
        }
        if (preprocessing.imageSize() != geometry.imageSize() || preprocessing.channels() != geometry.channels()) {
            throw new IllegalArgumentException("preprocessing gives " + preprocessing.channels() + " x "
                    + preprocessing.imageSize() + " x " + preprocessing.imageSize() + " where the model takes "
                    + geometry.channels() + " x " + geometry.imageSize() + " x " + geometry.imageSize());
        }
    }

    /**
     * The geometry of a ViT or DeiT, for what knows no other model yet.
     *
     * @throws BadInputException if the model is another
     */
    public VitConfig vit() {
        if (geometry instanceof VitConfig vit) {
            return vit;
        }
        throw new BadInputException(
                architecture + " is a Swin Transformer: give a ViT or DeiT, this works on no other yet");
    }
}
