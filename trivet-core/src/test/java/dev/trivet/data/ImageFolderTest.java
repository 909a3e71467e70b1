package dev.trivet.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.image.RgbImage;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ImageFolderTest {
    @TempDir
    Path root;

    @Test
    void labelsImagesByTheirFolder() throws IOException {
        touch("zebra/2.PNG", "zebra/10.jpg", "cat/b.JPEG", "cat/a.jpeg", "ant/x.JPG");
        ImageFolder images = ImageFolder.open(root);
        assertThat(images.classNames()).containsExactly("ant", "cat", "zebra");
        assertThat(names(images))
                .containsExactly("ant/x.JPG", "cat/a.jpeg", "cat/b.JPEG", "zebra/10.jpg", "zebra/2.PNG");
        assertThat(labels(images)).containsExactly(0, 1, 1, 2, 2);
        assertThat(images.path(1)).isEqualTo(root.resolve("cat/a.jpeg"));
    }

    @Test
    void leavesOutHiddenAndOtherFiles() throws IOException {
        touch("a/1.jpg", "a/.hidden.jpg", "a/notes.txt", "a/jpg", "a/._1.jpg", ".git/x.jpg", "readme.md", "loose.jpg");
        ImageFolder images = ImageFolder.open(root);
        assertThat(images.classNames()).containsExactly("a");
        assertThat(names(images)).containsExactly("a/1.jpg");
    }

    @Test
    void looksBelowClassFolders() throws IOException {
        touch("a/z.jpg", "a/part/b.jpg", "a/part/a.jpg", "a/.cache/c.jpg");
        // As torchvision: the folder's own files first, then the folders below.
        assertThat(names(ImageFolder.open(root))).containsExactly("a/z.jpg", "a/part/a.jpg", "a/part/b.jpg");
    }

    @Test
    void readsTheImages() throws IOException {
        Files.createDirectories(root.resolve("a"));
        try (InputStream in =
                Objects.requireNonNull(ImageFolderTest.class.getResourceAsStream("/fixtures/images/png_rgb.png"))) {
            Files.copy(in, root.resolve("a/1.png"));
        }
        touch("a/2.jpg");
        ImageFolder images = ImageFolder.open(root);
        RgbImage image = images.read(0);
        assertThat(image.width()).isEqualTo(41);
        assertThat(image.height()).isEqualTo(30);
        assertRefused(() -> images.read(1), images.name(1), "is empty");
    }

    @Test
    void followsAModelsClassOrder() throws IOException {
        touch("cat/1.jpg", "dog/1.jpg", "dog/2.jpg");
        ImageFolder images = ImageFolder.open(root).relabelled(List.of("dog", "mouse", "cat"));
        assertThat(images.classNames()).containsExactly("dog", "mouse", "cat");
        assertThat(names(images)).containsExactly("cat/1.jpg", "dog/1.jpg", "dog/2.jpg");
        assertThat(labels(images)).containsExactly(2, 0, 0);
    }

    @Test
    void namesUpToThreeUnknownClasses() throws IOException {
        touch("a/1.jpg", "b/1.jpg", "c/1.jpg", "d/1.jpg", "e/1.jpg");
        ImageFolder images = ImageFolder.open(root);
        assertRefused(
                () -> images.relabelled(List.of("cat", "c")),
                root.toString(),
                "4 class folders (a, b, d, ...) are not among the model's 2 classes; "
                        + "name the folders as the model names its classes, for example cat");
        assertRefused(
                () -> images.relabelled(List.of("a", "b", "c", "d")),
                root.toString(),
                "class folder e is not among the model's 4 classes");
    }

    @Test
    void refusesWhatIsNoFolder() throws IOException {
        touch("file.jpg");
        for (String method : List.of("open", "unlabelled")) {
            assertRefused(() -> make(method, root.resolve("missing")), "missing", "does not exist; check the path");
            assertRefused(() -> make(method, root.resolve("file.jpg")), "file.jpg", "is a file, not a folder");
        }
    }

    @Test
    void saysHowToLayImagesOut() throws IOException {
        assertRefused(() -> ImageFolder.open(root), root.toString(), "is empty");
        touch(".hidden/1.jpg");
        assertRefused(() -> ImageFolder.open(root), root.toString(), "is empty");
        touch("1.jpg");
        assertRefused(
                () -> ImageFolder.open(root),
                root.toString(),
                "holds images but no class folders; make one folder per class");
    }

    @Test
    void refusesClassFoldersWithoutImages() throws IOException {
        touch("a/1.jpg", "b/notes.txt");
        assertRefused(
                () -> ImageFolder.open(root), root.toString(), "class folder b holds no .jpg, .jpeg or .png images");
        Files.createDirectories(root.resolve("c"));
        assertRefused(() -> ImageFolder.open(root), root.toString(), "2 class folders (b, c) hold no");
    }

    @Test
    void listsAnyLayoutWithoutLabels() throws IOException {
        touch("2.jpg", "1.png", "a/deep/3.jpg", "b/.hidden/4.jpg", "b/5.txt");
        ImageFolder images = ImageFolder.unlabelled(root);
        assertThat(names(images)).containsExactly("1.png", "2.jpg", "a/deep/3.jpg");
        assertThat(labels(images)).containsOnly(0);
        assertThat(images.classNames()).hasSize(1);
    }

    @Test
    void unlabelledFoldersNeedImages() throws IOException {
        touch("notes.txt");
        assertRefused(() -> ImageFolder.unlabelled(root), root.toString(), "holds no .jpg, .jpeg or .png images");
    }

    @Test
    void cutsLoopsOfLinks() throws IOException {
        touch("a/1.jpg", "b/2.jpg");
        link("a/up", root);
        link("b/self", root.resolve("b"));
        assertThat(names(ImageFolder.unlabelled(root))).containsExactly("a/1.jpg", "b/2.jpg");
    }

    @Test
    void followsLinksToFoldersAndFiles(@TempDir Path elsewhere) throws IOException {
        Files.createFile(elsewhere.resolve("1.jpg"));
        link("a", elsewhere);
        Files.createDirectories(root.resolve("b"));
        link("b/2.jpg", elsewhere.resolve("1.jpg"));
        link("b/3.jpg", elsewhere.resolve("gone.jpg"));
        ImageFolder images = ImageFolder.open(root);
        assertThat(names(images)).containsExactly("a/1.jpg", "b/2.jpg", "b/3.jpg");
        assertRefused(() -> images.read(2), images.name(2), "does not exist");
    }

    private static ImageFolder make(String method, Path folder) {
        return method.equals("open") ? ImageFolder.open(folder) : ImageFolder.unlabelled(folder);
    }

    private void touch(String... files) throws IOException {
        for (String file : files) {
            Path path = root.resolve(file);
            Files.createDirectories(Objects.requireNonNull(path.getParent()));
            Files.createFile(path);
        }
    }

    private void link(String name, Path target) throws IOException {
        try {
            Files.createSymbolicLink(root.resolve(name), target);
        } catch (UnsupportedOperationException e) {
            Assumptions.abort("no symbolic links here");
        }
    }

    private List<String> names(ImageFolder images) {
        return IntStream.range(0, images.size())
                .mapToObj(
                        i -> root.relativize(Path.of(images.name(i))).toString().replace('\\', '/'))
                .toList();
    }

    private static List<Integer> labels(ImageFolder images) {
        return IntStream.range(0, images.size()).mapToObj(images::label).toList();
    }

    private static void assertRefused(ThrowingCallable call, String name, String problem) {
        assertThatThrownBy(call)
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(name)
                .hasMessageContaining(problem);
    }
}
