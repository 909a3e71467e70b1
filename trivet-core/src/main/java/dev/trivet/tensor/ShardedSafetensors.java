package dev.trivet.tensor;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
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
 * Safetensors files that together are one checkpoint, as Hugging Face writes them: an index {@code NAME.safetensors.index.json}
 * whose {@code weight_map} gives each tensor's file, all in the index's folder. Index and files must name the same tensors.
 *
 * <p>Safe to read from several threads. Tensors must not be used after {@link #close()}.
 */
public final class ShardedSafetensors implements TensorFile {
    private static final long LONGEST = 16 << 20;
    private static final String REMEDY = "copy or download the index and its shards again";

    private static final JsonFactory JSON = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .streamReadConstraints(
                    StreamReadConstraints.builder().maxNestingDepth(64).build())
            .build();

    private final Path index;
    private final Map<String, SafetensorsFile> shards;
    /** Tensor to shard. */
    private final Map<String, String> places;

    private ShardedSafetensors(Path index, Map<String, SafetensorsFile> shards, Map<String, String> places) {
        this.index = index;
        this.shards = shards;
        this.places = places;
    }

    /**
     * Opens the index and every shard.
     *
     * @throws BadInputException if one of them cannot be read or is malformed, the index names a file outside its folder, or
     *     the index and the shards contradict each other
     */
    public static ShardedSafetensors open(Path index) {
        Map<String, String> places = readIndex(index);
        Map<String, SafetensorsFile> shards = new LinkedHashMap<>();
        ShardedSafetensors checkpoint = new ShardedSafetensors(index, shards, places);
        try {
            for (String shard : places.values()) {
                if (!shards.containsKey(shard)) {
                    shards.put(shard, SafetensorsFile.open(inFolder(index, shard)));
                }
            }
            checkpoint.check();
            return checkpoint;
        } catch (RuntimeException | Error e) {
            checkpoint.close();
            throw e;
        }
    }

    private static BadInputException malformed(Path index, String problem, @Nullable Throwable cause) {
        String text = index + ": " + problem + "; " + REMEDY;
        return cause == null ? new BadInputException(text) : new BadInputException(text, cause);
    }

    private static Map<String, String> readIndex(Path index) {
        if (Files.exists(index) && !Files.isRegularFile(index)) {
            throw new BadInputException(index, "is not a regular file", "name a .safetensors.index.json file");
        }
        String text;
        try {
            if (Files.size(index) > LONGEST) {
                throw malformed(index, "is over 16 MB, too long for an index", null);
            }
            text = Files.readString(index);
        } catch (NoSuchFileException e) {
            throw new BadInputException(index, "no such file", "check the path", e);
        } catch (IOException e) {
            throw malformed(index, "cannot be read (" + BadInputException.reason(e) + ")", e);
        }
        Map<String, String> places = new LinkedHashMap<>();
        try (JsonParser parser = JSON.createParser(ObjectReadContext.empty(), text)) {
            expect(index, parser.nextToken(), JsonToken.START_OBJECT, "the index");
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                boolean map = parser.currentName().equals("weight_map");
                JsonToken value = parser.nextToken();
                if (map) {
                    expect(index, value, JsonToken.START_OBJECT, "weight_map");
                    readPlaces(index, parser, places);
                } else {
                    parser.skipChildren();
                }
            }
            if (parser.nextToken() != null) {
                throw malformed(index, "has text after its closing brace", null);
            }
        } catch (JacksonException e) {
            throw malformed(index, "is not valid JSON (" + SafetensorsHeader.shown(e.getOriginalMessage()) + ")", e);
        }
        if (places.isEmpty()) {
            throw malformed(index, "has no weight_map that names tensors", null);
        }
        return places;
    }

    private static void readPlaces(Path index, JsonParser parser, Map<String, String> places) {
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String name = parser.currentName();
            expect(
                    index,
                    parser.nextToken(),
                    JsonToken.VALUE_STRING,
                    "the shard of tensor " + SafetensorsHeader.shown(name));
            places.put(name, parser.getString());
        }
    }

    private static void expect(Path index, @Nullable JsonToken found, JsonToken wanted, String what) {
        if (found != wanted) {
            throw malformed(index, "has " + what + " in the wrong form (" + found + ", not " + wanted + ")", null);
        }
    }

    /** A shard is named by a bare file name: a stranger's index must not open other files of this machine. */
    private static Path inFolder(Path index, String shard) {
        boolean bare = !shard.isEmpty()
                && !shard.equals(".")
                && !shard.equals("..")
                && shard.chars().noneMatch(c -> c == '/' || c == '\\' || c == ':' || c == 0);
        if (!bare) {
            throw malformed(
                    index,
                    "names shard " + SafetensorsHeader.shown(shard) + ", which is not a file of its own folder",
                    null);
        }
        Path file = index.resolveSibling(shard);
        if (!Files.exists(file)) {
            throw malformed(
                    index, "names shard " + SafetensorsHeader.shown(shard) + ", which is not in its folder", null);
        }
        return file;
    }

    private void check() {
        Map<String, String> found = new LinkedHashMap<>();
        shards.forEach((shard, file) -> {
            for (String name : file.names()) {
                String other = found.put(name, shard);
                if (other != null) {
                    throw malformed(index, "has " + tensor(name) + " in two shards, " + other + " and " + shard, null);
                }
            }
        });
        found.forEach((name, shard) -> {
            String place = places.get(name);
            if (!shard.equals(place)) {
                String claim = place == null ? "does not name " + tensor(name) : says(name, place);
                throw malformed(index, claim + ", but it is in " + shard, null);
            }
        });
        places.forEach((name, shard) -> {
            if (!found.containsKey(name)) {
                throw malformed(index, says(name, shard) + ", which lacks it", null);
            }
        });
    }

    private static String tensor(String name) {
        return "tensor " + SafetensorsHeader.shown(name);
    }

    private static String says(String name, String shard) {
        return "says that " + tensor(name) + " is in " + shard;
    }

    @Override
    public Path file() {
        return index;
    }

    @Override
    public List<Path> files() {
        List<Path> files = new ArrayList<>(List.of(index));
        shards.values().forEach(shard -> files.add(shard.file()));
        return files;
    }

    @Override
    public List<String> names() {
        return List.copyOf(places.keySet());
    }

    /**
     * The tensor of that name.
     *
     * @throws BadInputException if its shard has it in an element type that Trivet does not read
     */
    @Override
    public Optional<Tensor> find(String name) {
        String shard = places.get(name);
        SafetensorsFile file = shard == null ? null : shards.get(shard);
        return file == null ? Optional.empty() : file.find(name);
    }

    @Override
    public void close() {
        shards.values().forEach(SafetensorsFile::close);
    }
}
