package dev.trivet.cli;

import dev.trivet.format.ModelFile;
import dev.trivet.hub.HubModel;
import dev.trivet.hub.HubSettings;
import dev.trivet.hub.HubSnapshot;
import dev.trivet.hub.ModelHub;
import dev.trivet.model.ImageNetClasses;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitModel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * Finds and reads models and says in a line what they are. MODEL is a path if something is there; else it may be a name on the hub,
 * such as {@code timm/deit_tiny_patch16_224.fb_in1k}, and what the cache lacks of it is fetched.
 */
final class ModelArgument {
    private ModelArgument() {}

    static ModelFile read(CommonOptions common, Path model, @org.jspecify.annotations.Nullable String architecture) {
        return ModelFile.read(resolve(common, model), Optional.ofNullable(architecture));
    }

    /** The path itself, or the folder of the model that it names. */
    static Path resolve(CommonOptions common, Path model) {
        if (Files.exists(model, LinkOption.NOFOLLOW_LINKS)) { // a link that leads nowhere is a path, too
            return model;
        }
        String name = model.toString().replace(model.getFileSystem().getSeparator(), "/");
        return HubModel.parse(name).map(found -> pull(common, found).folder()).orElse(model);
    }

    /** Brings a model into the cache; says on standard error from where, and how it goes. */
    static HubSnapshot pull(CommonOptions common, HubModel model) {
        try (PullProgress progress = new PullProgress(common.err())) {
            return new ModelHub(HubSettings.fromEnvironment().offline(common.offline)).pull(model, progress);
        }
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
