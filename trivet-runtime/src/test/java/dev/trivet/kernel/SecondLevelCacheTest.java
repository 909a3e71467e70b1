package dev.trivet.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SecondLevelCacheTest {
    private static final long UNKNOWN = 1 << 20;

    @TempDir
    Path folder;

    private void cache(int index, String level, String type, String size) throws IOException {
        Path cache = Files.createDirectories(folder.resolve("index" + index));
        Files.writeString(cache.resolve("level"), level + "\n");
        Files.writeString(cache.resolve("type"), type + "\n");
        Files.writeString(cache.resolve("size"), size + "\n");
    }

    @Test
    void isTheOneOfTheSecondLevel() throws IOException {
        cache(0, "1", "Data", "48K");
        cache(1, "1", "Instruction", "32K");
        cache(2, "2", "Unified", "2048K");
        cache(3, "3", "Unified", "307200K");
        Files.writeString(folder.resolve("uevent"), "");
        assertThat(SecondLevelCache.bytes(folder)).isEqualTo(2L << 20);
    }

    @Test
    void ofWhichNothingIsKnownIsAMegabyte() throws IOException {
        assertThat(SecondLevelCache.bytes(folder.resolve("none"))).isEqualTo(UNKNOWN);
        assertThat(SecondLevelCache.bytes(folder)).isEqualTo(UNKNOWN);
        cache(0, "1", "Data", "48K");
        assertThat(SecondLevelCache.bytes(folder)).isEqualTo(UNKNOWN);
        cache(2, "2", "Unified", "");
        assertThat(SecondLevelCache.bytes(folder)).isEqualTo(UNKNOWN);
    }
}
