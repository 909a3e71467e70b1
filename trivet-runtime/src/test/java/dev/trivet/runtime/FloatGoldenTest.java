package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.image.ImageDecoder;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The float executor against outputs and activations recorded with timm. */
class FloatGoldenTest {
    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "deit_distilled_micro", "vit_gap_micro"})
    void microModelsAgreeOnEveryProvider(String name) {
        VitModel model = Fixtures.load(Fixtures.golden(name));
        for (Kernels kernels : Fixtures.providers()) {
            List<GoldenCheck.Comparison> comparisons = check(model, kernels, Fixtures.golden(name), 1e-3, 1e-4);
            assertThat(comparisons).as(name + " on " + kernels.name()).allMatch(GoldenCheck.Comparison::agrees);
            assertThat(comparisons).extracting(GoldenCheck.Comparison::name).contains("act.patch_embed", "act.norm");
        }
    }

    /** The third has maps of 13, 7 and 4 tokens a side, which windows of 4 do not divide; the last of its windows are 3 wide. */
    @ParameterizedTest
    @CsvSource({"swin_micro, 8", "swin_micro_window4, 11", "swin_padded_micro, 11"})
    void microSwinsAgreeOnEveryProvider(String name, int tensors) {
        VitModel model = Fixtures.load(Fixtures.golden(name));
        for (Kernels kernels : Fixtures.providers()) {
            List<GoldenCheck.Comparison> comparisons = check(model, kernels, Fixtures.golden(name), 1e-3, 1e-4);
            assertThat(comparisons).as(name + " on " + kernels.name()).allMatch(GoldenCheck.Comparison::agrees);
            assertThat(comparisons).hasSize(tensors);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"state_dict.pth", "checkpoint_with_model_key.pth", "state_dict_fp16.pth"})
    void torchFilesAgreeOnEveryProvider(String file) {
        agrees(Fixtures.golden("pth_vit_micro").resolve(file), Fixtures.golden("pth_vit_micro"));
    }

    /**
     * Rounding the weights to bfloat16 alone moves the outputs by up to 5e-4. These are PyTorch's for the rounded weights, from
     * a script whose outputs for the float32 weights are within 2e-8 of the recorded ones.
     */
    @Test
    void bfloat16TorchFileAgreesOnEveryProvider(@TempDir Path folder) {
        float[] logits = {
            -0.0490146018f,
            0.0823414028f,
            -0.0695140883f,
            0.1114649251f,
            0.0250207633f,
            0.0179211646f,
            0.2072766721f,
            -0.1137655079f,
            0.0800333023f,
            0.0166823547f
        };
        Path recorded = Fixtures.golden("pth_vit_micro");
        try (SafetensorsFile golden = SafetensorsFile.open(recorded.resolve("golden.safetensors"))) {
            SafetensorsWriter.write(
                    folder.resolve("golden.safetensors"),
                    List.of(golden.find("input").orElseThrow(), Tensor.ofFloats("output", logits, 2, 5)),
                    Map.of());
        }
        agrees(recorded.resolve("state_dict_bf16.pth"), folder);
    }

    private static void agrees(Path weights, Path golden) {
        VitModel model = Fixtures.load(weights);
        for (Kernels kernels : Fixtures.providers()) {
            assertThat(check(model, kernels, golden, 1e-3, 1e-4))
                    .as(weights + " on " + kernels.name())
                    .hasSize(1)
                    .allMatch(GoldenCheck.Comparison::agrees);
        }
    }

    @Test
    @Tag("shared")
    void deitTinyAgrees() {
        Path folder = Fixtures.shared("data/deit_tiny_patch16_224");
        VitModel model = Fixtures.load(folder);
        for (Kernels kernels : Fixtures.providers()) {
            if (kernels.name().equals("reference")) {
                continue; // half a minute an image, and the micro models cover it
            }
            List<GoldenCheck.Comparison> comparisons = check(model, kernels, folder, 1e-3, 1e-3);
            assertThat(comparisons).as(kernels.name()).allMatch(GoldenCheck.Comparison::agrees);
            assertThat(comparisons).hasSize(15);
        }
    }

    /** From the JPEG files: our decoder, resize and crop in place of Pillow's and torchvision's. */
    @Test
    @Tag("shared")
    void deitTinyAgreesFromTheImageFiles() {
        Path folder = Fixtures.shared("data/deit_tiny_patch16_224");
        Path images = Fixtures.shared("data/imagenet");
        JsonNode names = new JsonMapper()
                .readTree(folder.resolve("golden.json").toFile())
                .path("images");
        try (SafetensorsFile golden = SafetensorsFile.open(folder.resolve("golden.safetensors"));
                TrivetModel model = new TrivetModel(
                        Fixtures.load(folder), KernelSelection.get().kernels(), 1)) {
            float[] expected = golden.find("logits").orElseThrow().toFloats();
            assertThat(names.size()).isEqualTo(8);
            for (int i = 0; i < names.size(); i++) {
                float[] logits = model.logits(
                        ImageDecoder.decode(images.resolve(names.get(i).asString())));
                float[] recorded = Arrays.copyOfRange(expected, i * 1000, (i + 1) * 1000);
                assertThat(logits).as(names.get(i).asString()).containsExactly(recorded, within(0.05f));
                assertThat(topFive(logits)).isEqualTo(topFive(recorded));
            }
        }
    }

    private static List<Integer> topFive(float[] logits) {
        return IntStream.range(0, logits.length)
                .boxed()
                .sorted(Comparator.comparingDouble(c -> -logits[c]))
                .limit(5)
                .toList();
    }

    private static List<GoldenCheck.Comparison> check(
            VitModel model, Kernels kernels, Path folder, double relative, double absolute) {
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                SafetensorsFile golden = SafetensorsFile.open(folder.resolve("golden.safetensors"))) {
            return GoldenCheck.run(executor, golden, relative, absolute);
        }
    }
}
