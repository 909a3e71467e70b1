package dev.trivet.tensor;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.json.JsonFactory;

/**
 * The JSON header of a safetensors file, checked in full: names unique, dtypes known, shapes that multiply to the byte range
 * given, ranges inside the data, without overlap and without holes.
 *
 * @param entries tensors in header order
 * @param metadata the {@code __metadata__} map
 */
record SafetensorsHeader(Map<String, Entry> entries, Map<String, String> metadata) {
    /** The limit of the reference implementation. */
    static final long LONGEST = 100_000_000;

    /** The key of the string map, which no tensor may have as its name. */
    static final String METADATA = "__metadata__";

    static final int MOST_DIMENSIONS = 16;
    private static final int MOST_SHOWN = 200;

    /** Sizes of the element types that take whole bytes, whether or not Trivet computes with it. */
    static final Map<String, Integer> ELEMENT_BYTES = Map.ofEntries(
            Map.entry("BOOL", 1),
            Map.entry("U8", 1),
            Map.entry("I8", 1),
            Map.entry("F8_E4M3", 1),
            Map.entry("F8_E5M2", 1),
            Map.entry("I16", 2),
            Map.entry("U16", 2),
            Map.entry("F16", 2),
            Map.entry("BF16", 2),
            Map.entry("I32", 4),
            Map.entry("U32", 4),
            Map.entry("F32", 4),
            Map.entry("I64", 8),
            Map.entry("U64", 8),
            Map.entry("F64", 8));

