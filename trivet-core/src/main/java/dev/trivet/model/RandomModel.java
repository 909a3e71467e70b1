package dev.trivet.model;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;

/**
 * A built-in architecture with random weights as training starts from them: normal with deviation 0.02, LayerNorms that change nothing,
 * biases as small. It knows nothing, and runs as fast as a trained model: what is measured on it is speed and memory only.
 */
public final class RandomModel {
    private static final double DEVIATION = 0.02;

    private RandomModel() {}

    /**
     * The same weights for the same seed.
     *
     * @throws dev.trivet.BadInputException if there is no such architecture
     */
    public static VitModel of(String architecture, long seed) {
        ModelConfig config = TimmConfig.preset(architecture);
        VitTensors tensors = VitTensors.of(config.geometry());
        Random random = new Random(seed);
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : tensors.linears()) {
            linears.put(
                    spec.name(),
                    new LinearLayer.Float32(
                            spec.name(),
                            spec.outputs(),
                            spec.inputs(),
                            normal(random, Math.multiplyExact(spec.outputs(), spec.inputs())),
                            spec.bias() ? normal(random, spec.outputs()) : new float[spec.outputs()]));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        tensors.floats().forEach((name, shape) -> {
            int size = Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact));
            floats.put(name, name.contains("norm") ? norm(name, size) : normal(random, size));
        });
        return new VitModel(config, linears, Map.of(), floats);
    }

    private static float[] norm(String name, int size) {
        float[] values = new float[size];
        Arrays.fill(values, name.endsWith(".weight") ? 1 : 0);
        return values;
    }

    private static float[] normal(Random random, int size) {
        float[] values = new float[size];
        for (int i = 0; i < size; i++) {
            values[i] = (float) (DEVIATION * random.nextGaussian());
        }
        return values;
    }
}
