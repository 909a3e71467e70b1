package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.image.ImageDecoder;
import dev.trivet.runtime.TrivetModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** What the commands say when all goes well. */
class ResultTest {
    private static final Path MODEL = Fixtures.golden(Fixtures.VIT);
    private static final Path GOLDEN = MODEL.resolve("golden.safetensors");

    @TempDir
    Path temp;

    private Path quantize(String name, Object... further) {
        Path output = temp.resolve(name);
        if (!Files.exists(temp.resolve("calibration"))) {
            Fixtures.imageFolder(temp.resolve("calibration"), 3, 4);
        }
        Object[] usual = {"quantize", MODEL, "--calibration", temp.resolve("calibration"), "--images", 6, "-o", output};
        CommandRun.of(Stream.concat(Stream.of(usual), Stream.of(further)).toArray())
                .good();
        return output;
    }

    private static List<Path> images(Path folder, int count) {
        return IntStream.range(0, count)
                .mapToObj(i -> Fixtures.image(folder.resolve(i + ".png"), 1000 + i))
                .toList();
    }

    /** The most probable class of each image, from {@code classify}. */
    private static List<Integer> predictions(Path model, List<Path> images) {
        List<Object> arguments = new ArrayList<>(List.of("classify", model, "--json"));
        arguments.addAll(images);
        JsonNode results = CommandRun.of(arguments.toArray()).good().json().path("images");
        return IntStream.range(0, images.size())
                .mapToObj(i -> results.path(i)
                        .path("predictions")
                        .path(0)
                        .path("index")
                        .asInt())
                .toList();
    }

