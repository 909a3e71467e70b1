package dev.trivet.format;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.tensor.SafetensorsFile;
import java.nio.file.Path;
import java.util.Objects;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * A file of version 1, written by the last code that wrote it: {@code quantize} of the golden {@code vit_gap_micro} on four
 * images of {@code goldens/resize}. The expected numbers were read from its bytes by other means.
 */
class Version1FileTest {
    private static final Path FILE = Path.of(Objects.requireNonNull(System.getProperty("trivet.goldens")))
            .resolveSibling("fixtures/format/version_1.safetensors");

    @TempDir
    Path folder;

    private final ModelFile old = ModelFile.read(FILE, Optional.empty());

    /** Codes as they stand in the file: their sum, and their sum weighted by index. */
    @ParameterizedTest
    @CsvSource({
        "patch_embed.proj,   32, 192,   -87, -7479765",
        "blocks.0.attn.qkv,  96,  32, -1447,  -441406",
        "blocks.0.attn.proj, 32,  32,  1370,  1282634",
        "blocks.0.mlp.fc1,  128,  32,  2586,  9361445",
        "blocks.1.mlp.fc2,   32, 128,   830,  -374792",
        "head,                7,  32,   432,    34456",
    })
    void codesAreRead(String name, int outputs, int inputs, int sum, int weightedSum) {
        LinearLayer.Quantized layer = (LinearLayer.Quantized) old.model().linear(name);
        assertThat(layer.bits()).isEqualTo(8);
        assertThat(layer.outputs()).isEqualTo(outputs);
        assertThat(layer.inputs()).isEqualTo(inputs);
        int codes = 0;
        int weighted = 0;
        for (int i = 0; i < outputs * inputs; i++) {
            codes += layer.code(i);
            weighted += i * layer.code(i);
        }
        assertThat(codes).isEqualTo(sum);
        assertThat(weighted).isEqualTo(weightedSum);
    }

    @Test
    void quantizersAndOriginAreRead() {
        assertThat(old.version()).hasValue(1);
        LinearLayer.Quantized first = (LinearLayer.Quantized) old.model().linear("patch_embed.proj");
        assertThat(first.input()).isEqualTo(new ActivationQuantizer(0.008313726f, 127, 0, 255));
        assertThat(old.model().linears())
                .hasSize(10)
                .allSatisfy((name, layer) -> assertThat(layer).isInstanceOf(LinearLayer.Quantized.class));
        assertThat(old.model().matmuls())
                .containsOnlyKeys("blocks.0.attn.qk", "blocks.0.attn.av", "blocks.1.attn.qk", "blocks.1.attn.av");
        assertThat(old.provenance().orElseThrow().facts())
                .containsEntry("seed", "3")
                .containsEntry("calibration_images", "4")
                .containsEntry("source_sha256", "fcc257ea8d48b9de63ab09beef469338d6798b3f918e7d894af72352e3488e7f");
        assertThat(old.provenance().orElseThrow().plan()).isEmpty();
        assertThat(old.provenance().orElseThrow().report()).isEmpty();
    }

    /** At 8 bits the versions differ in a digit of the header, so nothing is lost or gained. */
    @Test
    void writtenAgainItIsTheSameModel() {
        Path rewritten = folder.resolve("2.safetensors");
        QuantizedModelFile.write(rewritten, old.model(), old.provenance().orElseThrow());
        ModelFile renewed = ModelFile.read(rewritten, Optional.empty());
        assertThat(renewed.version()).hasValue(2);
        assertThat(renewed.bytes()).isEqualTo(old.bytes());
        assertThat(renewed.model().config()).isEqualTo(old.model().config());
        assertThat(renewed.model().matmuls()).isEqualTo(old.model().matmuls());
        assertThat(renewed.provenance()).isEqualTo(old.provenance());
        try (SafetensorsFile a = SafetensorsFile.open(FILE);
                SafetensorsFile b = SafetensorsFile.open(rewritten)) {
            assertThat(b.names()).isEqualTo(a.names());
            for (String name : a.names()) {
                assertThat(b.find(name).orElseThrow().data().toArray(JAVA_BYTE))
                        .isEqualTo(a.find(name).orElseThrow().data().toArray(JAVA_BYTE));
            }
        }
    }
}
