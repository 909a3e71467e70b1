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

    /** A configuration whose geometry is still to be read. */
    private record Parts(String architecture, ObjectNode geometry, Preprocessing preprocessing, List<String> labels) {}

    private ConfigJson() {}

    static JsonNode of(JsonMapper json, ModelConfig config) {
        ObjectNode written = json.valueToTree(config);
        if (config.geometry() instanceof SwinConfig) {
            ObjectNode geometry = json.createObjectNode().put(KIND, SWIN);
            written.set(GEOMETRY, geometry.setAll((ObjectNode) written.path(GEOMETRY)));
        }
        return written;
    }

    /**
     * @throws tools.jackson.core.JacksonException if fields are missing, unknown or of the wrong type
     * @throws IllegalArgumentException if the kind is unknown, or the parts contradict each other
     */
    static ModelConfig read(JsonMapper json, JsonNode config) {
        Parts parts = json.treeToValue(config, Parts.class);
        JsonNode kind = parts.geometry.path(KIND);
        if (!kind.isMissingNode() && !(kind.isString() && kind.asString().equals(SWIN))) {
            throw new IllegalArgumentException("the geometry is of the unknown kind " + kind);
        }
        Geometry geometry = kind.isMissingNode()
                ? json.treeToValue(parts.geometry, VitConfig.class)
                : json.treeToValue(parts.geometry.without(KIND), SwinConfig.class);
        return new ModelConfig(parts.architecture, geometry, parts.preprocessing, parts.labels);
    }
}
