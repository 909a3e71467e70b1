package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Models that cannot be used: each gets one line that names the file and what to do, and exit 2. */
class BadModelTest {
    /** A quotation mark of JSON text within JSON text. */
    private static final String ESCAPED = "\\\"";

    @TempDir
    Path temp;

    private Path model;
    private Path weights;
    private Path config;

    @BeforeEach
    void copyModel() throws IOException {
        model = Fixtures.model(temp, Fixtures.VIT);
        weights = model.resolve("model.safetensors");
        config = model.resolve("config.json");
    }

    @Test
    void namesAMissingModel() {
        Path absent = temp.resolve("absent");
        CommandRun.of("inspect", absent).refused(absent, "no such model", "check the path");
    }

    @Test
    void namesAnImageInAModelsPlace() {
        Path image = Fixtures.image(temp.resolve("a.png"), 1);
        CommandRun.of("classify", image, model).refused(image, "is an image, not a model", "give the model here");
        CommandRun.of("inspect", image).refused(image, "is an image, not a model");
    }

    @Test
    void namesAnEmptyFolder() throws IOException {
        Path empty = Files.createDirectory(temp.resolve("empty"));
        CommandRun.of("inspect", empty).refused(empty, "holds no model", "model.safetensors and config.json");
    }

    @Test
    void namesATruncatedFile() throws IOException {
        byte[] bytes = Files.readAllBytes(weights);
        for (int length : new int[] {0, 7, 8, 100, bytes.length / 2, bytes.length - 1}) {
            Files.write(weights, Arrays.copyOf(bytes, length));
            CommandRun.of("inspect", model).refused(weights, "copy or download the file again");
        }
    }

