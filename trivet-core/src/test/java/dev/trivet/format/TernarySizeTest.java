package dev.trivet.format;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.model.ImageNetClasses;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.TimmConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The sizes of ternary models in {@code docs/format.md}: counted from width and depths, and found in files with random weights. */
class TernarySizeTest {
    @TempDir
    Path folder;

    /**
     * Bytes of a model with 1,000 classes.
     *
     * @param ternary codes of the blocks and patch mergings
     * @param bytes codes of the patch embedding and the head
     * @param scales two bytes for each ternary channel, four for each of the others
     * @param rest biases, tokens, positions, LayerNorm, position biases
     */
    private record Count(long ternary, long bytes, long scales, long rest) {
        long sum() {
            return ternary + bytes + scales + rest;
        }
    }

    /** Codes of the four layers of a block: 8 rows of the width, counted in widths, and one of four times the width. */
    private static long block(long width) {
        return width * (8 * Math.ceilDiv(width, 5L) + Math.ceilDiv(4 * width, 5L));
    }

    private static Count deit(long width) {
        long channels = 12 * 9 * width;
        long ends = width + 1000;
        return new Count(
                12 * block(width),
                768 * width + 1000 * width,
                2 * channels + 4 * ends,
                4 * (channels + ends) + 4 * (width + 197 * width + 25 * 2 * width));
    }

    /** Heads are 32 wide, windows 7 x 7 (169 offsets); a merging has no bias, and a LayerNorm of four times the former width. */
    private static Count swin(long width, List<Integer> depths) {
        long codes = 0;
        long channels = 0;
        long biases = width + 1000;
        long floats = 2 * width;
        for (int s = 0; s < 4; s++) {
            long c = width << s;
            long blocks = depths.get(s);
            codes += blocks * block(c);
            channels += blocks * 9 * c;
            biases += blocks * 9 * c;
            floats += blocks * (4 * c + 169 * (c / 32));
            if (s > 0) {
                codes += c * Math.ceilDiv(2 * c, 5L);
                channels += c;
                floats += 4 * c;
            }
        }
        long last = width << 3;
        return new Count(
                codes,
                48 * width + 1000 * last,
                2 * channels + 4 * (width + 1000),
                4 * biases + 4 * (floats + 2 * last));
    }

    @ParameterizedTest
    @CsvSource({
        "DeiT-Tiny,  deit_tiny_patch16_224",
        "DeiT-Small, deit_small_patch16_224",
        "DeiT-Base,  deit_base_patch16_224",
        "Swin-Tiny,  swin_tiny_patch4_window7_224",
        "Swin-Small, swin_small_patch4_window7_224",
        "Swin-Base,  swin_base_patch4_window7_224",
    })
    void filesHaveTheDocumentedSize(String name, String architecture) throws IOException {
        ModelConfig preset = TimmConfig.preset(architecture);
        Count count = preset.geometry() instanceof SwinConfig swin
                ? swin(swin.width(), swin.depths())
                : deit(((VitConfig) preset.geometry()).width());
        Path file = folder.resolve("model.safetensors");
        VitModel model = random(preset);
        QuantizedModelFile.write(file, model, new Provenance(Map.of()));
        try (SafetensorsFile written = SafetensorsFile.open(file)) {
            assertThat(written.dataBytes()).isEqualTo(count.sum());
        }
        String row = String.format(
                Locale.ROOT,
                "| %s | %,d | %,d | %,d | %,d | %,d | %,d |",
                name,
                count.ternary,
                count.bytes,
                count.scales,
                count.rest,
                count.sum(),
                Files.size(file));
        assertThat(Files.readAllLines(Path.of("..", "docs", "format.md"))).contains(row);
    }

    /** Random ternary blocks between two ends of 8 bits, with the names of ImageNet's classes. */
    private static VitModel random(ModelConfig preset) {
        SplittableRandom random = new SplittableRandom(1);
        VitTensors tensors = VitTensors.of(preset.geometry());
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : tensors.linears()) {
            boolean ternary = spec.name().contains("blocks.") || spec.name().contains("downsample");
            byte[] codes = new byte[spec.outputs() * spec.inputs()];
            if (ternary) {
                for (int i = 0; i < codes.length; i++) {
                    codes[i] = (byte) (random.nextInt(3) - 1);
                }
            } else {
                random.nextBytes(codes);
            }
            float[] scales = new float[spec.outputs()];
            for (int n = 0; n < scales.length; n++) {
                float scale = 0.001f + random.nextFloat();
                scales[n] = ternary ? TernaryWeights.storedScale(scale) : scale;
            }
            linears.put(
                    spec.name(),
                    new LinearLayer.Quantized(
                            spec.name(),
                            spec.outputs(),
                            spec.inputs(),
                            ternary ? WeightCoding.TERNARY : WeightCoding.BITS_8,
                            MemorySegment.ofArray(codes),
                            scales,
                            new float[spec.outputs()],
                            new ActivationQuantizer(random.nextFloat(), 128, 0, 255)));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        tensors.floats()
                .forEach((name, shape) -> floats.put(
                        name, new float[Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact))]));
        Map<String, MatmulQuantizers> matmuls = new TreeMap<>();
        for (String product : tensors.products()) {
            ActivationQuantizer signed = new ActivationQuantizer(random.nextFloat(), 0, -128, 127);
            ActivationQuantizer weights = new ActivationQuantizer(1 / 255f, 0, 0, 255);
            boolean mixing = product.endsWith(".av");
            matmuls.put(product, new MatmulQuantizers(mixing ? weights : signed, signed, mixing));
        }
        ModelConfig named = new ModelConfig(
                preset.architecture(), preset.geometry(), preset.preprocessing(), ImageNetClasses.names());
        return new VitModel(named, linears, matmuls, floats);
    }
}
