package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.CifarImages;
import dev.trivet.data.IdxImages;
import dev.trivet.data.LabelledImages;
import dev.trivet.model.ModelConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * A folder with many images in a file, which number their classes: the four files of MNIST's layout, plain or gzip, {@code train-} and
 * {@code t10k-} images and labels; or CIFAR-10's binary version.
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
        LabelledImages images = CifarImages.isIn(root) ? CifarImages.test(root) : IdxImages.test(root, config.labels());
        return checked(root, images, config);
    }

    /** The training split, classes named as the model names them. */
    static LabelledImages train(Path root, ModelConfig config) {
        LabelledImages images =
                CifarImages.isIn(root) ? CifarImages.train(root) : IdxImages.train(root, config.labels());
        return checked(root, images, config);
    }

    private static LabelledImages checked(Path root, LabelledImages images, ModelConfig config) {
        int classes = images.classNames().size();
        if (classes > config.geometry().classes()) {
            throw new BadInputException(
                    root,
                    "has " + classes + " classes where the model has "
                            + config.geometry().classes(),
                    "give a model of this task");
        }
        return images;
    }

    /** The training split; labels are numbers. */
    static LabelledImages train(Path root) {
        return CifarImages.isIn(root) ? CifarImages.train(root) : IdxImages.train(root, List.of());
    }
}
