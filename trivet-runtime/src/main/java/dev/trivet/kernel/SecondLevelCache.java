package dev.trivet.kernel;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * How large a core's second-level cache is, as Linux says in {@code /sys}. Elsewhere, and where it cannot be read, it counts as one megabyte, which
 * is what is decided for where nothing is known: being wrong costs a few percent of speed, never a result.
 */
final class SecondLevelCache {
    private static final Path CACHES = Path.of("/sys/devices/system/cpu/cpu0/cache");
    private static final long UNKNOWN = 1 << 20;
    /** Linux writes kibibytes, {@code 2048K}. */
    private static final Pattern SIZE = Pattern.compile("(\\d{1,9})K");

    private SecondLevelCache() {}

    /** Of this machine's first core. */
    static long bytes() {
        return bytes(CACHES);
    }

    /** @param caches a folder with a folder {@code indexN} for each cache, which holds {@code level}, {@code type} and {@code size} */
    static long bytes(Path caches) {
        try (Stream<Path> all = Files.list(caches)) {
            for (Path cache : all.toList()) {
                if (Files.isRegularFile(cache.resolve("size"))
                        && read(cache, "level").equals("2")
                        && !read(cache, "type").equals("Instruction")) {
                    Matcher size = SIZE.matcher(read(cache, "size"));
                    return size.matches() ? Long.parseLong(size.group(1)) << 10 : UNKNOWN;
                }
            }
        } catch (IOException | UncheckedIOException e) { // a container may hide any of it
            return UNKNOWN;
        }
        return UNKNOWN;
    }

    private static String read(Path cache, String file) throws IOException {
        return Files.readString(cache.resolve(file)).strip();
    }
}
