package dev.trivet.format;

import dev.trivet.BadInputException;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.tensor.DType;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/**
 * The quantized-model file, version 1 ({@code docs/format.md}): a safetensors file whose metadata says what the model is, how
 * each operator is quantized and where it came from. It needs no config beside it. Reading checks everything against the
 * geometry and rejects what it does not know.
 */
public final class QuantizedModelFile {
    /** Version that this class writes and reads. */
    public static final String VERSION = "1";

    private static final String VERSION_KEY = "trivet.format";
    private static final String MODEL_KEY = "trivet.model";
    private static final String PLAN_KEY = "trivet.plan";
    private static final String PROVENANCE_KEY = "trivet.provenance";
    private static final String SCALE = ".weight_scale";

    private static final JsonMapper JSON = JsonMapper.builder()
            .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
            .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
            .enable(DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES)
            .enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
            .build();

    private QuantizedModelFile() {}

    /** A model with its origin. */
    public record Contents(VitModel model, Provenance provenance) {}

    /** How one linear layer is quantized; its weight scales are a tensor of their own. */
    record LinearPlan(String name, int weightBits, ActivationQuantizer input) {}

    /** How one attention product is quantized. */
    record MatmulPlan(String name, ActivationQuantizer left, ActivationQuantizer right) {}

    record Plan(List<LinearPlan> linears, List<MatmulPlan> matmuls) {
        /** @throws IllegalArgumentException if an entry is null, which JSON can say */
        Plan {
            if (Stream.concat(linears.stream(), matmuls.stream()).anyMatch(Objects::isNull)) {
                throw new IllegalArgumentException("a plan is null");
            }
        }
    }

    /** Whether a safetensors file says that it is a quantized model. */
    public static boolean isQuantized(SafetensorsFile file) {
        return file.metadata().containsKey(VERSION_KEY);
    }

    /**
     * Writes the file, or leaves what was there.
     *
     * @throws BadInputException if it cannot be written
     */
    public static void write(Path file, VitModel model, Provenance provenance) {
        List<Tensor> tensors = new ArrayList<>();
        List<LinearPlan> linears = new ArrayList<>();
        VitTensors wanted = VitTensors.of(model.geometry());
        for (VitTensors.Linear spec : wanted.linears()) {
            LinearLayer layer = model.linear(spec.name());
            if (spec.bias()) {
                tensors.add(Tensor.ofFloats(spec.biasName(), layer.bias(), spec.outputs()));
            }
            switch (layer) {
                case LinearLayer.Float32 l ->
                    tensors.add(Tensor.ofFloats(spec.weight(), l.weight(), l.outputs(), l.inputs()));
                case LinearLayer.Quantized l -> {
                    tensors.add(new Tensor(
                            spec.weight(), DType.I8, List.of((long) l.outputs(), (long) l.inputs()), l.codes()));
                    tensors.add(Tensor.ofFloats(l.name() + SCALE, l.scales(), l.scales().length));
                    linears.add(new LinearPlan(l.name(), l.bits(), l.input()));
                }
            }
        }
        wanted.floats()
                .forEach((name, shape) -> tensors.add(Tensor.ofFloats(
                        name,
                        model.floats(name),
                        shape.stream().mapToLong(Long::longValue).toArray())));
        List<MatmulPlan> matmuls = new ArrayList<>();
        model.matmuls().forEach((name, q) -> matmuls.add(new MatmulPlan(name, q.left(), q.right())));
        SafetensorsWriter.write(
                file,
                tensors,
                Map.of(
                        VERSION_KEY,
                        VERSION,
                        MODEL_KEY,
                        JSON.writeValueAsString(model.config()),
                        PLAN_KEY,
                        JSON.writeValueAsString(new Plan(linears, matmuls)),
                        PROVENANCE_KEY,
                        JSON.writeValueAsString(provenance.facts())));
    }

    /**
     * Reads a quantized model; the result does not need the file any more.
     *
     * @throws BadInputException if the file is of another version, contradicts itself, or lacks or adds anything
     */
    public static Contents read(SafetensorsFile file) {
        Path path = file.file();
        String version = file.metadata().getOrDefault(VERSION_KEY, "none");
        if (!version.equals(VERSION)) {
            throw new BadInputException(
                    path,
                    "has format version " + version + " where this Trivet reads " + VERSION,
                    "quantize the model again or use the Trivet that wrote it");
        }
        try {
            ModelConfig config = JSON.readValue(metadata(file, MODEL_KEY), ModelConfig.class);
            Plan plan = JSON.readValue(metadata(file, PLAN_KEY), Plan.class);
            Map<String, String> facts = new LinkedHashMap<>();
            JSON.readTree(metadata(file, PROVENANCE_KEY))
                    .properties()
                    .forEach(fact -> facts.put(fact.getKey(), fact.getValue().asString()));
            return new Contents(new Reader(file, config, plan).model(), new Provenance(facts));
        } catch (JacksonException e) {
            throw damaged(path, reason(e), e);
        } catch (IllegalArgumentException e) {
            throw damaged(path, String.valueOf(e.getMessage()), e);
        }
    }

