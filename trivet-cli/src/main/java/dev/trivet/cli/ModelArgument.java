package dev.trivet.cli;

import dev.trivet.format.MappedModel;
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
import dev.trivet.model.VitTensors;
import dev.trivet.quant.WeightCoding;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Finds and reads models and says in a line what they are. MODEL is a path if something is there; else it may be a name on the hub,
 * such as {@code timm/deit_tiny_patch16_224.fb_in1k}, and what the cache lacks of it is fetched.
 */
final class ModelArgument {
    private ModelArgument() {}

    static ModelFile read(OutputOptions common, Path model, SourceOptions source) {
        return read(common, model, source.architecture(), source.imageSize());
    }

    static ModelFile read(OutputOptions common, Path model, Optional<String> architecture, OptionalInt imageSize) {
        return ModelFile.read(resolve(common, model), architecture, imageSize);
    }

    /** To be compiled and then closed. */
    static MappedModel map(OutputOptions common, Path model, SourceOptions source) {
        return MappedModel.open(resolve(common, model), source.architecture(), source.imageSize());
    }

    /** The path itself, or the folder of the model that it names. */
    static Path resolve(OutputOptions common, Path model) {
        if (Files.exists(model, LinkOption.NOFOLLOW_LINKS)) { // a link that leads nowhere is a path, too
            return model;
        }
        String name = model.toString().replace(model.getFileSystem().getSeparator(), "/");
        return HubModel.parse(name).map(found -> pull(common, found).folder()).orElse(model);
    }

    /** Brings a model into the cache; says on standard error from where, and how it goes. */
    static HubSnapshot pull(OutputOptions common, HubModel model) {
        try (PullProgress progress = new PullProgress(common.err())) {
            return new ModelHub(HubSettings.fromEnvironment().offline(common.offline)).pull(model, progress);
        }
    }

    /** Such as {@code deit_tiny_patch16_224, W8A8}. */
    static String describe(VitModel model) {
        return model.config().architecture() + ", " + precision(model);
    }

    /**
     * {@code float32}, or the bits of weights and of activations, attention operands among them: {@code W8A8}, or
     * {@code W4/8A4/8} where several widths occur, of which 32 is float; {@code Wternary/8A8} where some weights are ternary.
     */
    static String precision(VitModel model) {
        if (!model.isQuantized()) {
            return "float32";
        }
        SortedSet<WeightCoding> weights = new TreeSet<>();
        SortedSet<Integer> activations = new TreeSet<>();
        for (LinearLayer layer : model.linears().values()) {
            switch (layer) {
                case LinearLayer.Float32 _ -> activations.add(Float.SIZE);
                case LinearLayer.Quantized q -> {
                    weights.add(q.coding());
                    activations.add(q.input().bits());
                }
            }
        }
        model.matmuls().values().forEach(q -> {
            activations.add(q.left().bits());
            activations.add(q.right().bits());
        });
        if (model.matmuls().size() < VitTensors.of(model.geometry()).products().size()) {
            activations.add(Float.SIZE);
        }
        boolean floats = model.linears().values().stream().anyMatch(LinearLayer.Float32.class::isInstance);
        Stream<Object> all = Stream.concat(weights.stream(), floats ? Stream.of(Float.SIZE) : Stream.of());
        return "W" + joined(all) + "A" + joined(activations.stream());
    }

    private static String joined(Stream<?> widths) {
        return widths.map(String::valueOf).collect(Collectors.joining("/"));
    }

    /** Labels to store with a model: its own, or ImageNet's where it has as many classes and names none. */
    static List<String> labels(ModelConfig config) {
        boolean imageNet = config.labels().isEmpty() && config.geometry().classes() == ImageNetClasses.COUNT;
        return imageNet ? ImageNetClasses.names() : config.labels();
    }

    static String describe(Preprocessing p) {
        return String.format(
                Locale.ROOT,
                "%s %d %s, centre crop %d, mean %s, std %s",
                p.fit() == Preprocessing.Fit.SQUASH ? "squashed to" : "short side",
                p.resize(),
                p.interpolation().name().toLowerCase(Locale.ROOT),
                p.imageSize(),
                p.mean(),
                p.std());
    }
}
