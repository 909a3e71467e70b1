package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A process that the system kills (SIGKILL) at some moment of a search, again and again, and the run that goes on from there. */
class KilledRunTest {
    @TempDir
    Path temp;

    private Path images;

    @BeforeEach
    void calibration() {
        images = Fixtures.imageFolder(temp.resolve("images"), 2, 40);
    }

    private List<String> words(Path output, boolean resume) {
        List<String> words = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--add-modules",
                "jdk.incubator.vector",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                TrivetCommand.class.getName(),
                "quantize",
                Fixtures.golden("vit_micro").toString(),
                "--calibration",
                images.toString(),
                "--images",
                "80",
                "--bits",
                "4",
                "--threads",
                "1",
                "-o",
                output.toString()));
        if (resume) {
            words.add("--resume");
        }
        return words;
    }

    private Process start(Path output, boolean resume) throws IOException {
        return new ProcessBuilder(words(output, resume))
                .redirectErrorStream(true)
                .redirectOutput(temp.resolve("log").toFile())
                .start();
    }

    private void finish(Process process) throws IOException, InterruptedException {
        assertThat(process.waitFor(3, TimeUnit.MINUTES)).isTrue();
        assertThat(process.exitValue())
                .as(Files.readString(temp.resolve("log")))
                .isZero();
    }

    /** Empty where there is no such file, also where the run removes it at this moment. */
    private static Optional<Object> lastChange(Path file) throws IOException {
        try {
            return Optional.of(Files.getLastModifiedTime(file));
        } catch (NoSuchFileException _) {
            return Optional.empty();
        }
    }

    @Test
    void goesOnToTheSameBytes() throws IOException, InterruptedException {
        Path whole = temp.resolve("whole.safetensors");
        finish(start(whole, false));
        Path output = temp.resolve("q.safetensors");
        Path partial = temp.resolve("q.safetensors.partial");
        int kills = 0;
        Process process = start(output, false);
        // Each time the state on disk changes, at a later moment after it: between two units and within one.
        Object seen = new Object();
        while (process.isAlive()) {
            Object state = lastChange(partial).orElse(seen);
            if (state.equals(seen) || kills == 3) {
                Thread.sleep(1);
                continue;
            }
            seen = state;
            Thread.sleep(20L * kills);
            process.destroyForcibly().waitFor();
            if (Files.exists(output)) {
                break;
            }
            kills++;
            process = start(output, true);
        }
        if (!Files.exists(output)) {
            finish(process);
        }
        assertThat(kills).isPositive();
        assertThat(output).hasSameBinaryContentAs(whole);
        assertThat(partial).doesNotExist();
    }
}
