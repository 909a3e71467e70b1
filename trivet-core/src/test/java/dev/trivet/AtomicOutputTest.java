package dev.trivet;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

class AtomicOutputTest {
    @TempDir
    Path folder;

    private static void put(FileChannel channel, String text) throws IOException {
        channel.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
    }

    private List<String> filesIn(Path place) throws IOException {
        try (Stream<Path> files = Files.list(place)) {
            return files.map(f -> String.valueOf(f.getFileName())).sorted().toList();
        }
    }

    @Test
    void writesIntoFoldersThatDoNotExistYet() throws IOException {
        Path file = folder.resolve("a/b/out.bin");
        AtomicOutput.write(file, c -> put(c, "new"));
        assertThat(file).hasContent("new");
        assertThat(filesIn(folder.resolve("a/b"))).containsExactly("out.bin");
    }

    @Test
    void replacesAnOlderAndLongerFileWhole() throws IOException {
        Path file = Files.writeString(folder.resolve("out.bin"), "a much older text");
        AtomicOutput.write(file, c -> put(c, "new"));
        assertThat(file).hasContent("new");
        assertThat(filesIn(folder)).containsExactly("out.bin");
    }

    @Test
    void leftoverOfAKilledRunIsOverwritten() throws IOException {
        Path file = folder.resolve("out.bin");
        Files.writeString(folder.resolve("out.bin.part"), "half of something longer");
        AtomicOutput.write(file, c -> put(c, "new"));
        assertThat(file).hasContent("new");
        assertThat(filesIn(folder)).containsExactly("out.bin");
    }

    @Test
    void oldContentIsThereWhileTheNewIsWritten() throws IOException {
        Path file = Files.writeString(folder.resolve("out.bin"), "old");
        AtomicOutput.write(file, c -> {
            put(c, "new");
            assertThat(file).hasContent("old");
        });
        assertThat(file).hasContent("new");
    }

    @Test
    void fullDiskLeavesTheOldFileAndSaysSoInOneLine() throws IOException {
        Path file = Files.writeString(folder.resolve("out.bin"), "old");
        assertThatThrownBy(() -> AtomicOutput.write(file, c -> {
                    put(c, "half of the n");
                    throw new IOException("No space left on device");
                }))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining("No space left on device")
                .hasMessageNotContaining("\n");
        assertThat(file).hasContent("old");
        assertThat(filesIn(folder)).containsExactly("out.bin");
    }

    @Test
    void errorOfTheFileBesideItIsToldOfTheFileThatWasAskedFor() {
        Path file = folder.resolve("out.bin");
        assertThatThrownBy(() -> AtomicOutput.write(file, c -> {
                    throw new FileSystemException(file + ".part", null, "Read-only file system");
                }))
                .isInstanceOf(BadInputException.class)
                .hasMessage(file + ": cannot be written (Read-only file system); choose another place; the old file,"
                        + " if any, is unchanged");
    }

    @Test
    void errorWithoutMessageIsNamedByItsKind() {
        Path file = folder.resolve("out.bin");
        assertThatThrownBy(() -> AtomicOutput.write(file, c -> {
                    throw new EOFException();
                }))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("EOFException")
                .hasMessageNotContaining("null");
    }

    @Test
    void inputOutputErrorWrappedByTheBodyIsReportedLikeAnyOther() throws IOException {
        Path file = folder.resolve("out.bin");
        assertThatThrownBy(() -> AtomicOutput.write(file, c -> {
                    throw new UncheckedIOException(new IOException("No space left on device"));
                }))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining("No space left on device");
        assertThat(filesIn(folder)).isEmpty();
    }

    @Test
    void programErrorsPassThroughAndLeaveNothingBehind() throws IOException {
        Path file = Files.writeString(folder.resolve("out.bin"), "old");
        IllegalStateException bug = new IllegalStateException("a bug");
        assertThatThrownBy(() -> AtomicOutput.write(file, c -> {
                    put(c, "half");
                    throw bug;
                }))
                .isSameAs(bug);
        OutOfMemoryError full = new OutOfMemoryError("heap");
        assertThatThrownBy(() -> AtomicOutput.write(file, c -> {
                    put(c, "half");
                    throw full;
                }))
                .isSameAs(full);
        assertThat(file).hasContent("old");
        assertThat(filesIn(folder)).containsExactly("out.bin");
    }

    @Test
    void folderAsTargetIsRefused() throws IOException {
        Path target = Files.createDirectory(folder.resolve("out"));
        assertThatThrownBy(() -> AtomicOutput.write(target, c -> put(c, "x")))
                .isInstanceOf(BadInputException.class)
                .hasMessage(target + ": is a folder; give the name of a file to write");
        assertThat(filesIn(folder)).containsExactly("out");
    }

    @Test
    void rootIsNoFileName() {
        assertThatThrownBy(() -> AtomicOutput.write(folder.getRoot(), c -> put(c, "x")))
                .isInstanceOf(BadInputException.class);
    }

    @Test
    void fileWhereAFolderIsNeededIsNamed() throws IOException {
        Path parent = Files.writeString(folder.resolve("parent"), "a file");
        Path file = parent.resolve("out.bin");
        assertThatThrownBy(() -> AtomicOutput.write(file, c -> put(c, "x")))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": cannot be written (" + parent + " is in the way)");
        Path deeper = parent.resolve("a/out.bin");
        assertThatThrownBy(() -> AtomicOutput.write(deeper, c -> put(c, "x")))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(deeper + ": cannot be written (");
        assertThat(parent).hasContent("a file");
    }

    @Test
    void folderOfTheUserThatHasTheNameOfThePartIsKept() throws IOException {
        Path inTheWay = Files.createDirectory(folder.resolve("out.bin.part"));
        Path file = folder.resolve("out.bin");
        assertThatThrownBy(() -> AtomicOutput.write(file, c -> put(c, "x")))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": cannot be written (");
        assertThat(inTheWay).isDirectory();
    }

    @Test
    void linkKeepsPointingAtTheFileThatIsReplaced() throws IOException {
        Path real = Files.writeString(
                Files.createDirectory(folder.resolve("elsewhere")).resolve("real.bin"), "old");
        Path link = Files.createSymbolicLink(folder.resolve("link.bin"), real);
        AtomicOutput.write(link, c -> put(c, "new"));
        assertThat(link).isSymbolicLink();
        assertThat(real).hasContent("new");
        assertThat(filesIn(folder)).containsExactly("elsewhere", "link.bin");
        assertThat(filesIn(folder.resolve("elsewhere"))).containsExactly("real.bin");
    }

    /** Renaming over a pipe or a device such as /dev/null would destroy it. */
    @Test
    @Timeout(60)
    void pipeAsTargetIsRefusedAndKept() throws Exception {
        Path pipe = folder.resolve("pipe");
        assumeThat(makePipe(pipe)).as("this system can make pipes").isTrue();
        assertThatThrownBy(() -> AtomicOutput.write(pipe, c -> put(c, "x")))
                .isInstanceOf(BadInputException.class)
                .hasMessage(pipe + ": is not a regular file; give the name of a file to write");
        assertThat(Files.isRegularFile(pipe)).isFalse();
        assertThat(filesIn(folder)).containsExactly("pipe");
    }

    private static boolean makePipe(Path pipe) throws InterruptedException {
        try {
            return new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor() == 0;
        } catch (IOException e) {
            return false;
        }
    }
}
