package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.ModelFile;
import dev.trivet.model.VitModel;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** How near another engine's logits an export must come: activations decide, whose codes a rounding may move. */
class ExportBoundTest {
    @TempDir
    Path temp;

    private VitModel quantized(Object bits, int activationBits) {
        Path output = temp.resolve("q.safetensors");
        CommandRun.of(
                        "quantize",
                        Fixtures.golden(Fixtures.VIT),
                        "--calibration",
                        Fixtures.imageFolder(temp.resolve("images"), 2, 1),
                        "--images",
                        2,
                        "--method",
                        "liu2021",
                        "--rounds",
                        0,
                        "--bits",
                        activationBits,
                        "--weight-bits",
                        bits,
                        "-o",
                        output)
                .good();
        return ModelFile.read(output, Optional.empty()).model();
    }

    @ParameterizedTest
    @CsvSource({"8, 8", "4, 8", "ternary, 8", "7, 9"})
    void activationsOfBytesAreBounded(String weightBits, int activationBits) {
        assertThat(ExportCommand.expectedDb(quantized(weightBits, activationBits)))
                .isEqualTo(10);
    }

    /** However many bits the weights have. */
    @Test
    void narrowerOnesAreNot() {
        assertThat(ExportCommand.expectedDb(quantized(8, 4))).isEqualTo(Double.NEGATIVE_INFINITY);
    }

    @Test
    void floatsDifferByRoundingAlone() {
        assertThat(ExportCommand.expectedDb(ModelFile.read(Fixtures.golden(Fixtures.VIT), Optional.empty())
                        .model()))
                .isEqualTo(60);
    }
}
