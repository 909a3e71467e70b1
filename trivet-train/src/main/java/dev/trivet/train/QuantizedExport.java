package dev.trivet.train;

import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Makes what was trained with simulated quantization into the model that the integer executor runs. */
final class QuantizedExport {
    private QuantizedExport() {}

    /** The packed model: codes and scales that training computed with, and the ranges of activations as they are. */
    static VitModel model(ModelConfig config, TrainableModel trained) {
        ActivationRanges ranges = trained.ranges().orElseThrow();
        Parameters parameters = trained.parameters();
        Map<String, float[]> values = new HashMap<>();
        parameters.weights().forEach(tensor -> values.put(tensor.name(), tensor.toFloats()));
        Map<String, LinearLayer> linears = parameters
                .quantization()
                .orElseThrow()
                .layers(Torch.floats(parameters.values()), values, ranges.quantizers());
        Map<String, float[]> floats = new HashMap<>(values);
        floats.keySet().retainAll(VitTensors.of(config.geometry()).floats().keySet());
        return new VitModel(config, linears, ranges.products(config.geometry()), floats);
    }

    /**
     * Writes it.
     *
     * @param classNames the model's classes
     * @param identity what was trained, on what and how
     * @param settings that it was trained with
     * @return {@code file}
     */
    static Path write(
            Path file,
            ModelConfig config,
            List<String> classNames,
            TrainableModel trained,
            Map<String, String> identity,
            TrainingSettings settings) {
        Map<String, String> facts = new HashMap<>();
        identity.forEach((name, value) -> facts.put("training_" + name.replace(' ', '_'), value));
        facts.put("tool", "trivet " + Provenance.VERSION + " train");
        facts.put("seed", String.valueOf(settings.seed()));
        facts.put("threads", String.valueOf(settings.threads()));
        VitModel model = model(config, trained);
        boolean named = classNames.size() == config.geometry().classes();
        QuantizedModelFile.write(file, named ? model.withLabels(classNames) : model, new Provenance(facts));
        return file;
    }
}
