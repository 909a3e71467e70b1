package dev.trivet.model;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A ViT, DeiT or Swin with its parameters, each layer float or quantized.
 *
 * @param linears by name, all that {@link VitTensors} lists
 * @param matmuls quantizers of the attention products by name ({@link VitTensors#products}); a product that is absent runs
 *     in float
 * @param floats tokens, positions, position biases and LayerNorm parameters by name
 */
public record VitModel(
        ModelConfig config,
        Map<String, LinearLayer> linears,
        Map<String, MatmulQuantizers> matmuls,
        Map<String, float[]> floats) {
    /** Layers with an output for each class. */
    private static final Set<String> HEADS = Set.of(VitNames.HEAD, VitNames.DISTILLATION_HEAD, SwinNames.HEAD);

    /** @throws IllegalArgumentException if a parameter is missing or has the wrong size */
    public VitModel {
        linears = Collections.unmodifiableMap(new LinkedHashMap<>(linears));
        matmuls = Collections.unmodifiableMap(new LinkedHashMap<>(matmuls));
        floats = Collections.unmodifiableMap(new LinkedHashMap<>(floats));
        VitTensors wanted = VitTensors.of(config.geometry());
        for (VitTensors.Linear spec : wanted.linears()) {
            LinearLayer layer = linears.get(spec.name());
            if (layer == null || layer.outputs() != spec.outputs() || layer.inputs() != spec.inputs()) {
                throw new IllegalArgumentException("layer " + spec.name() + " is missing or has the wrong shape");
            }
        }
        for (LinearLayer layer : linears.values()) {
            if (layer instanceof LinearLayer.Quantized q
                    && q.equalization().isPresent()
                    && !q.name().equals(VitNames.PATCH_EMBEDDING)) {
                throw new IllegalArgumentException("the input of " + q.name() + " cannot be equalized at run time");
            }
        }
        for (Map.Entry<String, List<Long>> spec : wanted.floats().entrySet()) {
            float[] values = floats.get(spec.getKey());
            long size = spec.getValue().stream().reduce(1L, Math::multiplyExact);
            if (values == null || values.length != size) {
                throw new IllegalArgumentException("tensor " + spec.getKey() + " is missing or has the wrong size");
            }
        }
    }

    /** Reads all parameters of a float checkpoint; the result does not need the file any more. */
    public static VitModel read(FloatCheckpoint checkpoint) {
        VitTensors tensors = VitTensors.of(checkpoint.config().geometry());
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : tensors.linears()) {
            float[] bias = spec.bias() ? checkpoint.floats(spec.biasName()) : new float[spec.outputs()];
            linears.put(
                    spec.name(),
                    new LinearLayer.Float32(
                            spec.name(), spec.outputs(), spec.inputs(), checkpoint.floats(spec.weight()), bias));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        tensors.floats().keySet().forEach(name -> floats.put(name, checkpoint.floats(name)));
        return new VitModel(checkpoint.config(), linears, Map.of(), floats);
    }

    /** The same model with its classes named; an empty list leaves them unnamed. */
    public VitModel withLabels(List<String> labels) {
        ModelConfig named = new ModelConfig(config.architecture(), config.geometry(), config.preprocessing(), labels);
        return new VitModel(named, linears, matmuls, floats);
    }

    /**
     * The same model for other classes, to be trained further: its heads are new and zero, so that at first it finds all classes
     * alike, and what is below them is kept.
     *
     * @param labels one name per class
     * @throws IllegalArgumentException if the model is quantized or there is no class
     */
    public VitModel forClasses(List<String> labels) {
        if (isQuantized()) {
            throw new IllegalArgumentException("the model is quantized");
        }
        Geometry geometry = config.geometry().withClasses(labels.size());
        Map<String, LinearLayer> kept = new LinkedHashMap<>(linears);
        for (VitTensors.Linear spec : VitTensors.of(geometry).linears()) {
            if (HEADS.contains(spec.name())) {
                float[] weight = new float[Math.multiplyExact(spec.outputs(), spec.inputs())];
                float[] bias = new float[spec.outputs()];
                kept.put(
                        spec.name(), new LinearLayer.Float32(spec.name(), spec.outputs(), spec.inputs(), weight, bias));
            }
        }
        ModelConfig changed = new ModelConfig(config.architecture(), geometry, config.preprocessing(), labels);
        return new VitModel(changed, kept, matmuls, floats);
    }

    /** Shape of the model: that of its config. */
    public Geometry geometry() {
        return config.geometry();
    }

    /**
     * The geometry of a ViT or DeiT, for what knows no other model yet.
     *
     * @throws dev.trivet.BadInputException if the model is another
     */
    public VitConfig vit() {
        return config.vit();
    }

    /**
     * A linear layer by timm's name of it, such as {@code blocks.0.attn.qkv}.
     *
     * @throws IllegalArgumentException if there is none
     */
    public LinearLayer linear(String name) {
        LinearLayer layer = linears.get(name);
        if (layer == null) {
            throw new IllegalArgumentException("no layer " + name);
        }
        return layer;
    }

    /**
     * A tensor that belongs to no linear layer, by timm's name of it; row-major, shared, not to be written to.
     *
     * @throws IllegalArgumentException if there is none
     */
    public float[] floats(String name) {
        float[] values = floats.get(name);
        if (values == null) {
            throw new IllegalArgumentException("no tensor " + name);
        }
        return values;
    }

    /** Whether anything is quantized. */
    public boolean isQuantized() {
        return !matmuls.isEmpty() || linears.values().stream().anyMatch(l -> l instanceof LinearLayer.Quantized);
    }

    /** Number of parameters of the float model. */
    public long parameters() {
        VitTensors tensors = VitTensors.of(geometry());
        long count = 0;
        for (VitTensors.Linear spec : tensors.linears()) {
            count += (long) spec.outputs() * spec.inputs() + (spec.bias() ? spec.outputs() : 0);
        }
        for (float[] values : floats.values()) {
            count += values.length;
        }
        return count;
    }
}
