package dev.trivet.model;

import dev.trivet.tensor.TensorSource;
import java.util.List;

/**
 * How a family of checkpoints names the tensors that Trivet calls by timm's names of today. One direction is enough: what no name of
 * ours leads to is unknown, unless it {@linkplain #isDerived repeats} what the geometry says.
 */
interface NameScheme {
    /** The names in the file of the tensors that, joined along their first axis, are ours; one or three. */
    List<String> stored(String name);

    /** Whether a tensor of the file holds nothing that a run needs: constants that follow from the geometry, parts not used. */
    boolean isDerived(String stored);

    /** The scheme that the names in a file show. */
    static NameScheme of(TensorSource source) {
        List<String> names = source.names();
        for (HuggingFaceNames.Family family : HuggingFaceNames.Family.values()) {
            String start = family.prefix() + "embeddings.";
            if (names.stream().anyMatch(name -> name.startsWith(start))) {
                return new HuggingFaceNames(family, source);
            }
        }
        return new TimmNames(source);
    }
}
