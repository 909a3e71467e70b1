package dev.trivet.format;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.model.Interpolation;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The sizes in {@code docs/format.md} are what its formula gives, and for DeiT-Tiny what a written file has. */
class FileSizeTest {
    @TempDir
    Path folder;

    /** Bytes of codes by the formula: rows of {@code ceil(inputs * bits / 8)} bytes, DeiT with 1,000 classes. */
    private static long codes(long width, long bits) {
        return width * Math.ceilDiv(3 * 16 * 16 * bits, 8L)
                + 12 * (8 * width * Math.ceilDiv(width * bits, 8L) + width * Math.ceilDiv(4 * width * bits, 8L))
                + 1000 * Math.ceilDiv(width * bits, 8L);
    }

    /** Scales and biases of all output channels; class token, 197 positions, 25 LayerNorms. */
    private static long floats(long width) {
        return 2 * 4 * (width + 12 * 9 * width + 1000) + 4 * (width + 197 * width + 25 * 2 * width);
    }

    @ParameterizedTest
    @CsvSource({
        "DeiT-Tiny, 192, 8", "DeiT-Tiny, 192, 6", "DeiT-Tiny, 192, 4",
        "DeiT-Small, 384, 8", "DeiT-Small, 384, 6", "DeiT-Small, 384, 4",
        "DeiT-Base, 768, 8", "DeiT-Base, 768, 6", "DeiT-Base, 768, 4",
    })
    void documentedSizesFollowTheFormula(String name, int width, int bits) throws IOException {
        String row = String.format(
                Locale.ROOT,
                "| %s | %d | %,d | %,d | %,d |",
                name,
                bits,
                codes(width, bits),
                floats(width),
                codes(width, bits) + floats(width));
        assertThat(Files.readAllLines(Path.of("..", "docs", "format.md"))).contains(row);
    }

    @ParameterizedTest
    @CsvSource({"8", "6", "4"})
    void filesHaveTheDocumentedSize(int bits) {
        Path file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, tiny(bits), new Provenance(Map.of()));
        try (SafetensorsFile written = SafetensorsFile.open(file)) {
            assertThat(written.dataBytes()).isEqualTo(codes(192, bits) + floats(192));
        }
    }

    private static VitModel tiny(int bits) {
        VitConfig geometry = new VitConfig(224, 16, 3, 192, 12, 3, 768, 1000, Pooling.TOKEN, true, false, true, 1e-6f);
        ModelConfig config = new ModelConfig(
                "deit_tiny_patch16_224",
                geometry,
                new Preprocessing(224, 248, Interpolation.BICUBIC, Preprocessing.HALF, Preprocessing.HALF),
                List.of());
        VitTensors tensors = VitTensors.of(geometry);
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : tensors.linears()) {
            float[] scales = new float[spec.outputs()];
            Arrays.fill(scales, 1);
            linears.put(
                    spec.name(),
                    new LinearLayer.Quantized(
                            spec.name(),
                            spec.outputs(),
                            spec.inputs(),
                            bits,
                            MemorySegment.ofArray(new byte[spec.outputs() * spec.inputs()]),
                            scales,
                            new float[spec.outputs()],
                            new ActivationQuantizer(1, 0, 0, (1 << bits) - 1)));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        tensors.floats()
                .forEach((name, shape) -> floats.put(
                        name, new float[Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact))]));
        ActivationQuantizer signed = new ActivationQuantizer(1, 0, -8, 7);
        Map<String, MatmulQuantizers> matmuls = Map.of(VitNames.scores(0), new MatmulQuantizers(signed, signed));
        return new VitModel(config, linears, matmuls, floats);
    }
}
