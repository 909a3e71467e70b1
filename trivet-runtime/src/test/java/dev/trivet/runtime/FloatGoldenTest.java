package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.image.ImageDecoder;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
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
