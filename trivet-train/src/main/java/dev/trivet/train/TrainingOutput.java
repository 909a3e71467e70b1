package dev.trivet.train;

import dev.trivet.BadInputException;
import dev.trivet.model.Geometry;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.WindowPadding;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.io.StringWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/** The float model that a training leaves: weights and config as timm publishes them. */
final class TrainingOutput {
    private final Path folder;
    private final Geometry geometry;
    private final Preprocessing preprocessing;
    private final List<String> classNames;

    TrainingOutput(Path folder, Geometry geometry, Preprocessing preprocessing, List<String> classNames) {
        this.folder = folder;
        this.geometry = geometry;
        this.preprocessing = preprocessing;
        this.classNames = List.copyOf(classNames);
    }

    /** @throws BadInputException if a file cannot be written */
    void write(List<Tensor> weights) {
        SafetensorsWriter.write(folder.resolve("model.safetensors"), weights, Map.of("format", "pt"));
        TrainingLog.write(folder.resolve("config.json"), configJson());
    }

    private String configJson() {
        StringWriter text = new StringWriter();
        try (JsonGenerator json = new JsonFactory().createGenerator(ObjectWriteContext.empty(), text)) {
            json.writeStartObject();
            switch (geometry) {
                case VitConfig vit -> write(json, vit);
                case SwinConfig swin -> write(json, swin);
            }
            json.writeNumberProperty("num_classes", geometry.classes());
            writeStrings(json, "label_names", classNames);
            json.writeObjectPropertyStart("pretrained_cfg");
            json.writeArrayPropertyStart("input_size");
            json.writeNumber(geometry.channels());
            json.writeNumber(geometry.imageSize());
            json.writeNumber(geometry.imageSize());
            json.writeEndArray();
            json.writeStringProperty(
                    "interpolation", preprocessing.interpolation().name().toLowerCase(Locale.ROOT));
            json.writeNumberProperty("crop_pct", cropFraction());
            writeFloats(json, "mean", preprocessing.mean());
            writeFloats(json, "std", preprocessing.std());
            json.writeNumberProperty("num_classes", geometry.classes());
            json.writeEndObject();
            json.writeEndObject();
        }
        return text + "\n";
    }

    private static void write(JsonGenerator json, VitConfig config) {
        json.writeStringProperty(
                "architecture", config.distilled() ? "deit_tiny_distilled_patch16_224" : "vit_tiny_patch16_224");
        json.writeNumberProperty("img_size", config.imageSize());
        json.writeNumberProperty("patch_size", config.patchSize());
        json.writeNumberProperty("in_chans", config.channels());
        json.writeNumberProperty("embed_dim", config.width());
        json.writeNumberProperty("depth", config.depth());
        json.writeNumberProperty("num_heads", config.heads());
        writeRatio(json, "mlp_ratio", mlpRatio(config));
        json.writeBooleanProperty("qkv_bias", config.qkvBias());
        json.writeBooleanProperty("class_token", config.classToken());
        json.writeStringProperty("global_pool", config.pooling() == Pooling.TOKEN ? "token" : "avg");
    }

    private static void write(JsonGenerator json, SwinConfig config) {
        json.writeStringProperty("architecture", "swin_tiny_patch4_window7_224");
        json.writeNumberProperty("img_size", config.imageSize());
        json.writeNumberProperty("patch_size", config.patchSize());
        json.writeNumberProperty("in_chans", config.channels());
        json.writeNumberProperty("embed_dim", config.width());
        writeIntegers(json, "depths", config.depths());
        writeIntegers(json, "num_heads", config.heads());
        json.writeNumberProperty("window_size", config.window());
        writeRatio(json, "mlp_ratio", config.mlpRatio());
        json.writeBooleanProperty("qkv_bias", config.qkvBias());
        json.writeBooleanProperty("ape", config.absolutePositions());
    }

    /** @throws IllegalArgumentException if the written config would not describe this model and preprocessing */
    static void requireDescribable(Geometry geometry, Preprocessing preprocessing) {
        if (preprocessing.fit() != Preprocessing.Fit.SHORT_SIDE) {
            throw new IllegalArgumentException("timm's config cannot say that images are squashed to a square");
        }
        boolean same = switch (geometry) {
            case VitConfig vit -> vit.layerNormEpsilon() == 1e-6f;
            case SwinConfig swin -> swin.layerNormEpsilon() == 1e-5f;
        };
        if (!same) {
            throw new IllegalArgumentException("timm's config cannot say another epsilon of LayerNorm than timm's");
        }
        if (geometry instanceof SwinConfig swin && swin.padding() != WindowPadding.AFTER_SHIFT) {
            throw new IllegalArgumentException("timm's config cannot say that maps are padded before the shift");
        }
    }

    /** Of the ratios near {@code mlpWidth / width}, one from which timm's {@code int(width * ratio)} finds the width again. */
    private static double mlpRatio(VitConfig config) {
        double ratio = (double) config.mlpWidth() / config.width();
        return (int) (config.width() * ratio) < config.mlpWidth() ? Math.nextUp(ratio) : ratio;
    }

    /** Likewise for timm's {@code floor(imageSize / fraction)}. */
    private double cropFraction() {
        double fraction = (double) preprocessing.imageSize() / preprocessing.resize();
        return Math.floor(preprocessing.imageSize() / fraction) < preprocessing.resize()
                ? Math.nextDown(fraction)
                : fraction;
    }

    private static void writeRatio(JsonGenerator json, String name, double ratio) {
        if (ratio == Math.rint(ratio)) {
            json.writeNumberProperty(name, (int) ratio);
        } else {
            json.writeNumberProperty(name, ratio);
        }
    }

    private static void writeStrings(JsonGenerator json, String name, List<String> values) {
        json.writeArrayPropertyStart(name);
        values.forEach(json::writeString);
        json.writeEndArray();
    }

    private static void writeIntegers(JsonGenerator json, String name, List<Integer> values) {
        json.writeArrayPropertyStart(name);
        values.forEach(json::writeNumber);
        json.writeEndArray();
    }

    private static void writeFloats(JsonGenerator json, String name, List<Float> values) {
        json.writeArrayPropertyStart(name);
        values.forEach(value -> json.writeNumber(value.floatValue()));
        json.writeEndArray();
    }
}