    /** {@code 10 log10(sum a^2 / sum (a - b)^2)} over all logits, one image at a time. */
    private static double sqnr(Path a, Path b, List<Path> images) {
        double signal = 0;
        double noise = 0;
        try (TrivetModel modelA = TrivetModel.load(a);
                TrivetModel modelB = TrivetModel.load(b)) {
            for (Path image : images) {
                float[] logitsA = modelA.logits(ImageDecoder.decode(image));
                float[] logitsB = modelB.logits(ImageDecoder.decode(image));
                for (int c = 0; c < logitsA.length; c++) {
                    signal += Math.pow(logitsA[c], 2);
                    noise += Math.pow((double) logitsA[c] - logitsB[c], 2);
                }
            }
        }
        return 10 * Math.log10(signal / noise);
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "vit_gap_micro", "deit_distilled_micro"})
    void checkAgreesWithTheRecordedRun(String name) {
        Path model = Fixtures.golden(name);
        CommandRun text = CommandRun.of("check", model, "--golden", model.resolve("golden.safetensors"))
                .good();
        assertThat(text.out()).contains("act.blocks.0", "logits", " ok").endsWith("agrees" + System.lineSeparator());
        JsonNode json = CommandRun.of("check", model, "--golden", model.resolve("golden.safetensors"), "--json")
                .good()
                .json();
        assertThat(json.path("agrees").asBoolean()).isTrue();
        assertThat(json.path("kernels").asString()).isNotEmpty();
        for (JsonNode tensor : json.path("tensors")) {
            assertThat(tensor.path("largest_error").isNumber()).isTrue();
            assertThat(tensor.path("outside").asInt()).isZero();
            assertThat(tensor.path("values").asInt()).isPositive();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"swin_micro", "swin_micro_window4", "swin_padded_micro"})
    void checkAgreesWithTheRecordedRunOfASwin(String name) {
        Path model = Fixtures.golden(name);
        CommandRun text = CommandRun.of("check", model, "--golden", model.resolve("golden.safetensors"))
                .good();
        assertThat(text.out())
                .contains("act.layers.1.downsample", "act.norm", "logits", " ok")
                .endsWith("agrees" + System.lineSeparator());
    }

    @Test
    void inspectDescribesASwin() {
        Path model = Fixtures.golden("swin_micro_window4");
        JsonNode json = CommandRun.of("inspect", model, "--json").good().json();
        // Patch embedding, four linear layers in each of six blocks, two patch mergings, head.
        assertThat(json.path("operators")).hasSize(1 + 4 * 6 + 2 + 1);
        assertThat(json.path("geometry").path("depths")).hasSize(3);
        assertThat(json.path("geometry").path("window").asInt()).isEqualTo(4);
        assertThat(CommandRun.of("inspect", model).good().out())
                .contains("layers.2.downsample.reduction", "window 4, width 24, depths [2, 2, 2], heads [1, 2, 4]");
    }

    @Test
    void checkEndsWithOneBeyondTheTolerance() {
        CommandRun text = CommandRun.of("check", MODEL, "--golden", GOLDEN, "--rtol", 0, "--atol", 0);
        assertThat(text.exit()).isEqualTo(1);
        assertThat(text.out()).contains("DIFFERS", "differs: see the first DIFFERS above");
        assertThat(text.complaints()).isEmpty();
        CommandRun json = CommandRun.of("check", MODEL, "--golden", GOLDEN, "--rtol", 0, "--atol", 0, "--json");
        assertThat(json.exit()).isEqualTo(1);
        assertThat(json.json().path("agrees").asBoolean(true)).isFalse();
    }

    @Test
    void checkOfAnotherModelEndsWithOne() throws IOException {
        Path other = Fixtures.model(temp, Fixtures.VIT);
        Path weights = other.resolve("model.safetensors");
        byte[] bytes = Files.readAllBytes(weights);
        bytes[bytes.length - 1] ^= 0x40; // the exponent of one weight
        Files.write(weights, bytes);
        assertThat(CommandRun.of("check", other, "--golden", GOLDEN).exit()).isEqualTo(1);
    }

    @Test
    void evalCountsWhatClassifyPredicts() throws IOException {
        List<Path> images = images(temp.resolve("flat"), 20);
        List<Integer> predicted = predictions(MODEL, images);
        // Half of the images go where the model puts them, half one class further.
        Path data = temp.resolve("data");
        for (int c = 0; c < 10; c++) {
            Files.createDirectories(data.resolve("k" + c));
            Fixtures.image(data.resolve("k" + c).resolve("filler.png"), 5);
        }
        int filler = predictions(MODEL, List.of(data.resolve("k0/filler.png"))).getFirst();
        for (int i = 0; i < images.size(); i++) {
            int label = i % 2 == 0 ? predicted.get(i) : (predicted.get(i) + 1) % 10;
            Files.copy(images.get(i), data.resolve("k" + label).resolve("image" + i + ".png"));
        }
        JsonNode json = CommandRun.of("eval", MODEL, "--data", data, "--json", "--threads", 2)
                .good()
                .json();
        assertThat(filler).isBetween(0, 9); // right in exactly one of the ten folders
        assertThat(json.path("images").asInt()).isEqualTo(30);
        assertThat(json.path("top1_correct").asInt()).isEqualTo(11);
        assertThat(json.path("top1").asDouble()).isCloseTo(11 / 30.0, within(1e-12));
        // A filler is among the first five for exactly five of the ten folders; the even images always are.
        assertThat(json.path("top5_correct").asInt()).isBetween(15, 25);
        assertThat(json.path("top5").asDouble())
                .isCloseTo(json.path("top5_correct").asInt() / 30.0, within(1e-12));
        assertThat(json.path("bytes").asLong()).isEqualTo(Files.size(MODEL.resolve("model.safetensors")));
        assertThat(json.path("images_per_second").asDouble()).isPositive();
        assertThat(json.path("kernels").asString()).isNotEmpty();
        assertThat(json.path("unreadable").isArray()).isTrue();

        CommandRun text = CommandRun.of("eval", MODEL, "--data", data).good();
        assertThat(text.out()).contains("30 images: top-1 36.67 % (11), top-5 ", "images/s inference");
    }

    @Test
    void classFileGivesTheOrder() throws IOException {
        List<Path> images = images(temp.resolve("flat"), 12);
        List<Integer> predicted = predictions(MODEL, images);
        assertThat(predicted.stream().distinct().count())
                .as("different predictions")
                .isGreaterThan(1);
        // Folder names sort against the class order, so that a sorted order would be wrong.
        Path data = temp.resolve("data");
        for (int i = 0; i < images.size(); i++) {
            Path folder = Files.createDirectories(data.resolve("z" + (9 - predicted.get(i))));
            Files.copy(images.get(i), folder.resolve(i + ".png"));
        }
        Path right = temp.resolve("right.txt");
        Files.write(
                right,
                IntStream.range(0, 10)
                        .mapToObj(c -> "z" + (9 - c) + " a comment")
                        .toList());
        JsonNode json = CommandRun.of("eval", MODEL, "--data", data, "--classes", right, "--json")
                .good()
                .json();
        assertThat(json.path("top1").asDouble()).isEqualTo(1.0);
        Path wrong = temp.resolve("wrong.txt");
        Files.write(wrong, IntStream.range(0, 10).mapToObj(c -> "z" + c).toList());
        json = CommandRun.of("eval", MODEL, "--data", data, "--classes", wrong, "--json")
                .good()
                .json();
        assertThat(json.path("top1").asDouble()).isZero(); // c = 9 - c has no solution
    }

    @Test
    void classFileMayNameFoldersWithBlanks() throws IOException {
        List<Path> images = images(temp.resolve("flat"), 12);
        List<Integer> predicted = predictions(MODEL, images);
        Path data = temp.resolve("data");
        for (int i = 0; i < images.size(); i++) {
            Path folder = Files.createDirectories(data.resolve("golden " + (9 - predicted.get(i))));
            Files.copy(images.get(i), folder.resolve(i + ".png"));
        }
        Path classes = temp.resolve("classes.txt");
        Files.write(
                classes,
                IntStream.range(0, 10).mapToObj(c -> "golden " + (9 - c)).toList());
        JsonNode json = CommandRun.of("eval", MODEL, "--data", data, "--classes", classes, "--json")
                .good()
                .json();
        assertThat(json.path("top1").asDouble()).isEqualTo(1.0);
    }

    @Test
    void labelsOfTheModelGiveTheOrder() throws IOException {
        Path model = Fixtures.model(temp, Fixtures.VIT);
        Path config = model.resolve("config.json");
        Files.writeString(
                config,
                Files.readString(config)
                        .replace(
                                "\"num_classes\": 10",
                                "\"num_classes\": 10, \"label_names\": "
                                        + "[\"z9\",\"z8\",\"z7\",\"z6\",\"z5\",\"z4\",\"z3\",\"z2\",\"z1\",\"z0\"]"));
        List<Path> images = images(temp.resolve("flat"), 12);
        List<Integer> predicted = predictions(model, images);
        Path data = temp.resolve("data");
        for (int i = 0; i < images.size(); i++) {
            Path folder = Files.createDirectories(data.resolve("z" + (9 - predicted.get(i))));
            Files.copy(images.get(i), folder.resolve(i + ".png"));
        }
        JsonNode json =
                CommandRun.of("eval", model, "--data", data, "--json").good().json();
        assertThat(json.path("top1").asDouble()).isEqualTo(1.0);
        assertThat(CommandRun.of("classify", model, images.getFirst(), "--top", 1)
                        .good()
                        .out())
                .contains("%  z" + (9 - predicted.getFirst()));
    }

    @Test
    void classifyGivesProbabilitiesInOrder() {
        Path image = Fixtures.image(temp.resolve("a.png"), 3);
        JsonNode result = CommandRun.of("classify", MODEL, image, "--top", 10, "--json")
                .good()
                .json()
                .path("images")
                .path(0);
        assertThat(result.path("image").asString()).isEqualTo(image.toString());
        double sum = 0;
        double last = 1;
        for (JsonNode prediction : result.path("predictions")) {
            double p = prediction.path("probability").asDouble();
            assertThat(p).isBetween(0.0, last);
            last = p;
            sum += p;
        }
        assertThat(sum).isCloseTo(1, within(1e-9));
        CommandRun text = CommandRun.of("classify", MODEL, image, "--top", 2).good();
        assertThat(text.out().lines()).hasSize(3).first().isEqualTo(image.toString());
    }

    @Test
    void classifyTakesFoldersAndKeepsTheOrderOfImages() throws IOException {
        Path single = Fixtures.image(temp.resolve("z.png"), 99);
        Path folder = temp.resolve("folder");
        List<Path> inside = images(Files.createDirectories(folder.resolve("b")), 9);
        Path first = Fixtures.image(folder.resolve("first.png"), 98);
        Files.writeString(folder.resolve("notes.txt"), "not an image");
        List<String> order = Stream.concat(Stream.of(single, first), inside.stream())
                .map(Path::toString)
                .toList();
        JsonNode together = CommandRun.of("classify", MODEL, single, folder, "--threads", 3, "--json")
                .good()
                .json()
                .path("images");
        assertThat(together.valueStream().map(image -> image.path("image").asString()))
                .containsExactlyElementsOf(order);
        for (JsonNode image : together) {
            JsonNode alone = CommandRun.of(
                            "classify", MODEL, image.path("image").asString(), "--json")
                    .good()
                    .json();
            assertThat(alone.path("images").path(0)).isEqualTo(image);
        }
        CommandRun text = CommandRun.of("classify", MODEL, single, folder, "--top", 1, "--threads", 2)
                .good();
        assertThat(text.out().lines().filter(line -> line.endsWith(".png"))).containsExactlyElementsOf(order);
    }

    @Test
    void quantizeWritesTheSameBytesForTheSameSeed() throws IOException {
        Path once = quantize("once.safetensors", "--seed", 7, "--threads", 1);
        Path twice = quantize("twice.safetensors", "--seed", 7, "--threads", 2);
        assertThat(twice).hasSameBinaryContentAs(once);
        Path other = quantize("other.safetensors", "--seed", 8);
        assertThat(Files.mismatch(once, other)).isNotNegative();
    }

    @Test
    void quantizeReportsWhatItWrote() throws IOException {
        Path output = temp.resolve("new folder/q.safetensors");
        Fixtures.imageFolder(temp.resolve("calibration"), 2, 3);
        JsonNode json = CommandRun.of(
                        "quantize",
                        MODEL,
                        "--calibration",
                        temp.resolve("calibration"),
                        "--images",
                        4,
                        "--seed",
                        3,
                        "-o",
                        output,
                        "--json")
                .good()
                .json();
        assertThat(json.path("bytes").asLong()).isEqualTo(Files.size(output));
        assertThat(json.path("source_bytes").asLong()).isEqualTo(Files.size(MODEL.resolve("model.safetensors")));
        assertThat(json.path("bytes").asLong())
                .isLessThan(json.path("source_bytes").asLong() * 2 / 5);
        assertThat(json.path("calibration_images").asInt()).isEqualTo(4);
        assertThat(json.path("seed").asInt()).isEqualTo(3);
        assertThat(json.path("precision").asString()).isEqualTo("W8A8");
        assertThat(json.path("kernels").asString()).isNotEmpty();
        assertThat(Fixtures.files(temp.resolve("new folder"))).containsExactly(output);
    }

    @Test
    void aQuantizedFileStandsAlone() throws IOException {
        Path quantized = quantize("q.safetensors");
        Path alone = Files.createDirectories(temp.resolve("alone")).resolve("any name.st");
        Files.move(quantized, alone);
        Path data = Fixtures.imageFolder(temp.resolve("data"), 10, 3);
        JsonNode json =
                CommandRun.of("eval", alone, "--data", data, "--json").good().json();
        assertThat(json.path("precision").asString()).isEqualTo("W8A8");
        assertThat(json.path("images").asInt()).isEqualTo(30);

        JsonNode both = CommandRun.of("compare", MODEL, alone, "--data", data, "--json")
                .good()
                .json();
        assertThat(both.path("images").asInt()).isEqualTo(30);
        List<Path> images = Fixtures.files(data).toList();
        List<Integer> byA = predictions(MODEL, images);
        List<Integer> byB = predictions(alone, images);
        long agreed = IntStream.range(0, images.size())
                .filter(i -> byA.get(i).equals(byB.get(i)))
                .count();
        assertThat(both.path("agreement").asDouble()).isEqualTo(agreed / 30.0);
        // compare runs batches, the expected value single images: float products may round differently.
        assertThat(both.path("logit_sqnr_db").asDouble()).isCloseTo(sqnr(MODEL, alone, images), within(1e-4));
        assertThat(both.path("b").path("top1").asDouble())
                .isEqualTo(json.path("top1").asDouble());
        assertThat(both.path("b").path("bytes").asLong()).isEqualTo(Files.size(alone));
        assertThat(both.path("a").path("images_per_second").asDouble()).isPositive();
        assertThat(both.path("kernels").asString()).isNotEmpty();
        for (JsonNode layer : both.path("layers")) {
            assertThat(layer.path("sqnr_db").isNumber()).isTrue();
        }
        // Embedding, attention and MLP of three blocks, head.
        assertThat(both.path("modules")).hasSize(8);
        for (JsonNode module : both.path("modules")) {
            assertThat(module.path("sqnr_db").asDouble()).isBetween(20.0, 70.0);
            assertThat(module.path("weight_bits").asInt()).isEqualTo(8);
            assertThat(module.path("activation_bits").asInt()).isEqualTo(8);
            assertThat(module.path("noise_added").isNumber()).isTrue();
            assertThat(module.path("advice").asString()).startsWith("leave ");
        }
        assertThat(both.path("modules_basis").asString()).contains("rotated");
        CommandRun text = CommandRun.of("compare", MODEL, alone, "--data", data).good();
        assertThat(text.out())
                .contains(
                        "top-1",
                        "30 images: agreement ",
                        "noisiest layers",
                        "worst modules: ",
                        "W8A8",
                        "leave blocks.");
    }

    @Test
    void aModelAgreesWithItself() {
        Path data = Fixtures.imageFolder(temp.resolve("data"), 10, 1);
        JsonNode json = CommandRun.of("compare", MODEL, MODEL, "--data", data, "--json")
                .good()
                .json();
        assertThat(json.path("agreement").asDouble()).isEqualTo(1.0);
        // JSON has no infinity.
        assertThat(json.path("logit_sqnr_db").isNull()).isTrue();
        assertThat(json.path("layers")).isNotEmpty();
        for (JsonNode layer : json.path("layers")) {
            assertThat(layer.path("sqnr_db").isNull()).isTrue();
        }
        CommandRun text = CommandRun.of("compare", MODEL, MODEL, "--data", data).good();
        assertThat(text.out()).doesNotContain("Infinity").contains("agreement 100.00 %, equal logits");
    }

    @Test
    void compareTakesAnArchitecture() throws IOException {
        Path folder = Fixtures.model(temp, Fixtures.VIT);
        Files.delete(folder.resolve("config.json"));
        CommandRun.of("compare", folder, MODEL, "--data", temp, "--architecture", "vit_tiny_patch16_224")
                .refused(
                        folder.resolve("model.safetensors"),
                        "has shape [1, 1, 64] where the config asks for [1, 1, 192]");
    }

    @Test
    void inspectListsEveryOperator() {
        Path quantized = quantize("q.safetensors");
        JsonNode json = CommandRun.of("inspect", quantized, "--json").good().json();
        // Patch embedding, four linear layers in each of three blocks, head; two products a block.
        assertThat(json.path("operators")).hasSize(1 + 4 * 3 + 1 + 2 * 3);
        assertThat(json.path("geometry").path("patch_size").asInt()).isEqualTo(16);
        assertThat(json.path("parameters").asLong()).isEqualTo(201098);
        assertThat(json.path("provenance").path("seed").asString()).isEqualTo("0");
        long sum = json.path("float_bytes").asLong();
        for (JsonNode operator : json.path("operators")) {
            sum += operator.path("bytes").asLong();
        }
        assertThat(json.path("bytes").asLong()).isGreaterThan(sum).isLessThan(sum + 20_000); // the header
        CommandRun text = CommandRun.of("inspect", quantized).good();
        assertThat(text.out())
                .contains("blocks.2.mlp.fc2", "8 bit per channel", "201,098 parameters", "calibration_images: 6");
    }

    @Test
    void keepsATerminalSafeFromLabels() throws IOException {
        Path model = Fixtures.model(temp, Fixtures.VIT);
        Path config = model.resolve("config.json");
        StringBuilder labels = new StringBuilder();
        for (int c = 0; c < 10; c++) {
            labels.append(c == 0 ? "" : ",")
                    .append("\"a\\u001b[2J\\u009b\\u202e\\nb")
                    .append(c)
                    .append('"');
        }
        Files.writeString(
                config,
                Files.readString(config)
                        .replace("\"num_classes\": 10", "\"num_classes\": 10, \"label_names\": [" + labels + "]"));
        Path image = Fixtures.image(temp.resolve("a.png"), 3);
        CommandRun text = CommandRun.of("classify", model, image, "--top", 1).good();
        assertThat(text.out()).doesNotContain("\u001b", "\u009b", "\u202e");
        CommandRun json =
                CommandRun.of("classify", model, image, "--top", 1, "--json").good();
        assertThat(json.out()).doesNotContain("\u001b", "\u009b", "\u202e");
        assertThat(json.json()
                        .path("images")
                        .path(0)
                        .path("predictions")
                        .path(0)
                        .path("label")
                        .asString())
                .startsWith("a\u001b[2J\u009b\u202e\nb");
    }

    @ParameterizedTest
    @ValueSource(strings = {"eval", "quantize", "compare", "classify", "inspect", "check"})
    void everyCommandHasHelp(String command) {
        CommandRun help = CommandRun.of(command, "--help").good();
        assertThat(help.out()).startsWith("Usage: trivet " + command).contains("--json");
    }

    @Test
    void saysItsVersion() {
        assertThat(CommandRun.of("--version").good().out().strip()).isEqualTo("trivet " + TrivetCommand.VERSION);
    }
}
