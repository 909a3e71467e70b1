package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Quantized files that cannot be written: what was there stays, no part is left, and no time is lost on the search. */
class BadOutputTest {
    private static final Path MODEL = Fixtures.golden(Fixtures.VIT);

    @TempDir
    Path temp;

    private Path images;

    @BeforeEach
    void writeImages() {
        images = Fixtures.imageFolder(temp.resolve("images"), 2, 1);
    }

    /** The announcement of the calibration images comes just before the search. */
    private void refusedBeforeTheWork(Path output, Object... parts) throws IOException {
        List<Path> before = Fixtures.files(temp).toList();
        CommandRun run = CommandRun.of(
                "quantize",
                MODEL,
                "--calibration",
                images,
                "--images",
                2,
                "--method",
                "liu2021",
                "--rounds",
                0,
                "-o",
                output);
        run.refused(parts);
        assertThat(run.err()).doesNotContain("calibration images");
        assertThat(Fixtures.files(temp).toList()).isEqualTo(before);
    }

    @Test
    void isAFolder() throws IOException {
        refusedBeforeTheWork(images, images, "is a folder", "give the name of a file to write");
    }

    @Test
    void liesBelowAFile() throws IOException {
        Path file = Files.writeString(temp.resolve("file"), "x");
        refusedBeforeTheWork(file.resolve("q.safetensors"), file, "is not a folder", "choose another place");
        refusedBeforeTheWork(file.resolve("further/q.safetensors"), file, "is not a folder", "choose another place");
        assertThat(file).hasContent("x");
    }

    @Test
    @EnabledOnOs({OS.LINUX, OS.MAC})
    void isADevice() throws IOException {
        refusedBeforeTheWork(Path.of("/dev/null"), "/dev/null", "is not a regular file", "give the name of a file");
    }

    @Test
    void liesInAReadOnlyFolder() throws IOException {
        Path folder = Files.createDirectory(temp.resolve("closed"));
        Assumptions.assumeTrue(
                folder.getFileSystem().supportedFileAttributeViews().contains("posix"));
        Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("r-xr-xr-x"));
        Assumptions.assumeFalse(Files.isWritable(folder), "this user may write everywhere");
        refusedBeforeTheWork(folder.resolve("q"), folder.resolve("q"), "cannot be written", "choose another place");
        refusedBeforeTheWork(folder.resolve("a/q"), folder.resolve("a/q"), "cannot be written", "choose another place");
    }

    @Test
    void isTheModelItself() throws IOException {
        Path model = Fixtures.model(temp, Fixtures.VIT);
        Path weights = model.resolve("model.safetensors");
        byte[] before = Files.readAllBytes(weights);
        CommandRun.of(
                        "quantize",
                        model,
                        "--calibration",
                        images,
                        "--images",
                        2,
                        "--method",
                        "liu2021",
                        "--rounds",
                        0,
                        "-o",
                        weights)
                .refused(weights, "is the model itself", "give another name");
        assertThat(weights).hasBinaryContent(before);
    }

    /** Each output of a command is checked against all that it reads and against its other outputs. */
    @Test
    void wouldReplaceWhatIsReadOrJustMade() throws IOException {
        Path quantized = temp.resolve("q.safetensors");
        List<Object> words = new ArrayList<>(List.of("quantize", MODEL, "--calibration", images, "--images", 2));
        words.addAll(List.of("--method", "liu2021", "--rounds", 0, "-o", quantized));
        CommandRun.of(words.toArray()).good();
        byte[] before = Files.readAllBytes(quantized);
        words.addAll(List.of("--report", temp.resolve("folder/../q.safetensors")));
        CommandRun.of(words.toArray()).refused("is where the quantized file goes", "give the page another name");
        CommandRun.of("report", quantized, "--against", MODEL, "--calibration", images, "-o", quantized)
                .refused(quantized, "is the model itself", "give another name");
        assertThat(quantized).hasBinaryContent(before);

        Path model = Fixtures.model(temp, Fixtures.VIT);
        Path weights = model.resolve("model.safetensors");
        byte[] ofModel = Files.readAllBytes(weights);
        Path page = temp.resolve("page.html");
        CommandRun.of("report", quantized, "--against", MODEL, "--calibration", images, "--classes", images, "-o", page)
                .refused("--classes is the class order of --data", "leave it out");
        assertThat(page).doesNotExist();
        CommandRun.of("report", quantized, "--against", model, "--calibration", images, "-o", weights)
                .refused(weights, "is the model itself");
        Path second = Files.move(weights, model.resolve("model-seed1.safetensors"));
        CommandRun.of(
                        "quantize",
                        second,
                        "--calibration",
                        images,
                        "--seeds",
                        2,
                        "-o",
                        model.resolve("model.safetensors"))
                .refused(second, "is the model itself");
        assertThat(second).hasBinaryContent(ofModel);
        CommandRun.of("train", second, "--data", temp, "--recipe", "finetune", "-o", model)
                .refused(model, "is the folder of the model itself", "give another one");

        Path training = Files.createDirectories(temp.resolve("training"));
        Path made = training.resolve("quantized.safetensors");
        Files.copy(quantized, made);
        CommandRun.of("train", second, "--data", temp, "--recipe", "ternary", "--start", made, "-o", training)
                .refused(made, "is the file that this training would write");
        assertThat(made).hasBinaryContent(before);
    }

    /** A device that is full, for what goes to standard output. */
    @Test
    @EnabledOnOs(OS.LINUX)
    void standardOutputThatIsFull() throws Exception {
        List<String> command = new ArrayList<>(List.of("bash", "-c", "exec \"$@\" > /dev/full", "full"));
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), TrivetCommand.class.getName()));
        command.add("--version");
        Process process = new ProcessBuilder(command).start();
        String err = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).isEqualTo(1);
        assertThat(err).contains("trivet: the output cannot be written (No space left on device)");
    }

    /**
     * A disk that fills up in the middle of the file, played by the process's limit on the size of files: the JVM's writes
     * come back short and then fail, as they do on a full disk.
     */
    @Test
    @EnabledOnOs({OS.LINUX, OS.MAC})
    void outgrowsTheDisk() throws Exception {
        Path output = temp.resolve("q.safetensors");
        Files.writeString(output, "the old file");
        List<String> command = new ArrayList<>(List.of("bash", "-c", "ulimit -f 64 && exec \"$@\"", "limited"));
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of("-XX:-UsePerfData", "-XX:+UseSerialGC", "--add-modules", "jdk.incubator.vector"));
        command.addAll(List.of("-Dtrivet.kernels=vector", "-cp", System.getProperty("java.class.path")));
        command.addAll(List.of(TrivetCommand.class.getName(), "quantize", MODEL.toString()));
        command.addAll(
                List.of("--calibration", images.toString(), "--images", "2", "--method", "liu2021", "--rounds", "0"));
        command.addAll(List.of("-o", output.toString()));
        ProcessBuilder builder = new ProcessBuilder(command);
        // The JVM would say so on standard error.
        builder.environment().keySet().removeAll(List.of("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"));
        Process process = builder.start();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        String err = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        String own = err.lines()
                // The JVM's, on the incubator module and on native access.
                .filter(line -> !line.startsWith("WARNING:") && !line.isEmpty())
                .collect(java.util.stream.Collectors.joining("\n"));
        new CommandRun(process.waitFor(), out, own).refused(output, "cannot be written", "free some space");
        assertThat(output).hasContent("the old file");
        assertThat(temp.resolve("q.safetensors.part")).doesNotExist();
    }
}
