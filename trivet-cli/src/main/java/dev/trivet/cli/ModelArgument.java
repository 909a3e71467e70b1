package dev.trivet.cli;

import dev.trivet.format.ModelFile;
import dev.trivet.model.ImageNetClasses;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitModel;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;

/** Reads models and says in a line what they are. */
final class ModelArgument {
    private ModelArgument() {}

    static ModelFile read(Path path, @org.jspecify.annotations.Nullable String architecture) {
        return ModelFile.read(path, Optional.ofNullable(architecture));
    }

    /** Such as {@code deit_tiny_patch16_224, W8A8}. */
    static String describe(VitModel model) {
        return model.config().architecture() + ", " + precision(model);
    }

    /** {@code float32}, {@code W8A8}, or the widths that occur. */
    static String precision(VitModel model) {
        if (!model.isQuantized()) {
            return "float32";
        }
        String weights = model.linears().values().stream()
                .map(l -> l instanceof LinearLayer.Quantized q ? String.valueOf(q.bits()) : "32")
                .distinct()
                .sorted()
                .collect(Collectors.joining("/"));
        String activations = model.linears().values().stream()
                .map(l -> l instanceof LinearLayer.Quantized q
                        ? String.valueOf(q.input().bits())
                        : "32")
                .distinct()
                .sorted()
                .collect(Collectors.joining("/"));
        return "W" + weights + "A" + activations;
    }

    /** Labels to store with a model: its own, or ImageNet's where it has as many classes and names none. */
    static List<String> labels(ModelConfig config) {
        boolean imageNet = config.labels().isEmpty() && config.geometry().classes() == ImageNetClasses.COUNT;
        return imageNet ? ImageNetClasses.names() : config.labels();
    }

    static String describe(Preprocessing p) {
        return String.format(
                Locale.ROOT,
                "short side %d %s, centre crop %d, mean %s, std %s",
                p.resize(),
                p.interpolation().name().toLowerCase(Locale.ROOT),
                p.imageSize(),
                p.mean(),
                p.std());
    }
}
