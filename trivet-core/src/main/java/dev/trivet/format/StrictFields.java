package dev.trivet.format;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * The fields of one JSON object, asked for by name and type: one that is missing, null, of another type or never asked for is an
 * error. Every method throws {@link IllegalArgumentException} with a message that names object and field.
 */
final class StrictFields {
    private static final int MOST_SHOWN = 80;

    private final String owner;
    private final ObjectNode object;
    private final Set<String> left = new LinkedHashSet<>();

    /** @param owner what the object describes, for messages */
    StrictFields(String owner, JsonNode node) {
        if (!(node instanceof ObjectNode found)) {
            throw new IllegalArgumentException(owner + " is " + shown(node) + ", no JSON object");
        }
        this.owner = owner;
        object = found;
        left.addAll(found.propertyNames());
    }

    /** Whether the field is there at all, be it null. */
    boolean has(String name) {
        return object.has(name);
    }

    /** The field as it is. */
    JsonNode any(String name) {
        JsonNode value = object.get(name);
        if (value == null) {
            throw new IllegalArgumentException(owner + " has no " + name);
        }
        left.remove(name);
        return value;
    }

    int integer(String name) {
        return checked(any(name), JsonNode::isInt, name, "a whole number").intValue();
    }

    double number(String name) {
        return checked(any(name), JsonNode::isNumber, name, "a number").doubleValue();
    }

    boolean flag(String name) {
        return checked(any(name), JsonNode::isBoolean, name, "true or false").booleanValue();
    }

    String text(String name) {
        return checked(any(name), JsonNode::isString, name, "a text").asString();
    }

    <E extends Enum<E>> E oneOf(String name, Class<E> choices) {
        String text = text(name);
        for (E choice : choices.getEnumConstants()) {
            if (choice.name().equals(text)) {
                return choice;
            }
        }
        throw wrong(name, "one of " + Arrays.toString(choices.getEnumConstants()), any(name));
    }

    List<Integer> integers(String name) {
        return list(
                name,
                value -> checked(value, JsonNode::isInt, name, "whole numbers").intValue());
    }

    List<Float> floats(String name) {
        return list(name, value ->
                (float) checked(value, JsonNode::isNumber, name, "numbers").doubleValue());
    }

    List<String> texts(String name) {
        return list(
                name, value -> checked(value, JsonNode::isString, name, "texts").asString());
    }

    <T> List<T> list(String name, Function<JsonNode, T> element) {
        List<T> values = new ArrayList<>();
        for (JsonNode value : checked(any(name), JsonNode::isArray, name, "a list")) {
            values.add(element.apply(value));
        }
        return values;
    }

    /** To be called last. */
    void end() {
        if (!left.isEmpty()) {
            throw new IllegalArgumentException(
                    owner + " has the unknown field " + left.iterator().next());
        }
    }

    private JsonNode checked(JsonNode value, Predicate<JsonNode> is, String name, String wanted) {
        if (!is.test(value)) {
            throw wrong(name, wanted, value);
        }
        return value;
    }

    private IllegalArgumentException wrong(String name, String wanted, JsonNode value) {
        return new IllegalArgumentException(name + " of " + owner + " must be " + wanted + ", not " + shown(value));
    }

    /** A field of the wrong kind may be as large as a file. */
    private static String shown(JsonNode value) {
        String text = value.toString();
        return text.length() <= MOST_SHOWN ? text : text.substring(0, MOST_SHOWN) + "...";
    }
}
