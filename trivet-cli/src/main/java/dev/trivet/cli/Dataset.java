package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.ImageFolder;
import dev.trivet.data.LabelledImages;
import dev.trivet.model.ImageNetClasses;
import dev.trivet.model.ModelConfig;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;

/**
 * A labelled folder with its classes numbered as the model numbers them. A wrong order would silently ruin every figure, so
 * nothing is guessed: the order comes from {@code --classes}, from the model's own labels, from ImageNet's WordNet ids where
 * the folders bear such names, or from the sorted folder names where there are exactly as many as classes.
 */
final class Dataset {
    private Dataset() {}

    static LabelledImages open(Path root, ModelConfig config, @org.jspecify.annotations.Nullable Path classes) {
        if (PackedDataset.isPacked(root)) {
            if (classes != null) {
                throw new BadInputException(root, "holds files that number their classes", "leave --classes out");
            }
            return PackedDataset.test(root, config);
        }
        ImageFolder folder = ImageFolder.open(root);
        int wanted = config.geometry().classes();
        if (classes != null) {
            return folder.relabelled(read(classes, wanted, folder));
        }
        if (!config.labels().isEmpty() && new HashSet<>(config.labels()).containsAll(folder.classNames())) {
            return folder.relabelled(config.labels());
        }
        if (wanted == ImageNetClasses.COUNT && new HashSet<>(ImageNetClasses.ids()).containsAll(folder.classNames())) {
            return folder.relabelled(ImageNetClasses.ids());
        }
        boolean named = !config.labels().isEmpty() || wanted == ImageNetClasses.COUNT;
        if (!named && folder.classNames().size() == wanted) {
            return folder;
        }
        throw new BadInputException(
                root,
                folder.classNames().size() == wanted
                        ? "has folders that do not bear the names of the model's classes"
                        : "has " + folder.classNames().size() + " class folders where the model has " + wanted
                                + " classes",
                "give the model's class order with --classes FILE, one folder name per line");
    }

    /** One class per line; unless folders here have blanks in their names, what follows the first blank is a comment. */
    private static List<String> read(Path file, int wanted, ImageFolder folder) {
        boolean blanks = folder.classNames().stream().anyMatch(name -> name.contains(" "));
        try {
            List<String> names = Files.readAllLines(file, StandardCharsets.UTF_8).stream()
                    .map(String::strip)
                    .filter(line -> !line.isEmpty())
                    .map(line -> blanks ? line : line.split("\\s", 2)[0])
                    .toList();
            if (names.size() != wanted || new HashSet<>(names).size() != wanted) {
                throw new BadInputException(
                        file,
                        "names " + new HashSet<>(names).size() + " different classes in " + names.size()
                                + " lines where the model has " + wanted,
                        "give one folder name per line, in class order");
            }
            return names;
        } catch (IOException e) {
            throw new BadInputException(
                    file, "cannot be read (" + BadInputException.reason(e) + ")", "check the path", e);
        }
    }
}
