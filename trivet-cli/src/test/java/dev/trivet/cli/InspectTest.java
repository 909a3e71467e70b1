package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** {@code inspect} on a file with an operator of every kind; sizes are worked by hand. */
class InspectTest {
    /** Width 32, MLP 128, two blocks, patches of 8 x 8 x 3, 36 positions, 7 classes. */
    private static final VitModel FLOAT =
            ModelFile.read(Fixtures.golden("vit_gap_micro"), Optional.empty()).model();

    private static final ActivationQuantizer ASYMMETRIC = new ActivationQuantizer(0.5f, 7, 0, 255);
    private static final ActivationQuantizer SYMMETRIC = new ActivationQuantizer(0.5f, 128, 0, 255);
    private static final ActivationQuantizer WIDE = new ActivationQuantizer(0.25f, 500, 0, 1023);
    private static final ActivationQuantizer LEVELS = new ActivationQuantizer(
            0.5f, 0, 0, 255, IntStream.range(0, 16).mapToObj(i -> 17 * i).toList());
    private static final ActivationQuantizer SIGNED = new ActivationQuantizer(0.5f, 0, -128, 127);
    private static final ActivationQuantizer WIDE_SIGNED = new ActivationQuantizer(0.5f, 0, -512, 511);

    @TempDir
    Path folder;

    private static LinearLayer quantized(String name, int bits, int scales, ActivationQuantizer input) {
        LinearLayer layer = FLOAT.linear(name);
        float[] steps = new float[scales == 1 ? 1 : layer.outputs()];
        for (int n = 0; n < steps.length; n++) {
            steps[n] = 1 + n * scales / steps.length; // equal within each of `scales` groups
        }
        int bytes = layer.outputs() * layer.inputs() * (bits > 8 ? 2 : 1);
        return new LinearLayer.Quantized(
                name,
                layer.outputs(),
                layer.inputs(),
                bits,
                MemorySegment.ofArray(new byte[bytes]),
                steps,
                layer.bias(),
                input);
    }

    /** The head stays float. */
    private static VitModel mixed() {
        Map<String, LinearLayer> linears = new LinkedHashMap<>(FLOAT.linears());
        Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>();
        linears.put("patch_embed.proj", quantized("patch_embed.proj", 8, 32, ASYMMETRIC));
        for (String block : List.of("blocks.0.", "blocks.1.")) {
            linears.put(block + "attn.qkv", quantized(block + "attn.qkv", 3, 3, SYMMETRIC));
            linears.put(block + "attn.proj", quantized(block + "attn.proj", 10, 32, WIDE));
            linears.put(block + "mlp.fc1", quantized(block + "mlp.fc1", 4, 1, WIDE));
            linears.put(block + "mlp.fc2", quantized(block + "mlp.fc2", 6, 16, LEVELS));
            matmuls.put(block + "attn.qk", new MatmulQuantizers(SIGNED, WIDE_SIGNED));
            matmuls.put(block + "attn.av", new MatmulQuantizers(new ActivationQuantizer(1f, 0, 0, 255), SIGNED));
        }
        return new VitModel(FLOAT.config(), linears, matmuls, FLOAT.floats());
    }

    private Path written(VitModel model) {
        Path file = folder.resolve("model.safetensors");
        Provenance origin = new Provenance(
                Map.of("seed", "7", "tool", "a tool"),
                Optional.of("{\"method\": \"search\", \"bits\": {\"head\": 32}}"),
                Optional.of("{\"sensitivities\": [0.5, 1]}"));
        QuantizedModelFile.write(file, model, origin);
        return file;
    }

    private static JsonNode operator(JsonNode json, String name) {
        for (JsonNode operator : json.path("operators")) {
            if (operator.path("name").asString().equals(name)) {
                return operator;
            }
        }
        throw new AssertionError("no operator " + name);
    }

    /** Codes on disk: outputs times the bytes of a row, such as 96 x ceil(32 * 3 / 8). */
    @ParameterizedTest
    @CsvSource({
        "patch_embed.proj,   8, channel, 32, 6144, 8,  asymmetric, u8s8",
        "blocks.0.attn.qkv,  3, matrix,   3, 1152, 8,  symmetric,  u8s8",
        "blocks.1.attn.proj, 10, channel, 32, 1280, 10, asymmetric, u8s8 x 4 (two digits)",
        "blocks.0.mlp.fc1,   4, tensor,   1, 2048, 10, asymmetric, u8s8 x 2 (two digits)",
        "blocks.1.mlp.fc2,   6, channel, 16, 3072, 4,  16 levels,  u8s8",
    })
    void linearLayers(
            String name, int bits, String granularity, int scales, int codes, int input, String grid, String kernel) {
        JsonNode json =
                CommandRun.of("inspect", written(mixed()), "--json").good().json();
        JsonNode operator = operator(json, name);
        JsonNode weights = operator.path("weights");
        assertThat(weights.path("bits").asInt()).isEqualTo(bits);
        assertThat(weights.path("granularity").asString()).isEqualTo(granularity);
        assertThat(weights.path("scales").asInt()).isEqualTo(scales);
        assertThat(weights.path("code_bytes").asInt()).isEqualTo(codes);
        JsonNode operand = operator.path("operands").path(0);
        assertThat(operand.path("bits").asInt()).isEqualTo(input);
        assertThat(operand.path("grid").asString()).isEqualTo(grid);
        assertThat(operand.path("step").asDouble()).isEqualTo(input == 10 ? 0.25 : 0.5);
        assertThat(operator.path("kernel").asString()).endsWith(" " + kernel);
    }

