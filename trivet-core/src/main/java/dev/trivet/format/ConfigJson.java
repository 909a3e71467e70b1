package dev.trivet.format;

import dev.trivet.model.Geometry;
import dev.trivet.model.Interpolation;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.WindowPadding;
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
    private static final String REGISTERS = "registers";
    private static final String PRE_LOGITS = "preLogits";
    /** Fields of a ViT that are not written where they are 0, as in files from before there were such models. */
    private static final List<String> COUNTS = List.of(REGISTERS, PRE_LOGITS);

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

    /** @throws IllegalArgumentException if fields are missing, unknown or of the wrong type, or contradict each other */
    static ModelConfig read(JsonNode config) {
        StrictFields fields = new StrictFields("the configuration", config);
        ModelConfig read = new ModelConfig(
                fields.text("architecture"),
                geometry(fields.any(GEOMETRY)),
                preprocessing(fields.any(PREPROCESSING)),
                fields.texts("labels"));
        fields.end();
        return read;
    }

    private static Geometry geometry(JsonNode node) {
        StrictFields fields = new StrictFields("the geometry", node);
        Geometry geometry;
        if (fields.has(KIND)) {
            JsonNode kind = fields.any(KIND);
            if (!kind.isString() || !kind.asString().equals(SWIN)) {
                throw new IllegalArgumentException("the geometry is of the unknown kind " + kind);
            }
            geometry = swin(fields);
        } else {
            geometry = vit(fields);
        }
        fields.end();
        return geometry;
    }

    private static VitConfig vit(StrictFields fields) {
        return new VitConfig(
                fields.integer("imageSize"),
                fields.integer("patchSize"),
                fields.integer("channels"),
                fields.integer("width"),
                fields.integer("depth"),
                fields.integer("heads"),
                fields.integer("mlpWidth"),
                fields.integer("classes"),
                fields.oneOf("pooling", Pooling.class),
                fields.flag("classToken"),
                fields.flag("distilled"),
                fields.flag("qkvBias"),
                (float) fields.number("layerNormEpsilon"),
                fields.has(REGISTERS) ? fields.integer(REGISTERS) : 0,
                fields.has(PRE_LOGITS) ? fields.integer(PRE_LOGITS) : 0);
    }

    private static SwinConfig swin(StrictFields fields) {
        return new SwinConfig(
                fields.integer("imageSize"),
                fields.integer("patchSize"),
                fields.integer("channels"),
                fields.integer("width"),
                fields.integers("depths"),
                fields.integers("heads"),
                fields.integer("window"),
                fields.number("mlpRatio"),
                fields.integer("classes"),
                fields.flag("qkvBias"),
                fields.flag("absolutePositions"),
                fields.oneOf("padding", WindowPadding.class),
                (float) fields.number("layerNormEpsilon"));
    }

    private static Preprocessing preprocessing(JsonNode node) {
        StrictFields fields = new StrictFields("the preprocessing", node);
        Preprocessing preprocessing = new Preprocessing(
                fields.integer("imageSize"),
                fields.integer("resize"),
                fields.oneOf("interpolation", Interpolation.class),
                fields.floats("mean"),
                fields.floats("std"),
                fields.has(FIT) ? fields.oneOf(FIT, Preprocessing.Fit.class) : Preprocessing.Fit.SHORT_SIDE);
        fields.end();
        return preprocessing;
    }
}