    private static final JsonFactory JSON = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxNestingDepth(8)
                    .maxStringLength((int) LONGEST)
                    .build())
            .build();

    /** Where one tensor lies: bytes {@code begin} (inclusive) to {@code end} (exclusive) of the data. */
    record Entry(String dtype, List<Long> shape, long begin, long end) {
        Optional<DType> known() {
            return DType.named(dtype);
        }
    }

    SafetensorsHeader {
        entries = Collections.unmodifiableMap(new LinkedHashMap<>(entries));
        metadata = Collections.unmodifiableMap(new LinkedHashMap<>(metadata));
    }

    /**
     * @param json the header's bytes
     * @param dataBytes how many bytes follow it
     */
    static SafetensorsHeader parse(byte[] json, long dataBytes) throws MalformedHeaderException {
        if (json.length == 0 || json[0] != '{') {
            throw new MalformedHeaderException("has a header that does not start with '{', so it is not safetensors");
        }
        String text;
        try {
            text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(json))
                    .toString();
        } catch (CharacterCodingException e) {
            throw new MalformedHeaderException("has a header that is not UTF-8", e);
        }
        Map<String, Entry> entries = new LinkedHashMap<>();
        Map<String, String> metadata = Map.of();
        try (JsonParser parser = JSON.createParser(ObjectReadContext.empty(), text)) {
            expect(parser.nextToken(), JsonToken.START_OBJECT, "the header");
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                String name = unicode(parser.currentName());
                if (name.equals(METADATA)) {
                    metadata = readMetadata(parser);
                } else {
                    entries.put(name, readEntry(parser, shown(name)));
                }
            }
            if (parser.nextToken() != null) {
                throw new MalformedHeaderException("has text after the header's closing brace");
            }
        } catch (JacksonException e) {
            throw new MalformedHeaderException(
                    "has a header that is not valid JSON (" + shown(e.getOriginalMessage()) + ")", e);
        }
        checkLayout(entries, dataBytes);
        return new SafetensorsHeader(entries, metadata);
    }

    private static Map<String, String> readMetadata(JsonParser parser) throws MalformedHeaderException {
        expect(parser.nextToken(), JsonToken.START_OBJECT, METADATA);
        Map<String, String> metadata = new LinkedHashMap<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String key = unicode(parser.currentName());
            expect(parser.nextToken(), JsonToken.VALUE_STRING, METADATA + "." + shown(key));
            metadata.put(key, unicode(parser.getString()));
        }
        return metadata;
    }

    private static Entry readEntry(JsonParser parser, String name) throws MalformedHeaderException {
        expect(parser.nextToken(), JsonToken.START_OBJECT, "tensor " + name);
        String dtype = null;
        List<Long> shape = null;
        List<Long> range = null;
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String field = parser.currentName();
            JsonToken value = parser.nextToken();
            switch (field) {
                case "dtype" -> {
                    expect(value, JsonToken.VALUE_STRING, "the dtype of tensor " + name);
                    dtype = parser.getString();
                }
                case "shape" -> shape = readNumbers(parser, "the shape of tensor " + name);
                case "data_offsets" -> range = readNumbers(parser, "the data_offsets of tensor " + name);
                default ->
                    throw new MalformedHeaderException("gives tensor " + name + " an unknown field " + shown(field));
            }
        }
        if (dtype == null || shape == null || range == null) {
            throw new MalformedHeaderException("gives tensor " + name + " no "
                    + (dtype == null ? "dtype" : shape == null ? "shape" : "data_offsets"));
        }
        if (range.size() != 2) {
            throw new MalformedHeaderException("gives tensor " + name + " " + range.size() + " offsets, not 2");
        }
        return new Entry(dtype, shape, range.get(0), range.get(1));
    }

    private static List<Long> readNumbers(JsonParser parser, String what) throws MalformedHeaderException {
        expect(parser.currentToken(), JsonToken.START_ARRAY, what);
        List<Long> numbers = new ArrayList<>();
        while (parser.nextToken() != JsonToken.END_ARRAY) {
            expect(parser.currentToken(), JsonToken.VALUE_NUMBER_INT, what);
            if (numbers.size() == MOST_DIMENSIONS) {
                throw new MalformedHeaderException("gives " + what + " more than " + MOST_DIMENSIONS + " numbers");
            }
            long number = parser.getLongValue();
            if (number < 0) {
                throw new MalformedHeaderException("gives " + what + " a negative number");
            }
            numbers.add(number);
        }
        return numbers;
    }

    /** JSON can escape half of a surrogate pair, which UTF-8 cannot hold: such a name could not be written again. */
    private static String unicode(String text) throws MalformedHeaderException {
        if (!isUnicode(text)) {
            throw new MalformedHeaderException("has a header with half a surrogate pair in a name or text");
        }
        return text;
    }

    static boolean isUnicode(String text) {
        int at = 0;
        while (at < text.length()) {
            int c = text.codePointAt(at);
            if (c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE) {
                return false;
            }
            at += Character.charCount(c);
        }
        return true;
    }

    /** Text of the file as messages quote it: a damaged header may hold megabytes of it. */
    static String shown(String text) {
        return text.length() <= MOST_SHOWN ? text : text.substring(0, MOST_SHOWN) + "...";
    }

    private static void expect(@Nullable JsonToken found, JsonToken wanted, String what)
            throws MalformedHeaderException {
        if (found != wanted) {
            throw new MalformedHeaderException(
                    "has " + what + " in the wrong form (" + found + ", not " + wanted + ")");
        }
    }

    private static void checkLayout(Map<String, Entry> entries, long dataBytes) throws MalformedHeaderException {
        List<Map.Entry<String, Entry>> byOffset = new ArrayList<>(entries.entrySet());
        for (Map.Entry<String, Entry> named : byOffset) {
            checkSize(shown(named.getKey()), named.getValue(), dataBytes);
        }
        byOffset.sort(Comparator.comparingLong(
                        (Map.Entry<String, Entry> e) -> e.getValue().begin())
                .thenComparingLong(e -> e.getValue().end()));
        long reached = 0;
        String previous = "the header";
        for (Map.Entry<String, Entry> named : byOffset) {
            Entry entry = named.getValue();
            String name = shown(named.getKey());
            if (entry.begin() < reached) {
                throw new MalformedHeaderException("has tensors " + previous + " and " + name + " that overlap");
            }
            if (entry.begin() > reached) {
                throw new MalformedHeaderException(
                        "leaves " + (entry.begin() - reached) + " bytes unused before tensor " + name);
            }
            reached = entry.end();
            previous = name;
        }
        if (reached != dataBytes) {
            throw new MalformedHeaderException(
                    "has " + dataBytes + " bytes of tensors where its header describes " + reached);
        }
    }

    private static void checkSize(String name, Entry entry, long dataBytes) throws MalformedHeaderException {
        Integer elementBytes = ELEMENT_BYTES.get(entry.dtype());
        if (elementBytes == null) {
            throw new MalformedHeaderException("gives tensor " + name + " the unknown dtype " + shown(entry.dtype()));
        }
        if (entry.end() < entry.begin() || entry.end() > dataBytes) {
            throw new MalformedHeaderException("places tensor " + name + " at bytes " + entry.begin() + " to "
                    + entry.end() + " of " + dataBytes + "; it is truncated or damaged");
        }
        long bytes = elementBytes;
        try {
            for (long dimension : entry.shape()) {
                bytes = Math.multiplyExact(bytes, dimension);
            }
        } catch (ArithmeticException e) {
            throw new MalformedHeaderException("gives tensor " + name + " a shape too large to exist", e);
        }
        if (bytes != entry.end() - entry.begin()) {
            throw new MalformedHeaderException("gives tensor " + name + " " + (entry.end() - entry.begin())
                    + " bytes where " + entry.dtype() + " " + entry.shape() + " needs " + bytes);
        }
    }
}