    @Test
    void namesAHeaderThatClaimsTooMuch() throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(weights.toFile(), "rw")) {
            file.write(ByteBuffer.allocate(8)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putLong(1L << 60)
                    .array());
        }
        CommandRun.of("inspect", model).refused(weights, String.valueOf(1L << 60), "copy or download");
    }

    @Test
    void namesOverlappingTensors() throws IOException {
        Fixtures.safetensors(weights, """
                {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12);
        CommandRun.of("inspect", model).refused(weights, "copy or download");
    }

    @Test
    void namesAWeightOfTheWrongShape() throws IOException {
        Files.writeString(config, Files.readString(config).replace("\"num_classes\": 10", "\"num_classes\": 11"));
        CommandRun.of("inspect", model).refused(weights, "head.", "[10", "[11", "config.json belongs to these weights");
    }

    @Test
    void namesATensorThatTheConfigDoesNotKnow() throws IOException {
        Files.writeString(config, Files.readString(config).replace("\"depth\": 3", "\"depth\": 2"));
        CommandRun.of("inspect", model).refused(weights, "unknown", "blocks.2.", "config.json belongs");
    }

    @Test
    void namesAMissingConfig() throws IOException {
        Files.delete(config);
        CommandRun.of("inspect", model).refused(config, "no such file", "--architecture");
        CommandRun.of("inspect", weights).refused(config, "no such file", "--architecture");
    }

    @Test
    void namesAMalformedConfig() throws IOException {
        Files.writeString(config, "{\"architecture\": ");
        CommandRun.of("inspect", model).refused(config, "is not valid JSON", "download the config again");
        Files.writeString(config, "[]");
        CommandRun.of("inspect", model).refused(config, "is not a JSON object", "config.json");
        Files.write(config, new byte[] {'{', '"', (byte) 0xff, (byte) 0xfe});
        CommandRun.of("inspect", model).refused(config, "is not UTF-8 text", "check the file");
        Files.writeString(config, "[".repeat(100_000));
        CommandRun.of("inspect", model).refused(config, "is not valid JSON");
        Files.writeString(config, "{}");
        CommandRun.of("inspect", model).refused(config, "has no \"architecture\"", "--architecture");
    }

    @Test
    void namesAnUnknownArchitecture() throws IOException {
        Files.writeString(config, "{\"architecture\": \"resnet50\"}");
        CommandRun.of("inspect", model).refused(config, "resnet50", "Trivet knows");
        CommandRun.of("inspect", model, "--architecture", "resnet50").refused("resnet50", "Trivet knows");
    }

    @Test
    void keepsATerminalSafeFromAConfig() throws IOException {
        Files.writeString(config, "{\"architecture\": \"a\\u001b[2Jb\\nc\"}");
        String line = CommandRun.of("inspect", model).refused(config);
        assertThat(line).doesNotContain("\u001b");
    }

    @Test
    void namesAConfigOfImpossibleNumbers() throws IOException {
        for (String field : new String[] {
            "\"depth\": 0",
            "\"depth\": 2000000000",
            "\"patch_size\": 0",
            "\"num_heads\": 5",
            "\"mlp_ratio\": -1",
            "\"mlp_ratio\": 1e300",
            "\"img_size\": \"wide\"",
            "\"global_pool\": \"map\"",
            "\"in_chans\": 4",
            "\"pretrained_cfg\": {\"crop_pct\": 0}",
            "\"pretrained_cfg\": {\"mean\": [1]}",
            "\"pretrained_cfg\": {\"std\": [0, 0, 0]}",
            "\"pretrained_cfg\": {\"interpolation\": \"hamming\"}",
            "\"label_names\": [\"one\"]"
        }) {
            Files.writeString(config, "{\"architecture\": \"vit_tiny_patch16_224\", " + field + "}");
            CommandRun.of("inspect", model).refused(config, "correct the config");
        }
    }

    @Test
    void refusesToQuantizeAQuantizedFile() throws IOException {
        Path quantized = quantized();
        Path output = temp.resolve("again.safetensors");
        CommandRun.of("quantize", quantized, "--calibration", temp.resolve("images"), "-o", output)
                .refused(quantized, "is quantized already", "quantize the float model");
        assertThat(output).doesNotExist();
    }

    @Test
    void namesACorruptQuantizedFile() throws IOException {
        Path quantized = quantized();
        Path damaged = temp.resolve("damaged.safetensors");
        byte[] bytes = Files.readAllBytes(quantized);
        Files.write(damaged, Arrays.copyOf(bytes, bytes.length - 10));
        CommandRun.of("inspect", damaged).refused(damaged, "copy or download");
        Fixtures.edited(quantized, damaged, "\"trivet.format\":\"2\"", "\"trivet.format\":\"7\"");
        CommandRun.of("inspect", damaged).refused(damaged, "format version 7", "quantize the model again");
        Fixtures.edited(quantized, damaged, "\\\"weightBits\\\":8", "\\\"weightBits\\\":9");
        CommandRun.of("inspect", damaged)
                .refused(damaged, "is not a sound quantized model", "quantize the model again");
    }

    /** A reader of damaged metadata may refuse it or, where the change says something valid, take it; never anything else. */
    @Test
    void survivesAnyDamageToAQuantizedHeader() throws IOException {
        Path quantized = quantized();
        byte[] bytes = Files.readAllBytes(quantized);
        int length = Fixtures.header(quantized).length();
        Path damaged = temp.resolve("damaged.safetensors");
        Random random = new Random(1);
        int refused = 0;
        for (int i = 0; i < 150; i++) {
            byte[] copy = bytes.clone();
            for (int k = 0; k <= i % 3; k++) {
                byte[] alphabet = "0123456789-+.eE\"\\{}[],:nultrfas \0\u007f"
                        .getBytes(java.nio.charset.StandardCharsets.US_ASCII);
                copy[8 + random.nextInt(length)] = alphabet[random.nextInt(alphabet.length)];
            }
            Files.write(damaged, copy);
            CommandRun run = CommandRun.of("inspect", damaged);
            if (run.exit() != 0) {
                run.refused(damaged);
                refused++;
            }
        }
        assertThat(refused).isGreaterThan(75);
    }

    /** Whole values replaced by such as JSON allows, which random bytes hardly ever do. */
    @Test
    void survivesForeignValuesInAQuantizedHeader() throws IOException {
        Path quantized = quantized();
        String header = Fixtures.header(quantized);
        int data = (int) Files.size(quantized) - 8 - header.length();
        Path damaged = temp.resolve("damaged.safetensors");
        for (String name : new String[] {
            "input",
            "left",
            "linears",
            "name",
            "geometry",
            "preprocessing",
            "labels",
            "scale",
            "weightBits",
            "mean",
            "depth"
        }) {
            for (String value : new String[] {"null", "[]", "{}", "[null]", "99999999999", "1e999"}) {
                Pattern old = Pattern.compile("@" + name + "@:(@[^@]*@|[-0-9.eE]+|\\{[^{}]*\\}|\\[[^\\[\\]]*\\])");
                assertThat(header.replace(ESCAPED, "@")).containsPattern(old);
                String changed = old.matcher(header.replace(ESCAPED, "@"))
                        .replaceFirst("@" + name + "@:" + value)
                        .replace("@", ESCAPED);
                Fixtures.safetensors(damaged, changed, data);
                CommandRun run = CommandRun.of("inspect", damaged);
                if (run.exit() != 0) {
                    run.refused(damaged, "quantize the model again");
                }
            }
        }
    }

    private Path quantized() {
        Path images = Fixtures.imageFolder(temp.resolve("images"), 2, 1);
        Path output = temp.resolve("quantized.safetensors");
        CommandRun.of(
                        "quantize",
                        model,
                        "--calibration",
                        images,
                        "--images",
                        2,
                        "--method",
                        "liu2021",
                        "--rounds",
                        0,
                        "-o",
                        output)
                .good();
        return output;
    }
}
