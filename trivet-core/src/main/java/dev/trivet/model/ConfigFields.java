package dev.trivet.model;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/**
 * Fields of the first object that has them; an absent field and {@code null} mean the default.
 *
 * @param objects in order of precedence
 */
record ConfigFields(List<JsonNode> objects) {
    private Optional<JsonNode> find(String name) {
        return objects.stream()
                .map(object -> object.path(name))
                .filter(node -> !node.isMissingNode())
                .findFirst()
                .filter(node -> !node.isNull());
    }

    static IllegalArgumentException wrong(String name, String wanted, JsonNode node) {
        return new IllegalArgumentException(name + " must be " + wanted + ", not " + node);
    }

    int integer(String name, int otherwise) {
        Optional<JsonNode> found = find(name);
        if (found.isPresent()
                && (!found.get().isIntegralNumber() || !found.get().canConvertToInt())) {
            throw wrong(name, "an integer", found.get());
        }
        return found.map(JsonNode::intValue).orElse(otherwise);
    }

    double number(String name, double otherwise) {
        Optional<JsonNode> found = find(name);
        if (found.isPresent() && !isFinite(found.get())) {
            throw wrong(name, "a number", found.get());
        }
        return found.map(JsonNode::doubleValue).orElse(otherwise);
    }

    /** Whether a double can hold it; a JSON number may be larger than that. */
    private static boolean isFinite(JsonNode node) {
        return node.isNumber() && Double.isFinite(node.asDouble(Double.NaN));
    }

    List<Integer> integers(String name, List<Integer> otherwise) {
        Optional<JsonNode> found = find(name);
        if (found.isEmpty()) {
            return otherwise;
        }
        List<Integer> values = new ArrayList<>();
        for (JsonNode value : elements(name, "an array of integers", found.get())) {
            if (!value.isIntegralNumber() || !value.canConvertToInt()) {
                throw wrong(name, "an array of integers", found.get());
            }
            values.add(value.intValue());
        }
        return values;
    }

    /** A length given once, or for height and width alike. */
    int side(String name, int otherwise) {
        Optional<JsonNode> found = find(name);
        if (found.isEmpty() || !found.get().isArray()) {
            return integer(name, otherwise);
        }
        List<Integer> sides = integers(name, List.of());
        if (sides.size() != 2 || !sides.get(0).equals(sides.get(1))) {
            throw wrong(name, "an integer or two equal ones", found.get());
        }
        return sides.getFirst();
    }

    /** Whether the field is given, with a value. */
    boolean has(String name) {
        return find(name).isPresent();
    }

    boolean bool(String name, boolean otherwise) {
        Optional<JsonNode> found = find(name);
        if (found.isPresent() && !found.get().isBoolean()) {
            throw wrong(name, "true or false", found.get());
        }
        return found.map(JsonNode::booleanValue).orElse(otherwise);
    }

    String text(String name, String otherwise) {
        Optional<JsonNode> found = find(name);
        if (found.isPresent() && !found.get().isString()) {
            throw wrong(name, "a text", found.get());
        }
        return found.map(JsonNode::asString).orElse(otherwise);
    }

    List<Float> floats(String name, List<Float> otherwise) {
        Optional<JsonNode> found = find(name);
        if (found.isEmpty()) {
            return otherwise;
        }
        List<Float> values = new ArrayList<>();
        for (JsonNode value : elements(name, "an array of numbers", found.get())) {
            float number = isFinite(value) ? (float) value.doubleValue() : Float.NaN;
            if (!Float.isFinite(number)) {
                throw wrong(name, "an array of numbers", found.get());
            }
            values.add(number);
        }
        return values;
    }

    List<String> texts(String name) {
        Optional<JsonNode> found = find(name);
        List<String> values = new ArrayList<>();
        if (found.isPresent()) {
            for (JsonNode value : elements(name, "an array of texts", found.get())) {
                if (!value.isString()) {
                    throw wrong(name, "an array of texts", found.get());
                }
                values.add(value.asString());
            }
        }
        return values;
    }

    private static JsonNode elements(String name, String wanted, JsonNode node) {
        if (!node.isArray()) {
            throw wrong(name, wanted, node);
        }
        return node;
    }
}
