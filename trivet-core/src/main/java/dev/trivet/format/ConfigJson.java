package dev.trivet.format;

import dev.trivet.model.Geometry;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import java.util.List;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * A model's configuration as it stands in a file's metadata. The geometry's {@code kind} says which model it is of: {@code swin}, or
 * absent for a ViT or DeiT, the only models there were when the first files were written.
 */
final class ConfigJson {
    private static final String GEOMETRY = "geometry";
    private static final String KIND = "kind";
    private static final String SWIN = "swin";
    private static final String PREPROCESSING = "preprocessing";
    private static final String FIT = "fit";
    /** Fields of a ViT that are not written where they are 0, as in files from before there were such models. */
    private static final List<String> COUNTS = List.of("registers", "preLogits");

    /** A configuration whose geometry is still to be read. */
    private record Parts(String architecture, ObjectNode geometry, Preprocessing preprocessing, List<String> labels) {}

    private ConfigJson() {}

    static JsonNode of(JsonMapper json, ModelConfig config) {
        ObjectNode written = json.valueToTree(config);
        if (config.geometry() instanceof SwinConfig) {
            ObjectNode geometry = json.createObjectNode().put(KIND, SWIN);
            written.set(GEOMETRY, geometry.setAll((ObjectNode) written.path(GEOMETRY)));
        } else {
            ObjectNode geometry = (ObjectNode) written.path(GEOMETRY);
            geometry.remove(COUNTS.stream()
                    .filter(name -> geometry.path(name).asInt() == 0)
                    .toList());
        }
        if (config.preprocessing().fit() == Preprocessing.Fit.SHORT_SIDE) {
            ((ObjectNode) written.path(PREPROCESSING)).remove(FIT);
        }
        return written;
    }

    /**
     * @throws tools.jackson.core.JacksonException if fields are missing, unknown or of the wrong type
     * @throws IllegalArgumentException if the kind is unknown, or the parts contradict each other
     */
    static ModelConfig read(JsonMapper json, JsonNode config) {
        if (config.path(PREPROCESSING) instanceof ObjectNode preprocessing && !preprocessing.has(FIT)) {
            preprocessing.put(FIT, Preprocessing.Fit.SHORT_SIDE.name());
        }
        Parts parts = json.treeToValue(config, Parts.class);
        JsonNode kind = parts.geometry.path(KIND);
        if (!kind.isMissingNode() && !(kind.isString() && kind.asString().equals(SWIN))) {
            throw new IllegalArgumentException("the geometry is of the unknown kind " + kind);
        }
        if (kind.isMissingNode()) {
            COUNTS.stream().filter(name -> !parts.geometry.has(name)).forEach(name -> parts.geometry.put(name, 0));
        }
        Geometry geometry = kind.isMissingNode()
                ? json.treeToValue(parts.geometry, VitConfig.class)
                : json.treeToValue(parts.geometry.without(KIND), SwinConfig.class);
        return new ModelConfig(parts.architecture, geometry, parts.preprocessing, parts.labels);
    }
}
