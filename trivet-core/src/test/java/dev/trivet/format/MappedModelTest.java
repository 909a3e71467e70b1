package dev.trivet.format;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MappedModelTest {
    @TempDir
    Path folder;

    private static MappedModel open(Path path) {
        return MappedModel.open(path, Optional.empty(), OptionalInt.empty());
    }

    private Path written(VitModel model) {
        Path file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, model, new Provenance(Map.of()));
        return file;
    }

    private static VitModel model(String kind) {
        return switch (kind) {
            case "mixed" -> SmallModel.mixed();
            case "ternary" -> SmallModel.ternary();
            default -> SmallModel.quantized();
        };
    }

    @ParameterizedTest
    @ValueSource(strings = {"quantized", "mixed", "ternary"})
    void isTheModelThatIsReadIntoMemory(String kind) {
        Path file = written(model(kind));
        VitModel read = ModelFile.read(file, Optional.empty()).model();
        try (MappedModel mapped = open(file)) {
            assertThat(mapped.file()).isEqualTo(file);
            assertThat(mapped.model().config()).isEqualTo(read.config());
            assertThat(mapped.model().matmuls()).isEqualTo(read.matmuls());
            read.floats()
                    .forEach((name, values) ->
                            assertThat(mapped.model().floats(name)).isEqualTo(values));
            read.linears().forEach((name, layer) -> {
                LinearLayer other = mapped.model().linear(name);
                assertThat(other.bias()).isEqualTo(layer.bias());
                if (layer instanceof LinearLayer.Quantized q) {
                    LinearLayer.Quantized o = (LinearLayer.Quantized) other;
                    assertThat(o.codes().isNative()).isTrue();
                    assertThat(o.codes().toArray(JAVA_BYTE)).isEqualTo(q.codes().toArray(JAVA_BYTE));
                    assertThat(o.scales()).isEqualTo(q.scales());
                    assertThat(o.input()).isEqualTo(q.input());
                    assertThat(o.equalization().isPresent())
                            .isEqualTo(q.equalization().isPresent());
                }
            });
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"quantized", "ternary"})
    void codesEndWithIt(String kind) {
        MappedModel mapped = open(written(model(kind)));
        MemorySegment codes = ((LinearLayer.Quantized) mapped.model().linear("blocks.0.mlp.fc1")).codes();
        mapped.close();
        assertThatThrownBy(() -> codes.get(JAVA_BYTE, 0)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void refusesWhatModelFileRefuses() throws Exception {
        Path absent = folder.resolve("absent");
        assertThatThrownBy(() -> open(absent))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("no such model");
        Path file = written(SmallModel.quantized());
        assertThatThrownBy(() -> MappedModel.open(file, Optional.empty(), OptionalInt.of(4096)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("--image-size 4096");
        byte[] bytes = Files.readAllBytes(file);
        Path cut = folder.resolve("cut.safetensors");
        Files.write(cut, java.util.Arrays.copyOf(bytes, bytes.length - 1));
        assertThatThrownBy(() -> open(cut)).isInstanceOf(BadInputException.class);
    }
}
