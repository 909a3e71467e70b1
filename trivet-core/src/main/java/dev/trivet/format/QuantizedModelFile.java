package dev.trivet.format;

import dev.trivet.BadInputException;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import dev.trivet.quant.WeightCoding;
import dev.trivet.tensor.DType;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The quantized-model file ({@code docs/format.md}): a safetensors file whose metadata says what the model is, how each operator
 * is quantized and where it came from. It needs no config beside it. Weight codes take their true width ({@link BitPacking},
 * {@link TernaryPacking}).
 * Reading checks everything against the geometry and rejects what it does not know.
 */
public final class QuantizedModelFile {
    /** Version of files without ternary layers. Version 1 is read, too; it has a byte for each code. */
    public static final int VERSION = 2;

    /** Version of files with ternary layers, which readers of version 2 cannot expand. */
    public static final int TERNARY_VERSION = 3;

    private static final String VERSION_KEY = "trivet.format";
    private static final String MODEL_KEY = "trivet.model";
    private static final String PLAN_KEY = "trivet.plan";
    private static final String PROVENANCE_KEY = "trivet.provenance";
    private static final String ASKED_KEY = "trivet.provenance.plan";
    private static final String REPORT_KEY = "trivet.provenance.report";

    /** A layer's scales are named after it. */
    static final String SCALE = ".weight_scale";

    static final String FACTOR = ".input_factor";
    static final String OFFSET = ".input_offset";

    /** Only a process that writes makes a mapper, which takes a tenth of a second of one that has just started. */
    private static final class Writing {
        static final JsonMapper JSON = JsonMapper.builder()
                .addMixIn(ActivationQuantizer.class, OperatorPlans.QuantizerFormat.class)
                .addMixIn(OperatorPlans.Matmul.class, OperatorPlans.MatmulFormat.class)
                .build();
    }

    private QuantizedModelFile() {}

    /**
     * A model with its origin.
     *
     * @param version of the file
     */
    public record Contents(int version, VitModel model, Provenance provenance) {}

    /** Whether a safetensors file says that it is a quantized model. */
    public static boolean isQuantized(SafetensorsFile file) {
        return file.metadata().containsKey(VERSION_KEY);
    }

    /** Bytes that a layer's codes take in a file of that version. */
    public static long codeBytes(LinearLayer.Quantized layer, int version) {
        int row = isPacked(version, layer.coding()) ? bytesPerRow(layer.inputs(), layer.coding()) : layer.inputs();
        return (long) layer.outputs() * row;
    }

    /** Bytes that the codes of one output channel take in a file that this class writes. */
    public static int bytesPerRow(int inputs, WeightCoding coding) {
        return coding == WeightCoding.TERNARY
                ? TernaryPacking.bytesPerRow(inputs)
                : BitPacking.bytesPerRow(inputs, coding.bits());
    }

    /** Bytes that a layer's weight scales take in a file. */
    public static long scaleBytes(LinearLayer.Quantized layer) {
        return (long) scaleType(layer).bytes() * layer.scales().length;
    }

    /** Version of the file that a model is written to. */
    public static int version(VitModel model) {
        return model.linears().values().stream()
                        .anyMatch(layer -> layer instanceof LinearLayer.Quantized q && q.isTernary())
                ? TERNARY_VERSION
                : VERSION;
    }

    /** At 8 bits packed codes are plain bytes, and stored under the type that says so. */
    static boolean isPacked(int version, WeightCoding coding) {
        return version > 1 && coding != WeightCoding.BITS_8;
    }

    /** A ternary layer's scales take two bytes where that loses nothing ({@link dev.trivet.quant.TernaryWeights#storedScale}). */
    private static DType scaleType(LinearLayer.Quantized layer) {
        if (!layer.isTernary()) {
            return DType.F32;
        }
        for (float scale : layer.scales()) {
            if (Float.float16ToFloat(Float.floatToFloat16(scale)) != scale) {
                return DType.F32;
            }
        }
        return DType.F16;
    }

