package dev.trivet.format;

import com.fasterxml.jackson.annotation.JsonInclude;
import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.WeightCoding;
import java.util.List;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.IntNode;
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

    /** @throws IllegalArgumentException if fields are missing, unknown or of the wrong type, or no quantizer has such values */
    static OperatorPlans read(JsonNode plans) {
        StrictFields fields = new StrictFields("the plan", plans);
        OperatorPlans read = new OperatorPlans(
                fields.list("linears", OperatorPlans::linear), fields.list("matmuls", OperatorPlans::matmul));
        fields.end();
        return read;
    }

    private static Linear linear(JsonNode plan) {
        StrictFields fields = new StrictFields("a layer's plan", plan);
        String name = fields.text("name");
        Linear linear = new Linear(name, fields.any("weightBits"), quantizer(name, fields.any("input")));
        fields.end();
        return linear;
    }

    private static Matmul matmul(JsonNode plan) {
        StrictFields fields = new StrictFields("a product's plan", plan);
        String name = fields.text("name");
        Matmul matmul = new Matmul(
                name,
                quantizer(name, fields.any("left")),
                quantizer(name, fields.any("right")),
                fields.has(NORMALIZED) && fields.flag(NORMALIZED));
        fields.end();
        return matmul;
    }

    private static ActivationQuantizer quantizer(String operator, JsonNode plan) {
        StrictFields fields = new StrictFields("a quantizer of " + operator, plan);
        ActivationQuantizer quantizer = new ActivationQuantizer(
                (float) fields.number("scale"),
                fields.integer("zeroPoint"),
                fields.integer("lowest"),
                fields.integer("highest"),
                fields.has(LEVELS) ? fields.integers(LEVELS) : List.of());
        fields.end();
        return quantizer;
    }
}
