package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TokenStoreTest {
    @TempDir
    Path folder;

    /** 700 images of 2 KB: more than the megabyte that is reserved at a time. */
    @ParameterizedTest
    @ValueSource(longs = {0, 1 << 30})
    void holdsWhatIsWritten(long inMemory) {
        try (TokenStore store = new TokenStore(700, 2000, inMemory, folder)) {
            for (int i = 0; i < 700; i++) {
                assertThat(store.image(i).toArray(JAVA_BYTE)).containsOnly(0);
            }
            IntStream.range(0, 700).parallel().forEach(i -> {
                for (int j = 0; j < 500; j++) {
                    store.image(i).setAtIndex(JAVA_FLOAT, j, 1000f * i + j);
                }
            });
            for (int i = 0; i < 700; i++) {
                for (int j = 0; j < 500; j++) {
                    assertThat(store.image(i).getAtIndex(JAVA_FLOAT, j)).isEqualTo(1000f * i + j);
                }
            }
            assertThat(store.image(699).byteSize()).isEqualTo(2000);
            assertThatThrownBy(() -> store.image(700)).isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    @Test
    void theScratchFileHasNoName() throws IOException {
        try (TokenStore store = new TokenStore(3, 1 << 20, 0, folder);
                Stream<Path> files = Files.list(folder)) {
            store.image(2).fill((byte) 1);
            assertThat(files).isEmpty();
        }
    }

    /** An exbibyte: no disk has it. */
    @Test
    void aDiskThatIsTooSmallIsNamed() throws IOException {
        assertThatThrownBy(() -> new TokenStore(1024, 1L << 50, 0, folder))
                .isInstanceOf(BadInputException.class)
                .hasMessageMatching(
                        "\\Q" + folder + "\\E: the temporary folder has \\d+ MB free, and calibration tokens "
                                + "need 1099511627777 MB; free some or lower --images");
        try (Stream<Path> files = Files.list(folder)) {
            assertThat(files).isEmpty();
        }
    }

    @Test
    void aMissingFolderIsNamed() {
        Path absent = folder.resolve("absent");
        assertThatThrownBy(() -> new TokenStore(2, 4, 0, absent))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(absent + ": the scratch file for ")
                .hasMessageNotContaining("\n");
        // Where memory is enough nobody asks for it.
        new TokenStore(2, 4, 8, absent).close();
    }

    @Test
    void sizesThatOverflowAreRefused() {
        assertThatThrownBy(() -> new TokenStore(1 << 30, 1L << 40, 0, folder)).isInstanceOf(ArithmeticException.class);
    }
}