    /**
     * Writes the file, or leaves what was there.
     *
     * @throws BadInputException if it cannot be written
     */
    public static void write(Path file, VitModel model, Provenance provenance) {
        List<Tensor> tensors = new ArrayList<>();
        List<OperatorPlans.Linear> linears = new ArrayList<>();
        VitTensors wanted = VitTensors.of(model.geometry());
        for (VitTensors.Linear spec : wanted.linears()) {
            LinearLayer layer = model.linear(spec.name());
            // Quantizing may give a bias to a layer that had none.
            if (spec.bias() || hasNonzero(layer.bias())) {
                tensors.add(Tensor.ofFloats(spec.biasName(), layer.bias(), spec.outputs()));
            }
            switch (layer) {
                case LinearLayer.Float32 l ->
                    tensors.add(Tensor.ofFloats(spec.weight(), l.weight(), l.outputs(), l.inputs()));
                case LinearLayer.Quantized l -> {
                    tensors.add(codes(spec.weight(), l));
                    tensors.add(scales(l));
                    l.equalization().ifPresent(all -> {
                        // The inputs of a patch embedding are pixels of few colours.
                        ChannelAffine change = all.grouped(model.geometry().channels());
                        tensors.add(Tensor.ofFloats(l.name() + FACTOR, change.factor(), change.channels()));
                        tensors.add(Tensor.ofFloats(l.name() + OFFSET, change.offset(), change.channels()));
                    });
                    linears.add(OperatorPlans.Linear.of(l));
                }
            }
        }
        wanted.floats()
                .forEach((name, shape) -> tensors.add(Tensor.ofFloats(
                        name,
                        model.floats(name),
                        shape.stream().mapToLong(Long::longValue).toArray())));
        List<OperatorPlans.Matmul> matmuls = new ArrayList<>();
        model.matmuls()
                .forEach((name, q) -> matmuls.add(new OperatorPlans.Matmul(name, q.left(), q.right(), q.normalized())));
        Map<String, String> metadata = new HashMap<>();
        metadata.put(VERSION_KEY, String.valueOf(version(model)));
        metadata.put(MODEL_KEY, Writing.JSON.writeValueAsString(ConfigJson.of(Writing.JSON, model.config())));
        metadata.put(PLAN_KEY, Writing.JSON.writeValueAsString(new OperatorPlans(linears, matmuls)));
        metadata.put(PROVENANCE_KEY, Writing.JSON.writeValueAsString(provenance.facts()));
        provenance.plan().ifPresent(document -> metadata.put(ASKED_KEY, document));
        provenance.report().ifPresent(document -> metadata.put(REPORT_KEY, document));
        SafetensorsWriter.write(file, tensors, metadata);
    }

    private static Tensor codes(String name, LinearLayer.Quantized layer) {
        int outputs = layer.outputs();
        int inputs = layer.inputs();
        if (layer.coding() == WeightCoding.BITS_8) {
            return new Tensor(name, DType.I8, List.of((long) outputs, (long) inputs), layer.codes());
        }
        byte[] packed = layer.isTernary()
                ? TernaryPacking.pack(layer.codes(), outputs, inputs)
                : BitPacking.pack(layer.codes(), outputs, inputs, layer.bits());
        return Tensor.ofBytes(name, DType.U8, packed, outputs, bytesPerRow(inputs, layer.coding()));
    }

    private static Tensor scales(LinearLayer.Quantized layer) {
        String name = layer.name() + SCALE;
        float[] scales = layer.scales();
        return scaleType(layer) == DType.F16
                ? Tensor.ofHalves(name, scales, scales.length)
                : Tensor.ofFloats(name, scales, scales.length);
    }

    private static boolean hasNonzero(float[] values) {
        for (float v : values) {
            if (v != 0) {
                return true;
            }
        }
        return false;
    }

    /**
     * Reads a quantized model; the result does not need the file any more.
     *
     * @throws BadInputException if the file is of another version, contradicts itself, or lacks or adds anything
     */
    public static Contents read(SafetensorsFile file) {
        return read(file, Optional.empty());
    }

    /**
     * Reads a quantized model without copying what need not be copied.
     *
     * @param memory owns codes that the file holds in another form; the others are the file's own bytes, so the model is for as long as both
     *     file and memory are open. Without it codes are copied to the heap
     */
    static Contents read(SafetensorsFile file, Optional<Arena> memory) {
        Path path = file.file();
        int version = version(file);
        try {
            ModelConfig config = ConfigJson.read(object(file, MODEL_KEY));
            OperatorPlans plans = OperatorPlans.read(object(file, PLAN_KEY));
            Map<String, String> facts = new LinkedHashMap<>();
            object(file, PROVENANCE_KEY)
                    .properties()
                    .forEach(fact -> facts.put(fact.getKey(), fact.getValue().asString()));
            Provenance provenance = new Provenance(
                    facts,
                    Optional.ofNullable(file.metadata().get(ASKED_KEY)),
                    Optional.ofNullable(file.metadata().get(REPORT_KEY)));
            VitModel model = new QuantizedModelReader(file, version, config, plans, memory).model();
            return new Contents(version, model, provenance);
        } catch (JacksonException e) {
            throw damaged(path, String.valueOf(e.getOriginalMessage()), e);
        } catch (IllegalArgumentException e) {
            throw damaged(path, String.valueOf(e.getMessage()), e);
        }
    }

    private static int version(SafetensorsFile file) {
        String version = file.metadata().getOrDefault(VERSION_KEY, "none");
        return switch (version) {
            case "1" -> 1;
            case "2" -> VERSION;
            case "3" -> TERNARY_VERSION;
            default ->
                throw new BadInputException(
                        file.file(),
                        "has format version " + version + " where this Trivet reads 1 to 3",
                        "quantize the model again or use the Trivet that wrote it");
        };
    }

    private static BadInputException damaged(Path path, String reason, Throwable cause) {
        return new BadInputException(
                path, "is not a sound quantized model (" + reason + ")", "quantize the model again", cause);
    }

    private static JsonNode object(SafetensorsFile file, String key) {
        String text = file.metadata().get(key);
        if (text == null) {
            throw new IllegalArgumentException("no " + key);
        }
        JsonNode node = JsonTree.parse(text);
        if (!node.isObject()) {
            throw new IllegalArgumentException(key + " is no JSON object");
        }
        return node;
    }
}
