package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.tensor.SafetensorsFile;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A model whose q, k, v projection has no bias gets one from the search, and the file keeps it. */
class AddedBiasTest {
    @TempDir
    Path folder;

    @Test
    void aBiasThatTheSearchAddsIsWritten() {
        VitModel model = withoutQkvBias(Fixtures.micro("vit_micro"));
        VitModel quantized = new Quantization(
                        model,
                        new ReferenceKernels(),
                        new Fixtures.Noise(model.vit(), 4, 3),
                        QuantizationPlan.uniform(model.vit(), 4, 4, 8),
                        TrivetSettings.defaults(0, 1))
                .run(SearchListener.SILENT);
        float[] added = quantized.linear(VitNames.qkv(0)).bias();
        assertThat(added).isNotEqualTo(new float[added.length]);
        Path file = folder.resolve("q.safetensors");
        QuantizedModelFile.write(file, quantized, new Provenance(Map.of()));
        try (SafetensorsFile read = SafetensorsFile.open(file)) {
            VitModel again = QuantizedModelFile.read(read).model();
            assertThat(again.linear(VitNames.qkv(0)).bias()).containsExactly(added);
        }
    }

    private static VitModel withoutQkvBias(VitModel model) {
        VitConfig c = model.vit();
        VitConfig without = new VitConfig(
                c.imageSize(),
                c.patchSize(),
                c.channels(),
                c.width(),
                c.depth(),
                c.heads(),
                c.mlpWidth(),
                c.classes(),
                c.pooling(),
                c.classToken(),
                c.distilled(),
                false,
                c.layerNormEpsilon());
        Map<String, LinearLayer> linears = new LinkedHashMap<>(model.linears());
        for (int b = 0; b < c.depth(); b++) {
            LinearLayer.Float32 qkv = (LinearLayer.Float32) model.linear(VitNames.qkv(b));
            linears.put(
                    qkv.name(),
                    new LinearLayer.Float32(
                            qkv.name(), qkv.outputs(), qkv.inputs(), qkv.weight(), new float[qkv.outputs()]));
        }
        ModelConfig config = new ModelConfig(
                model.config().architecture(),
                without,
                model.config().preprocessing(),
                model.config().labels());
        return new VitModel(config, linears, model.matmuls(), model.floats());
    }
}
