package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Ternary weights through both methods, a file and every provider. */
class TernaryQuantizationTest {
    private static final Provenance NONE = new Provenance(Map.of());

    @TempDir
    Path folder;

    private static QuantizationPlan plan(VitModel model, WeightCoding edges) {
        return QuantizationPlan.uniform(model.geometry(), WeightCoding.TERNARY, 8, edges, 8);
    }

    private static Quantization quantization(VitModel model, String method, WeightCoding edges, int threads) {
        CalibrationImages images = new Fixtures.Noise(model.geometry(), 8, 1);
        return new Quantization(model, new VectorKernels(), images, plan(model, edges), settings(method, threads));
    }

    private static MethodSettings settings(String method, int threads) {
        return method.equals("trivet") ? TrivetSettings.defaults(0, threads) : LiuSettings.defaults(0, threads);
    }

    private Path write(VitModel model) {
        Path file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, model, NONE);
        return file;
    }

    private VitModel throughAFile(VitModel model) {
        try (SafetensorsFile source = SafetensorsFile.open(write(model))) {
            return QuantizedModelFile.read(source).model();
        }
    }

    private static double sqnrDb(VitModel model, VitModel quantized) {
        CalibrationImages unseen = new Fixtures.Noise(model.geometry(), 10, 99);
        return Logits.sqnrDb(Logits.of(model, unseen), Logits.of(quantized, unseen));
    }

    private static boolean stored(float scale) {
        return Float.float16ToFloat(Float.floatToFloat16(scale)) == scale;
    }

    @ParameterizedTest
    @CsvSource({
        "vit_micro, trivet, 8",
        "vit_micro, liu2021, 8",
        "deit_distilled_micro, trivet, ternary",
        "swin_padded_micro, trivet, 8",
        "swin_micro, liu2021, ternary",
    })
    void allBlocksAreTernary(String name, String method, String edges) throws IOException {
        VitModel model = Fixtures.micro(name);
        WeightCoding ends = WeightCoding.named(edges).orElseThrow();
        VitModel quantized = quantization(model, method, ends, 2).run(SearchListener.SILENT);
        VitModel read = throughAFile(quantized);
        read.linears().forEach((layer, l) -> {
            LinearLayer.Quantized q = (LinearLayer.Quantized) l;
            boolean inside = layer.contains("blocks.") || layer.contains("downsample");
            assertThat(q.coding()).as(layer).isEqualTo(inside ? WeightCoding.TERNARY : ends);
            assertThat(q.input().bits()).isEqualTo(8);
            if (q.isTernary()) {
                for (float scale : q.scales()) {
                    assertThat(stored(scale)).as(layer).isTrue();
                }
            }
        });
        CalibrationImages unseen = new Fixtures.Noise(model.geometry(), 2, 99);
        assertThat(Logits.of(read, new VectorKernels(), unseen))
                .isEqualTo(Logits.of(quantized, new ReferenceKernels(), unseen));
        long bound = new FileSizeBound(
                        model.config(), plan(model, ends), settings(method, 2), FileSizeBound.provenanceBytes(NONE))
                .of(plan(model, ends));
        assertThat(Files.size(write(quantized))).isBetween(bound / 2, bound);
        System.out.printf("%s, %s, ternary: logits SQNR %.1f dB%n", name, method, sqnrDb(model, quantized));
    }

    /** Fitted weights against plain ternarization of the same float weights with the same activation quantizers. */
    @Test
    void fittingPays() {
        VitModel model = Fixtures.micro("vit_micro");
        Quantization plain = new Quantization(
                model,
                new VectorKernels(),
                new Fixtures.Noise(model.geometry(), 8, 1),
                QuantizationPlan.uniform(model.geometry(), 8, 8, 8),
                new TrivetSettings(false, false, false, false, 0, 2));
        VitModel eight = plain.run(SearchListener.SILENT);
        Map<String, LinearLayer> linears = new LinkedHashMap<>(eight.linears());
        linears.replaceAll(
                (name, layer) -> name.startsWith("blocks.") ? ternary((LinearLayer.Quantized) layer) : layer);
        VitModel twn = new VitModel(model.config(), linears, eight.matmuls(), eight.floats());
        VitModel fitted = quantization(model, "trivet", WeightCoding.BITS_8, 2).run(SearchListener.SILENT);
        assertThat(sqnrDb(model, fitted)).isGreaterThan(sqnrDb(model, twn) + 1);
    }

    /** Eight bits stand for the float weights; they are folded as the activations ask for. */
    private static LinearLayer ternary(LinearLayer.Quantized layer) {
        float[] weight = new float[layer.outputs() * layer.inputs()];
        for (int i = 0; i < weight.length; i++) {
            weight[i] = layer.code(i) * layer.scale(i / layer.inputs());
        }
        TernaryWeights t = TernaryWeights.of(
                weight, layer.outputs(), layer.inputs(), layer.outputs(), TernaryWeights.Scale.SURVIVORS);
        return new LinearLayer.Quantized(
                layer.name(),
                layer.outputs(),
                layer.inputs(),
                WeightCoding.TERNARY,
                MemorySegment.ofArray(t.codes()),
                t.scales(),
                layer.bias(),
                layer.input());
    }

    /** Whatever the threads, and taken up again from what a file kept of it. */
    @ParameterizedTest
    @CsvSource({"vit_gap_micro, trivet", "vit_gap_micro, liu2021"})
    void theSameBytes(String name, String method) throws IOException {
        VitModel model = Fixtures.micro(name);
        Quantization one = quantization(model, method, WeightCoding.BITS_8, 1);
        Map<Integer, VitModel> reached = new TreeMap<>();
        VitModel whole = one.run(
                one.start(), SearchListener.SILENT, choice -> {}, (units, m) -> reached.put(units, throughAFile(m)));
        byte[] first = Files.readAllBytes(write(whole));
        VitModel three = quantization(model, method, WeightCoding.BITS_8, 3).run(SearchListener.SILENT);
        assertThat(Files.readAllBytes(write(three))).isEqualTo(first);
        Quantization.Begun begun = new Quantization.Begun(Objects.requireNonNull(reached.get(2)), 2);
        VitModel resumed = one.run(begun, SearchListener.SILENT, choice -> {}, SearchCheckpoint.NONE);
        assertThat(Files.readAllBytes(write(resumed))).isEqualTo(first);
    }
}