    /** What a record's own checks said, where they were what failed. */
    private static String reason(JacksonException e) {
        return switch (e.getCause()) {
            case IllegalArgumentException refused -> String.valueOf(refused.getMessage());
            case NullPointerException _ -> "its metadata holds null";
            case null, default -> String.valueOf(e.getOriginalMessage());
        };
    }

    private static BadInputException damaged(Path path, String reason, Throwable cause) {
        return new BadInputException(
                path, "is not a sound quantized model (" + reason + ")", "quantize the model again", cause);
    }

    private static String metadata(SafetensorsFile file, String key) {
        String text = file.metadata().get(key);
        if (text == null) {
            throw new IllegalArgumentException("no " + key);
        }
        return text;
    }

    /** Collects the tensors that the geometry and the plan ask for, and notes which were used. */
    private static final class Reader {
        private final SafetensorsFile file;
        private final ModelConfig config;
        private final Map<String, LinearPlan> linearPlans = new LinkedHashMap<>();
        private final Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>();
        private final Set<String> used = new HashSet<>();

        Reader(SafetensorsFile file, ModelConfig config, Plan plan) {
            this.file = file;
            this.config = config;
            for (LinearPlan linear : plan.linears()) {
                if (linearPlans.put(linear.name(), linear) != null) {
                    throw new IllegalArgumentException("two plans for " + linear.name());
                }
            }
            Set<String> products = new HashSet<>();
            for (int b = 0; b < config.geometry().depth(); b++) {
                products.add(dev.trivet.model.VitNames.scores(b));
                products.add(dev.trivet.model.VitNames.mixing(b));
            }
            for (MatmulPlan matmul : plan.matmuls()) {
                MatmulQuantizers quantizers = new MatmulQuantizers(matmul.left(), matmul.right());
                if (!products.contains(matmul.name()) || matmuls.put(matmul.name(), quantizers) != null) {
                    throw new IllegalArgumentException("unknown or repeated product " + matmul.name());
                }
            }
        }

        VitModel model() {
            VitTensors wanted = VitTensors.of(config.geometry());
            Map<String, LinearLayer> linears = new LinkedHashMap<>();
            for (VitTensors.Linear spec : wanted.linears()) {
                linears.put(spec.name(), linear(spec));
            }
            Map<String, float[]> floats = new LinkedHashMap<>();
            wanted.floats().forEach((name, shape) -> floats.put(name, floats(name, shape)));
            for (String name : linearPlans.keySet()) {
                if (!linears.containsKey(name)) {
                    throw new IllegalArgumentException("a plan for the unknown layer " + name);
                }
            }
            for (String name : file.names()) {
                if (!used.contains(name)) {
                    throw new IllegalArgumentException("unknown tensor " + name);
                }
            }
            return new VitModel(config, linears, matmuls, floats);
        }

        private LinearLayer linear(VitTensors.Linear spec) {
            List<Long> shape = List.of((long) spec.outputs(), (long) spec.inputs());
            float[] bias =
                    spec.bias() ? floats(spec.biasName(), List.of((long) spec.outputs())) : new float[spec.outputs()];
            LinearPlan plan = linearPlans.get(spec.name());
            if (plan == null) {
                return new LinearLayer.Float32(
                        spec.name(), spec.outputs(), spec.inputs(), floats(spec.weight(), shape), bias);
            }
            Tensor codes = tensor(spec.weight(), DType.I8, Optional.of(shape));
            Tensor scales = tensor(spec.name() + SCALE, DType.F32, Optional.empty());
            if (plan.weightBits() < 2 || plan.weightBits() > 8) {
                throw new IllegalArgumentException(spec.name() + " has weights of " + plan.weightBits() + " bits");
            }
            return new LinearLayer.Quantized(
                    spec.name(),
                    spec.outputs(),
                    spec.inputs(),
                    plan.weightBits(),
                    MemorySegment.ofArray(codes.data().toArray(ValueLayout.JAVA_BYTE)),
                    finite(scales),
                    bias,
                    plan.input());
        }

        private float[] floats(String name, List<Long> shape) {
            return finite(tensor(name, DType.F32, Optional.of(shape)));
        }

        private static float[] finite(Tensor tensor) {
            float[] values = tensor.toFloats();
            for (float v : values) {
                if (!Float.isFinite(v)) {
                    throw new IllegalArgumentException("tensor " + tensor.name() + " holds " + v);
                }
            }
            return values;
        }

        private Tensor tensor(String name, DType type, Optional<List<Long>> shape) {
            used.add(name);
            Tensor tensor =
                    file.find(name).orElseThrow(() -> new IllegalArgumentException("tensor " + name + " is missing"));
            if (tensor.dtype() != type || (shape.isPresent() && !tensor.shape().equals(shape.get()))) {
                throw new IllegalArgumentException("tensor " + name + " is " + tensor.dtype() + " " + tensor.shapeText()
                        + ", not " + type + " " + shape.map(Object::toString).orElse(""));
            }
            return tensor;
        }
    }
}
