package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.IdxImages;
import dev.trivet.data.LabelledImages;
import dev.trivet.model.ModelConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** A folder with the four files of MNIST's layout, plain or gzip: {@code train-} and {@code t10k-} images and labels. */
final class IdxDataset {
    private IdxDataset() {}

    static boolean isIdx(Path root) {
        return has(root, "train-images-idx3-ubyte") || has(root, "t10k-images-idx3-ubyte");
    }

    private static boolean has(Path root, String name) {
        return Files.isRegularFile(root.resolve(name)) || Files.isRegularFile(root.resolve(name + ".gz"));
    }

    /** The test split, classes named as the model names them. */
    static LabelledImages test(Path root, ModelConfig config) {
        LabelledImages images = IdxImages.test(root, config.labels());
        int classes = images.classNames().size();
        if (classes > config.geometry().classes()) {
            throw new BadInputException(
                    root,
                    "has " + classes + " classes where the model has "
                            + config.geometry().classes(),
                    "evaluate a model of this task");
        }
        return images;
    }

    /** The training split; labels are numbers. */
    static LabelledImages train(Path root) {
        return IdxImages.train(root, List.of());
    }
}
