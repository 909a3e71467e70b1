package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.ModelFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** Other people's checkpoints, and other image sizes, through the commands. */
class CheckpointFormsTest {
    private static final Path DEIT3 = Fixtures.golden("deit3_micro");

    @TempDir
    Path temp;

    private Path quantized(Path model, Object... more) {
        Path images = Fixtures.imageFolder(temp.resolve("images"), 2, 4);
        Path file = temp.resolve("q.safetensors");
        Object[] words = {"quantize", model, "--calibration", images, "--images", 8, "--threads", 2, "-o", file};
        Object[] all = Arrays.copyOf(words, words.length + more.length);
        System.arraycopy(more, 0, all, words.length, more.length);
        CommandRun.of(all).good();
        return file;
    }

    @Test
    void checkRunsAtTheSizeThatIsAskedFor() {
        Path golden = DEIT3.resolve("golden_48.safetensors");
        CommandRun.of("check", DEIT3, "--golden", golden, "--image-size", 48, "--atol", "1e-4")
                .good();
        CommandRun.of("check", DEIT3, "--golden", golden).refused(golden, "[n, 3, 32, 32]");
    }

    @Test
    void aQuantizedFileCarriesItsImageSize() {
        Path file = quantized(DEIT3, "--image-size", 48);
        ModelFile read = ModelFile.read(file, Optional.empty());
        assertThat(read.model().geometry().imageSize()).isEqualTo(48);
        assertThat(read.model().config().preprocessing().resize()).isEqualTo(53);
        assertThat(read.provenance().orElseThrow().facts()).containsEntry("image_size", "48");
        CommandRun.of("inspect", file, "--image-size", 48).good();
        CommandRun.of("inspect", file, "--image-size", 32)
                .refused(file, "is quantized for images of 48, not 32", "--image-size 32");
        Path images = temp.resolve("images");
        Path image = images.resolve("k0/0.png");
        CommandRun.of("classify", file, image).good();
        JsonNode modules = CommandRun.of(
                        "compare", DEIT3, file, "--data", images, "--image-size", 48, "--classes", classes(), "--json")
                .good()
                .json();
        assertThat(modules.path("logit_sqnr_db").asDouble()).isGreaterThan(20);
    }

    private Path classes() {
        try {
            return Files.writeString(temp.resolve("classes.txt"), "k0\nk1\nx2\nx3\nx4\n");
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    /** What heads and tokens there are must pass through the whole search; 20 dB is what every 8-bit model has to reach. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "vit_registers_micro",
                "vit_registers_gap_micro",
                "vit_norm_gap_micro",
                "vit_fc_norm_micro",
                "vit_pre_logits_micro"
            })
    void everyKindOfHeadIsQuantized(String name) {
        Path model = Fixtures.golden(name);
        Path file = quantized(model);
        JsonNode result = CommandRun.of(
                        "compare", model, file, "--data", temp.resolve("images"), "--classes", classes(), "--json")
                .good()
                .json();
        assertThat(result.path("logit_sqnr_db").asDouble()).isGreaterThan(20);
        assertThat(CommandRun.of("inspect", file).good().out()).doesNotContain("float32,");
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "-8", "99999"})
    void senselessSizesAreRefused(String size) {
        CommandRun.of("inspect", DEIT3, "--image-size", size).refused("--image-size " + size);
    }

    @Test
    void aSizeThatPatchesDoNotDivideIsRefused() {
        CommandRun.of("inspect", DEIT3, "--image-size", 50)
                .refused(DEIT3.resolve("config.json"), "patch size 8 does not divide image size 50");
    }

    @Test
    void huggingFacesConfigIsNoneToTrainWith() {
        Path config = Fixtures.golden("hf_vit_micro").resolve("config.json");
        CommandRun.of("train", config, "--data", temp, "-o", temp.resolve("out"))
                .refused(config, "has no \"architecture\"", "give a timm config");
    }

    @Test
    void aTruncatedShardIsNamed() throws IOException {
        Path model = Files.createDirectory(temp.resolve("sharded"));
        Path golden = Fixtures.golden("hf_vit_micro");
        Files.copy(golden.resolve("config.json"), model.resolve("config.json"));
        byte[] whole = Files.readAllBytes(golden.resolve("model.safetensors"));
        Path shard = model.resolve("model-00001-of-00001.safetensors");
        Files.write(shard, whole);
        Files.writeString(
                model.resolve("model.safetensors.index.json"),
                "{\"weight_map\": {\"vit.embeddings.cls_token\": \"model-00001-of-00001.safetensors\"}}");
        CommandRun.of("inspect", model).refused(model, "does not name tensor");
        Files.write(shard, Arrays.copyOf(whole, whole.length - 5));
        CommandRun.of("inspect", model).refused(shard, "copy or download the file again");
    }
}
