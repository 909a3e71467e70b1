package dev.trivet.format;

import com.fasterxml.jackson.annotation.JsonInclude;
import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.WeightCoding;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.IntNode;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.databind.node.StringNode;

/** How each operator is quantized, as it stands in a file's metadata. */
record OperatorPlans(List<Linear> linears, List<Matmul> matmuls) {
    private static final String LEVELS = "levels";
    private static final String NORMALIZED = "normalized";

    /** What a ternary layer has in place of a number of bits. */
    private static final String TERNARY = WeightCoding.TERNARY.toString();

    /**
     * One linear layer; its weight scales are a tensor of their own.
     *
     * @param weightBits a number, or {@code "ternary"}
     */
    record Linear(String name, JsonNode weightBits, ActivationQuantizer input) {
        static Linear of(LinearLayer.Quantized layer) {
            JsonNode bits = layer.isTernary()
                    ? StringNode.valueOf(TERNARY)
                    : IntNode.valueOf(layer.coding().bits());
            return new Linear(layer.name(), bits, layer.input());
        }

        /** @throws IllegalArgumentException if there is no such coding */
        WeightCoding coding() {
            if (weightBits.isString() && weightBits.asString().equals(TERNARY)) {
                return WeightCoding.TERNARY;
            }
            if (!weightBits.isInt()) {
                throw new IllegalArgumentException(
                        "weightBits of " + name + " is " + weightBits + ", neither a width nor \"" + TERNARY + "\"");
            }
            try {
                return WeightCoding.ofBits(weightBits.asInt());
            } catch (IllegalArgumentException e) {
                throw new IllegalArgumentException(name + " has " + e.getMessage(), e);
            }
        }
    }

    /**
     * One attention product.
     *
     * @param normalized see {@link dev.trivet.model.MatmulQuantizers}
     */
    record Matmul(String name, ActivationQuantizer left, ActivationQuantizer right, boolean normalized) {}

    /** Leaves out what is not used: version 1 does not know it. */
    abstract static class MatmulFormat {
        @JsonInclude(JsonInclude.Include.NON_DEFAULT)
        abstract boolean normalized();
    }

    /** Leaves out the levels of uniform quantizers, which version 1 does not know. */
    abstract static class QuantizerFormat {
        @JsonInclude(JsonInclude.Include.NON_EMPTY)
        abstract List<Integer> levels();
    }

    /** @throws IllegalArgumentException if an entry is null, which JSON can say */
    OperatorPlans {
        if (Stream.concat(linears.stream(), matmuls.stream()).anyMatch(Objects::isNull)) {
            throw new IllegalArgumentException("a plan is null");
        }
    }

    /** Gives each quantizer that lists no levels an empty list; whatever else is wrong is left for the mapper to find. */
    static void fillIn(JsonNode plans) {
        for (JsonNode linear : plans.path("linears")) {
            fillInLevels(linear.path("input"));
        }
        for (JsonNode matmul : plans.path("matmuls")) {
            fillInLevels(matmul.path("left"));
            fillInLevels(matmul.path("right"));
            if (matmul instanceof ObjectNode object && !object.has(NORMALIZED)) {
                object.put(NORMALIZED, false);
            }
        }
    }

    private static void fillInLevels(JsonNode quantizer) {
        if (quantizer instanceof ObjectNode object && !object.has(LEVELS)) {
            object.putArray(LEVELS);
        }
    }
}
