package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

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

    private static List<GoldenCheck.Comparison> check(
            VitModel model, Kernels kernels, Path folder, double relative, double absolute) {
        try (VitExecutor executor = new VitExecutor(model, kernels, 1);
                SafetensorsFile golden = SafetensorsFile.open(folder.resolve("golden.safetensors"))) {
            return GoldenCheck.run(executor, golden, relative, absolute);
        }
    }
}
