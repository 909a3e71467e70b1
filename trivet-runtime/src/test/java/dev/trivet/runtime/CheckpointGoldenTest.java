package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.ModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Checkpoints of every naming and of every option of a ViT, at their own image size and at others, against what timm and transformers
 * give. How each was made is said in {@code goldens/README.md}.
 */
class CheckpointGoldenTest {
    @ParameterizedTest
    @CsvSource({
        "hf_vit_micro",
        "hf_deit_micro",
        "hf_deit_teacher_micro",
        "hf_swin_micro",
        "hf_swin_positions_micro",
        "deit3_micro",
        "deit3_micro/facebook.pth",
        "swin_microsoft_micro/swin.pth",
        "vit_registers_micro",
        "vit_registers_gap_micro",
        "vit_fc_norm_micro",
        "vit_norm_gap_micro",
        "vit_pre_logits_micro",
        "deit_distilled_resized_micro"
    })
    void agreesOnEveryProvider(String checkpoint) {
        agrees(checkpoint, OptionalInt.empty(), "golden.safetensors");
    }

    @ParameterizedTest
    @CsvSource({
        "deit3_micro, 48",
        "deit3_micro, 24",
        "deit3_micro/facebook.pth, 24",
        "vit_registers_micro, 56",
        "deit_distilled_resized_micro, 48",
        "swin_microsoft_micro/swin.pth, 40",
        "swin_microsoft_micro/swin.pth, 24"
    })
    void agreesAtAnotherImageSize(String checkpoint, int size) {
        VitModel model = agrees(checkpoint, OptionalInt.of(size), "golden_" + size + ".safetensors");
        assertThat(model.geometry().imageSize()).isEqualTo(size);
        assertThat(model.config().preprocessing().imageSize()).isEqualTo(size);
        // timm: floor(size / 0.9)
        assertThat(model.config().preprocessing().resize()).isEqualTo((int) (size / 0.9));
    }

    private static VitModel agrees(String checkpoint, OptionalInt imageSize, String golden) {
        String[] parts = checkpoint.split("/", 2);
        Path folder = Fixtures.golden(parts[0]);
        Path path = parts.length == 1 ? folder : folder.resolve(parts[1]);
        VitModel model = ModelFile.read(path, Optional.empty(), imageSize).model();
        for (Kernels kernels : Fixtures.providers()) {
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                    SafetensorsFile recorded = SafetensorsFile.open(folder.resolve(golden))) {
                assertThat(GoldenCheck.run(executor, recorded, 1e-3, 1e-4))
                        .as(checkpoint + " on " + kernels.name())
                        .hasSize(1)
                        .allMatch(GoldenCheck.Comparison::agrees);
            }
        }
        return model;
    }
}
