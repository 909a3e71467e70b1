package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Images that cannot be used. */
class BadDataTest {
    private static final Path MODEL = Fixtures.golden(Fixtures.VIT);

    @TempDir
    Path temp;

    @Test
    void namesAMissingFolder() {
        Path absent = temp.resolve("absent");
        CommandRun.of("eval", MODEL, "--data", absent).refused(absent, "does not exist", "check the path");
        CommandRun.of("quantize", MODEL, "--calibration", absent, "-o", temp.resolve("q"))
                .refused(absent, "does not exist", "check the path");
    }

    @Test
    void namesAnEmptyFolder() {
        CommandRun.of("eval", MODEL, "--data", temp).refused(temp, "is empty", "one folder per class");
        CommandRun.of("quantize", MODEL, "--calibration", temp, "-o", temp.resolve("q"))
                .refused(temp, "holds no .jpg", "name a folder of images");
    }

    @Test
    void namesAFolderWithoutClasses() {
        Fixtures.image(temp.resolve("a.png"), 1);
        CommandRun.of("eval", MODEL, "--data", temp)
                .refused(temp, "holds images but no class folders", "one folder per class");
    }

    @Test
    void namesAFileInPlaceOfAFolder() {
        Path image = Fixtures.image(temp.resolve("a.png"), 1);
        CommandRun.of("eval", MODEL, "--data", image).refused(image, "is a file", "name the folder");
    }

    @Test
    void namesTheWrongNumberOfClasses() {
        Fixtures.imageFolder(temp, 9, 1);
        CommandRun.of("eval", MODEL, "--data", temp).refused(temp, "9 class folders", "10 classes", "--classes FILE");
    }

    @Test
    void namesAFolderThatMayNotBeListed() throws IOException {
        Path closed = Files.createDirectory(temp.resolve("closed"));
        Assumptions.assumeTrue(
                closed.getFileSystem().supportedFileAttributeViews().contains("posix"));
        Files.setPosixFilePermissions(closed, PosixFilePermissions.fromString("---------"));
        Assumptions.assumeFalse(Files.isReadable(closed), "this user may read everything");
        CommandRun.of("eval", MODEL, "--data", closed).refused(closed, "permission denied", "check its permissions");
        // What is closed may lie deeper than what was named.
        CommandRun.of("quantize", MODEL, "--calibration", temp, "-o", temp.resolve("q.safetensors"))
                .refused(closed, "permission denied", "check its permissions");
    }

    @Test
    void goesOnAfterACorruptImage() throws IOException {
        Fixtures.imageFolder(temp, 10, 2);
        Path broken = Fixtures.brokenJpeg(temp.resolve("k3/broken.jpg"));
        CommandRun run = CommandRun.of("eval", MODEL, "--data", temp, "--json");
        assertThat(run.exit()).isZero();
        assertThat(run.json().path("images").asInt()).isEqualTo(20);
        assertThat(run.json().path("unreadable")).hasSize(1);
        assertThat(run.complaints()).hasSize(2);
        assertThat(run.complaints().getFirst()).startsWith("1 image could not be read");
        assertThat(run.complaints().getLast()).contains(broken.toString());

        CommandRun.of("eval", MODEL, "--data", temp, "--strict").refused(broken, "copy");
        CommandRun.of("compare", MODEL, MODEL, "--data", temp, "--strict").refused(broken, "copy");
    }

    @Test
    void comparesAroundACorruptImage() throws IOException {
        Fixtures.imageFolder(temp, 10, 1);
        Path broken = Fixtures.brokenJpeg(temp.resolve("k0/00.jpg"));
        CommandRun run = CommandRun.of("compare", MODEL, MODEL, "--data", temp);
        assertThat(run.exit()).isZero();
        assertThat(run.complaints()).hasSize(2);
        assertThat(run.complaints().getLast()).contains(broken.toString());
    }

    @Test
    void namesOnlyTheFirstOfManyCorruptImages() throws IOException {
        Fixtures.imageFolder(temp, 10, 1);
        for (int i = 0; i < 8; i++) {
            Fixtures.brokenJpeg(temp.resolve("k0/broken" + i + ".jpg"));
        }
        CommandRun run = CommandRun.of("eval", MODEL, "--data", temp);
        assertThat(run.exit()).isZero();
        assertThat(run.complaints()).hasSize(7);
        assertThat(run.complaints().getFirst()).startsWith("8 images could not be read");
        assertThat(run.complaints().getLast()).isEqualTo("  and 3 more");
    }