    @Test
    void otherOperators() {
        JsonNode json =
                CommandRun.of("inspect", written(mixed()), "--json").good().json();
        assertThat(json.path("operators")).hasSize(10 + 4);
        JsonNode head = operator(json, "head");
        JsonNode scores = operator(json, "blocks.0.attn.qk");
        JsonNode mixing = operator(json, "blocks.0.attn.av");
        assertThat(head.path("weights").isNull()).isTrue();
        assertThat(head.path("operands")).isEmpty();
        assertThat(head.path("kernel").asString()).endsWith(" f32");
        assertThat(scores.path("kernel").asString()).endsWith(" s8s8 x 2 (two digits)");
        assertThat(scores.path("operands").path(0).path("grid").asString()).isEqualTo("symmetric");
        assertThat(scores.path("operands").path(1).path("bits").asInt()).isEqualTo(10);
        assertThat(mixing.path("kernel").asString()).endsWith(" u8s8");
        assertThat(mixing.path("operands").path(0).path("grid").asString()).isEqualTo("asymmetric");
    }

    @Test
    void bytesByKind() throws Exception {
        Path file = written(mixed());
        JsonNode json = CommandRun.of("inspect", file, "--json").good().json();
        JsonNode bytes = json.path("bytes_by_kind");
        assertThat(bytes.path("codes").asInt()).isEqualTo(6144 + 2 * (1152 + 1280 + 2048 + 3072));
        assertThat(bytes.path("weight_scales").asInt()).isEqualTo(4 * (32 + 2 * (96 + 32 + 1 + 32)));
        assertThat(bytes.path("biases").asInt()).isEqualTo(4 * (32 + 2 * (96 + 32 + 128 + 32) + 7));
        assertThat(bytes.path("float_weights").asInt()).isEqualTo(4 * 7 * 32);
        assertThat(bytes.path("tokens_positions_norms").asInt()).isEqualTo(4 * (36 * 32 + 5 * 2 * 32));
        byte[] start = Arrays.copyOf(Files.readAllBytes(file), 4);
        int header = (start[0] & 255) | (start[1] & 255) << 8 | (start[2] & 255) << 16 | (start[3] & 255) << 24;
        assertThat(bytes.path("header").asInt()).isEqualTo(8 + header);
        assertThat(bytes.path("total").asLong()).isEqualTo(Files.size(file));
        assertThat(json.path("format_version").asInt()).isEqualTo(2);
    }

    @Test
    void originAndPrecision() {
        Path file = written(mixed());
        JsonNode json = CommandRun.of("inspect", file, "--json").good().json();
        assertThat(json.path("precision").asString()).isEqualTo("W3/4/6/8/10/32A4/8/10/32");
        assertThat(json.path("provenance").path("tool").asString()).isEqualTo("a tool");
        assertThat(json.path("plan").path("bits").path("head").asInt()).isEqualTo(32);
        assertThat(json.path("report").path("sensitivities").path(0).asDouble()).isEqualTo(0.5);
        CommandRun text = CommandRun.of("inspect", file).good();
        assertThat(text.out())
                .contains(
                        "W3/4/6/8/10/32A4/8/10/32, format 2",
                        "3 bit per matrix, 3 scales",
                        "4 bit per tensor ",
                        "4 bit 16 levels ",
                        "weight codes ",
                        "21,248",
                        "seed: 7",
                        "plan: {\"method\":\"search\",\"bits\":{\"head\":32}}",
                        "report: 27 characters of JSON; --json prints it");
    }

    /** A product that the plan leaves out runs in float, and the name says so. */
    @Test
    void productsLeftInFloatAreCounted() {
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        FLOAT.linears().keySet().forEach(name -> linears.put(name, quantized(name, 4, 1, LEVELS)));
        VitModel model = new VitModel(FLOAT.config(), linears, Map.of(), FLOAT.floats());
        assertThat(ModelArgument.precision(model)).isEqualTo("W4A4/32");
        assertThat(ModelArgument.precision(FLOAT)).isEqualTo("float32");
    }

    @Test
    void version1() {
        Path old = Fixtures.golden("../fixtures/format/version_1.safetensors");
        JsonNode json = CommandRun.of("inspect", old, "--json").good().json();
        assertThat(json.path("format_version").asInt()).isEqualTo(1);
        assertThat(json.path("precision").asString()).isEqualTo("W8A8");
        // Its tensors end at byte 41,752 behind the header.
        JsonNode bytes = json.path("bytes_by_kind");
        assertThat(bytes.path("total").asInt() - bytes.path("header").asInt()).isEqualTo(41752);
        assertThat(json.path("plan").isNull()).isTrue();
    }

    @Test
    void floatCheckpoints() {
        JsonNode json = CommandRun.of("inspect", Fixtures.golden("vit_gap_micro"), "--json")
                .good()
                .json();
        assertThat(json.path("format_version").isNull()).isTrue();
        assertThat(json.path("bytes_by_kind").isNull()).isTrue();
        assertThat(json.path("provenance")).isEmpty();
    }
}
