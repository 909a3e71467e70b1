package dev.trivet.tensor;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a pickle describes, as plain data. Containers may contain themselves, so none of them compares, hashes or prints its
 * content.
 */
sealed interface PickleValue {
    /** What it is, for messages. */
    String kind();

    /** {@code None}, {@code True}, {@code False}. */
    enum Constant implements PickleValue {
        NONE,
        TRUE,
        FALSE;

        @Override
        public String kind() {
            return this == NONE ? "None" : "a bool";
        }
    }

    record Whole(long value) implements PickleValue {
        @Override
        public String kind() {
            return "an int";
        }
    }

    record Text(String value) implements PickleValue {
        @Override
        public String kind() {
            return "a str";
        }
    }

    /** A value of no interest: bytes, floats, command-line arguments, NumPy scalars. What it held is forgotten. */
    record Opaque(String type) implements PickleValue {
        @Override
        public String kind() {
            return type;
        }
    }

    /** A name that the pickle asks for. It never stands for a class or function of this program. */
    record Global(String name, PickleGlobals.Role role) implements PickleValue {
        @Override
        public String kind() {
            return name;
        }
    }

    /** A list or tuple. */
    final class Sequence implements PickleValue {
        private final List<PickleValue> items;

        Sequence(List<PickleValue> items) {
            this.items = new ArrayList<>(items);
        }

        void add(PickleValue item) {
            items.add(item);
        }

        List<PickleValue> items() {
            return Collections.unmodifiableList(items);
        }

        @Override
        public String kind() {
            return "a list or tuple";
        }
    }

    /** A dict's entries under keys of text; no tensor is looked for under other keys, so those entries are forgotten. */
    final class Dict implements PickleValue {
        private final Map<String, PickleValue> entries = new LinkedHashMap<>();

        void put(PickleValue key, PickleValue value) {
            if (key instanceof Text text) {
                entries.put(text.value(), value);
            }
        }

        Map<String, PickleValue> entries() {
            return Collections.unmodifiableMap(entries);
        }

        @Override
        public String kind() {
            return "a dict";
        }
    }

    /**
     * The elements that tensors are views of.
     *
     * @param dtype as safetensors names it; empty where each tensor gives its own ({@code UntypedStorage})
     * @param key names the archive's entry
     * @param bytes how many the entry must have
     */
    record Storage(String dtype, String key, long bytes) implements PickleValue {
        @Override
        public String kind() {
            return "a storage";
        }
    }

    record View(StridedView view) implements PickleValue {
        @Override
        public String kind() {
            return "a tensor";
        }
    }
}