    @Test
    void refusesAFolderOfCorruptImages() throws IOException {
        for (int i = 0; i < 10; i++) {
            Fixtures.brokenJpeg(temp.resolve("k" + i).resolve("a.jpg"));
        }
        CommandRun.of("eval", MODEL, "--data", temp).refused(temp.resolve("k"), "none of the 10 images can be read");
        Path output = temp.resolve("q.safetensors");
        CommandRun.of("quantize", MODEL, "--calibration", temp, "--images", 4, "-o", output)
                .refused(temp, "a.jpg", "0 readable images where 4 were asked for");
        assertThat(output).doesNotExist();
    }

    @Test
    void calibratesAroundACorruptImage() throws IOException {
        Fixtures.imageFolder(temp, 3, 1);
        Path broken = Fixtures.brokenJpeg(temp.resolve("k0/broken.jpg"));
        Path output = temp.resolve("q.safetensors");
        CommandRun run = CommandRun.of(
                "quantize",
                MODEL,
                "--calibration",
                temp,
                "--images",
                3,
                "--method",
                "liu2021",
                "--rounds",
                0,
                "-o",
                output,
                "--json");
        // Whether the broken one is drawn is up to the seed; with as many wanted as there are good ones it may be.
        assertThat(run.exit()).isZero();
        assertThat(run.json().path("calibration_images").asInt()).isEqualTo(3);
        int drawn = run.json().path("unreadable").size();
        assertThat(run.complaints().stream()
                        .filter(l -> l.contains(broken.toString()))
                        .count())
                .isEqualTo(drawn);

        Files.delete(output);
        CommandRun.of("quantize", MODEL, "--calibration", temp, "--images", 4, "--strict", "-o", output)
                .refused(broken);
        assertThat(output).doesNotExist();
    }

    @Test
    void asksForNoMoreImagesThanThereAre() {
        Fixtures.imageFolder(temp, 3, 1);
        CommandRun.of("quantize", MODEL, "--calibration", temp, "--images", 5, "-o", temp.resolve("q"))
                .refused(temp, "3 readable images where 5 were asked for", "lower --images to 3");
        assertThat(temp.resolve("q")).doesNotExist();
    }

    @Test
    void namesATextFileCalledJpeg() throws IOException {
        Path text = Files.writeString(temp.resolve("x.jpg"), "hello");
        CommandRun.of("classify", MODEL, text, "--strict").refused(text, "is not an image", "give a JPEG or PNG");
        CommandRun.of("classify", MODEL, text).refused(text, "is not an image", "give a JPEG or PNG");
    }

    @Test
    void classifyWantsImagesInAFolder() throws IOException {
        Path empty = Files.createDirectory(temp.resolve("empty"));
        CommandRun.of("classify", MODEL, empty).refused(empty, "holds no .jpg, .jpeg or .png images");
    }

    @Test
    void labelsTheOthersAroundACorruptImage() throws IOException {
        Path good = Fixtures.image(temp.resolve("good.png"), 1);
        Path broken = Fixtures.brokenJpeg(temp.resolve("broken.jpg"));
        CommandRun run = CommandRun.of("classify", MODEL, broken, good);
        assertThat(run.exit()).isEqualTo(2);
        assertThat(run.out().lines().findFirst()).contains(good.toString());
        assertThat(run.complaints()).hasSize(1);
        assertThat(run.complaints().getFirst()).contains(broken.toString());
    }

    @Test
    void namesABadClassFile() throws IOException {
        Fixtures.imageFolder(temp.resolve("data"), 2, 1);
        Path classes = temp.resolve("classes.txt");
        CommandRun.of("eval", MODEL, "--data", temp.resolve("data"), "--classes", classes)
                .refused(classes, "does not exist");
        Files.writeString(classes, "k0\nk1\n");
        CommandRun.of("eval", MODEL, "--data", temp.resolve("data"), "--classes", classes)
                .refused(classes, "2", "10", "one folder name per line");
        Files.write(classes, new byte[] {(byte) 0xff, 10});
        CommandRun.of("eval", MODEL, "--data", temp.resolve("data"), "--classes", classes)
                .refused(classes, "is not UTF-8 text");
        Files.writeString(classes, "a\nb\nc\nd\ne\nf\ng\nh\nk0\nj\n");
        CommandRun.of("eval", MODEL, "--data", temp.resolve("data"), "--classes", classes)
                .refused(temp.resolve("data"), "k1", "name the folders as the model names its classes");
    }

    @Test
    void namesModelsOfDifferentTasks() {
        Path other = Fixtures.golden("vit_gap_micro");
        CommandRun.of("compare", MODEL, other, "--data", temp)
                .refused(other, "7 classes", "10", "compare models of the same task");
    }
}
