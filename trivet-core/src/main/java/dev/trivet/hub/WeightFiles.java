package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Which of a model's files are wanted. Nothing else is ever fetched: the names of shards, which the index tells, must have
 * the one form that exists.
 */
final class WeightFiles {
    static final String CONFIG = "config.json";
    static final String PREPROCESSOR = "preprocessor_config.json";
    static final String SAFETENSORS = "model.safetensors";
    static final String INDEX = "model.safetensors.index.json";
    static final String PICKLE = "pytorch_model.bin";

    /** The best first: safetensors hold no code and are mapped, not parsed. */
    private static final List<String> PREFERENCE = List.of(SAFETENSORS, INDEX, PICKLE);

    private static final Pattern SHARD = Pattern.compile("model-\\d{5}-of-\\d{5}\\.safetensors");
    private static final long LONGEST_INDEX = 16 << 20;
    private static final int MOST_SHARDS = 1000;

    private WeightFiles() {}

    /** The weights to take, given which files there are. */
    static Optional<String> choose(Predicate<String> exists) {
        return PREFERENCE.stream().filter(exists).findFirst();
    }

    static String alternatives() {
        return String.join(", ", PREFERENCE);
    }

    /**
     * Names of the shards that an index lists, in order.
     *
     * @throws BadInputException if it is malformed or lists anything but shards
     */
    static List<String> shards(Path index) {
        TreeSet<String> shards = new TreeSet<>();
        try {
            if (Files.size(index) > LONGEST_INDEX) {
                throw new BadInputException(index, "is over 16 MB", "choose another model");
            }
            JsonNode map = JsonMapper.shared().readTree(Files.readString(index)).path("weight_map");
            for (JsonNode name : map) {
                if (!name.isString() || !SHARD.matcher(name.asString()).matches()) {
                    throw new BadInputException(
                            index, "lists " + name + ", which is no file of weights", "choose another model");
                }
                shards.add(name.asString());
            }
        } catch (IOException e) {
            throw new BadInputException(
                    index, "cannot be read (" + BadInputException.reason(e) + ")", "check the cache's folder", e);
        } catch (JacksonException e) {
            throw new BadInputException(
                    index, "is not valid JSON (" + e.getOriginalMessage() + ")", "choose another model", e);
        }
        if (shards.isEmpty() || shards.size() > MOST_SHARDS) {
            throw new BadInputException(index, "lists " + shards.size() + " files of weights", "choose another model");
        }
        return List.copyOf(shards);
    }
}
