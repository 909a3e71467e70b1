package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.cli.report.ModuleAdvice;
import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/** The layers that {@code compare} calls the worst, and its advice. */
class ModuleAdviceTest {
    private static final Path FLOAT = Fixtures.golden(Fixtures.VIT);

    @TempDir
    Path folder;

    /** One layer is rounded to a step of the largest weight over {@code most}, the others stay float. */
    private Path coarse(String name, int bits) {
        VitModel model = ModelFile.read(FLOAT, Optional.empty()).model();
        LinearLayer.Float32 layer = (LinearLayer.Float32) model.linear(name);
        float largest = 0;
        for (float w : layer.weight()) {
            largest = Math.max(largest, Math.abs(w));
        }
        float step = largest / ((1 << (bits - 1)) - 1);
        byte[] codes = new byte[layer.weight().length];
        for (int i = 0; i < codes.length; i++) {
            codes[i] = (byte) Math.rint(layer.weight()[i] / step);
        }
        Map<String, LinearLayer> linears = new LinkedHashMap<>(model.linears());
        linears.put(
                name,
                new LinearLayer.Quantized(
                        name,
                        layer.outputs(),
                        layer.inputs(),
                        bits,
                        MemorySegment.ofArray(codes),
                        new float[] {step},
                        layer.bias(),
                        new ActivationQuantizer(8f / 255, 128, 0, 255)));
        Path file = folder.resolve("coarse.safetensors");
        QuantizedModelFile.write(
                file, new VitModel(model.config(), linears, model.matmuls(), model.floats()), new Provenance(Map.of()));
        return file;
    }

    @Test
    void theCoarseModuleIsNamedWithWhatToDo() {
        Path coarse = coarse("blocks.1.mlp.fc1", 3);
        Path data = Fixtures.imageFolder(folder.resolve("data"), 10, 1);
        JsonNode json = CommandRun.of("compare", FLOAT, coarse, "--data", data, "--json")
                .good()
                .json();
        for (JsonNode module : json.path("modules")) {
            boolean named = module.path("module").asString().equals("blocks.1.mlp");
            assertThat(module.path("sqnr_db").isNumber()).isEqualTo(named);
            assertThat(module.path("weight_bits").asInt()).isEqualTo(named ? 3 : 32);
            assertThat(module.path("advice").asString())
                    .isEqualTo(
                            named
                                    ? "give it 4 bits in --plan, or leave blocks.1.mlp.fc1 in float (weight_bits and activation_bits 32)"
                                    : "");
        }
        CommandRun text =
                CommandRun.of("compare", FLOAT, coarse, "--data", data).good();
        assertThat(text.out()).contains("blocks.1.mlp", "W3A8", "blocks.1.mlp: give it 4 bits");
    }

    @Test
    void whatIsNoNumberIsWorstAndWhatIsEqualOrRepairsIsLeftOut() {
        List<ModuleAdvice> modules = List.of(
                new ModuleAdvice("head", Double.POSITIVE_INFINITY, 0, 32, false, 32, ""),
                new ModuleAdvice("blocks.0.attn", 12, 0.1, 4, false, 4, ""),
                new ModuleAdvice("blocks.0.mlp", Double.NaN, Double.NaN, 4, false, 4, ""),
                new ModuleAdvice("blocks.1.mlp", 9, 0.2, 4, false, 4, ""),
                new ModuleAdvice("blocks.2.mlp", 3, -0.1, 4, false, 4, ""));
        assertThat(ModuleAdvice.worst(modules, 5))
                .extracting(ModuleAdvice::module)
                .containsExactly("blocks.0.mlp", "blocks.1.mlp", "blocks.0.attn");
        assertThat(ModuleAdvice.worst(modules, 1)).hasSize(1);
        assertThat(modules.get(2).sqnrText()).isEqualTo("not a number");
    }
}
