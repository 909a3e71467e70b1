package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.CifarImages;
import dev.trivet.data.IdxImages;
import dev.trivet.data.LabelledImages;
import dev.trivet.model.ModelConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;

/**
 * A folder with many images in a file, which number their classes: the four files of MNIST's layout, plain or gzip, {@code train-} and
 * {@code t10k-} images and labels; or CIFAR-10's.
 */
final class PackedDataset {
    private PackedDataset() {}

    static boolean isPacked(Path root) {
        return has(root, "train-images-idx3-ubyte") || has(root, "t10k-images-idx3-ubyte") || CifarImages.isIn(root);
    }

    private static boolean has(Path root, String name) {
        return Files.isRegularFile(root.resolve(name)) || Files.isRegularFile(root.resolve(name + ".gz"));
    }

    /** The test split, classes named as the model names them. */
    static LabelledImages test(Path root, ModelConfig config) {
        return CifarImages.isIn(root)
                ? cifar(root, CifarImages.test(root), config)
                : idx(root, IdxImages.test(root, config.labels()), config);
    }

    /** The training split, classes named as the model names them. */
    static LabelledImages train(Path root, ModelConfig config) {
        return CifarImages.isIn(root)
                ? cifar(root, CifarImages.train(root), config)
                : idx(root, IdxImages.train(root, config.labels()), config);
    }

    /** The files name their ten classes in one order, which must be the model's. Other words for the classes are let be. */
    private static LabelledImages cifar(Path root, LabelledImages images, ModelConfig config) {
        List<String> names = images.classNames();
        if (names.size() != config.geometry().classes()) {
            throw wrongCount(root, names.size(), config);
        }
        List<String> labels = config.labels();
        if (!labels.equals(names) && new HashSet<>(labels).equals(new HashSet<>(names))) {
            throw new BadInputException(
                    root,
                    "numbers its classes " + String.join(", ", names) + " where the model has the order "
                            + String.join(", ", labels),
                    "give the images in folders that bear the names of their classes");
        }
        return images;
    }

    /** The files do not say how many classes there are, only which numbers are used. */
    private static LabelledImages idx(Path root, LabelledImages images, ModelConfig config) {
        int classes = images.classNames().size();
        if (classes > config.geometry().classes()) {
            throw wrongCount(root, classes, config);
        }
        return images;
    }

    private static BadInputException wrongCount(Path root, int classes, ModelConfig config) {
        return new BadInputException(
                root,
                "has " + classes + " classes where the model has "
                        + config.geometry().classes(),
                "give a model of this task");
    }

    /** Names of the classes that the files number; the numbers themselves where nothing names them. */
    static List<String> classNames(Path root) {
        return CifarImages.isIn(root)
                ? CifarImages.CLASSES
                : IdxImages.train(root, List.of()).classNames();
    }

    /** The training split; labels are numbers. */
    static LabelledImages train(Path root) {
        return CifarImages.isIn(root) ? CifarImages.train(root) : IdxImages.train(root, List.of());
    }
}
