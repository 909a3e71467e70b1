package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.IdxImages;
import dev.trivet.data.LabelledImages;
import dev.trivet.model.ModelConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** A folder with the four files of MNIST's layout, plain or gzip: {@code train-} and {@code t10k-} images and labels. */
final class IdxDataset {
    private IdxDataset() {}

    static boolean isIdx(Path root) {
        return find(root, "train-images-idx3-ubyte").isPresent()
                || find(root, "t10k-images-idx3-ubyte").isPresent();
    }

    /** The test split, classes named as the model names them. */
    static LabelledImages test(Path root, ModelConfig config) {
        LabelledImages images = open(root, "t10k", config.labels());
        if (images.classNames().size() > config.geometry().classes()) {
            throw new BadInputException(
                    root,
                    "has " + images.classNames().size() + " classes where the model has "
                            + config.geometry().classes(),
                    "evaluate a model of this task");
        }
        return images;
    }

    static LabelledImages test(Path root) {
        return open(root, "t10k", List.of());
    }

    static LabelledImages train(Path root) {
        return open(root, "train", List.of());
    }

    static LabelledImages open(Path root, String split, List<String> classNames) {
        return IdxImages.open(
                require(root, split + "-images-idx3-ubyte"), require(root, split + "-labels-idx1-ubyte"), classNames);
    }

    private static Path require(Path root, String name) {
        return find(root, name)
                .orElseThrow(() -> new BadInputException(
                        root, "has no " + name + " or " + name + ".gz", "give a folder with the whole set"));
    }

    private static Optional<Path> find(Path root, String name) {
        Path plain = root.resolve(name);
        Path packed = root.resolve(name + ".gz");
        return Files.isRegularFile(plain)
                ? Optional.of(plain)
                : Files.isRegularFile(packed) ? Optional.of(packed) : Optional.empty();
    }
}
