package dev.trivet.model;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Objects;

/** The 1,000 classes of ILSVRC-2012 in the order that models number them: WordNet ids in rising order. */
public final class ImageNetClasses {
    /** How many classes there are. */
    public static final int COUNT = 1000;

    private static final class Holder {
        static final List<String> LINES = load();
    }

    private ImageNetClasses() {}

    private static List<String> load() {
        try (BufferedReader reader = new BufferedReader(new InputStreamReader(
                Objects.requireNonNull(ImageNetClasses.class.getResourceAsStream("imagenet-1k.txt")),
                StandardCharsets.UTF_8))) {
            return reader.lines().filter(line -> !line.isBlank()).toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** WordNet ids such as {@code n01440764}: the names of the class folders. */
    public static List<String> ids() {
        return Holder.LINES.stream()
                .map(line -> line.substring(0, line.indexOf(' ')))
                .toList();
    }

    /** Readable names such as {@code tench, Tinca tinca}. */
    public static List<String> names() {
        return Holder.LINES.stream()
                .map(line -> line.substring(line.indexOf(' ') + 1))
                .toList();
    }
}
