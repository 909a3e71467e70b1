package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.tensor.DType;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Old and new names of the same tensors, from one golden model. */
class SwinCheckpointTest {
    private static final Path GOLDEN = Path.of(System.getProperty("trivet.goldens"), "swin_micro_window4");

    @TempDir
    Path folder;

    private static VitModel read(Path folder) {
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(folder, Optional.empty())) {
            return VitModel.read(checkpoint);
        }
    }

    /** The golden model as Microsoft's files and timm before 0.9 name it, with some tensors more. */
    private Path old(Tensor... more) throws IOException {
        try (SafetensorsFile golden = SafetensorsFile.open(GOLDEN.resolve("model.safetensors"))) {
            List<Tensor> tensors = new ArrayList<>(List.of(more));
            for (String name : golden.names()) {
                String older = name.replace("layers.1.downsample", "layers.0.downsample")
                        .replace("layers.2.downsample", "layers.1.downsample")
                        .replace("head.fc.", "head.");
                Tensor tensor = golden.find(name).orElseThrow();
                tensors.add(new Tensor(older, tensor.dtype(), tensor.shape(), tensor.data()));
            }
            SafetensorsWriter.write(folder.resolve("model.safetensors"), tensors, Map.of());
        }
        Files.copy(GOLDEN.resolve("config.json"), folder.resolve("config.json"));
        return folder;
    }

    @Test
    void oldNamesGiveTheSameModel() throws IOException {
        VitModel expected = read(GOLDEN);
        Tensor index = Tensor.ofBytes(
                "layers.0.blocks.0.attn.relative_position_index", DType.I32, new byte[16 * 16 * 4], 16, 16);
        Tensor mask = Tensor.ofFloats("layers.0.blocks.1.attn_mask", new float[16 * 16 * 16], 16, 16, 16);
        VitModel model = read(old(index, mask));
        assertThat(model.geometry()).isEqualTo(expected.geometry());
        assertThat(model.linears().keySet()).isEqualTo(expected.linears().keySet());
        assertThat(model.linears().keySet()).contains("layers.1.downsample.reduction", "head.fc");
        for (String name : model.linears().keySet()) {
            LinearLayer.Float32 a = (LinearLayer.Float32) model.linear(name);
            LinearLayer.Float32 b = (LinearLayer.Float32) expected.linear(name);
            assertThat(a.weight()).as(name).isEqualTo(b.weight());
            assertThat(a.bias()).as(name).isEqualTo(b.bias());
        }
        for (String name : expected.floats().keySet()) {
            assertThat(model.floats(name)).as(name).isEqualTo(expected.floats(name));
        }
    }

    @Test
    void absolutePositionsAreFoundInTheFile() throws IOException {
        float[] positions = new float[256 * 24];
        positions[77] = 0.5f;
        VitModel model = read(old(Tensor.ofFloats("absolute_pos_embed", positions, 1, 256, 24)));
        assertThat(((SwinConfig) model.geometry()).absolutePositions()).isTrue();
        assertThat(model.floats("absolute_pos_embed")).isEqualTo(positions);
    }

    @Test
    void buffersOfOtherNamesAreUnknown() throws IOException {
        Path file = old(Tensor.ofFloats("layers.0.attn_mask", new float[4], 4));
        assertThatThrownBy(() -> read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("has unknown tensor layers.0.attn_mask");
    }

    @Test
    void aTableOfAnotherWindowIsRefused() throws IOException {
        Path file = old();
        Path config = file.resolve("config.json");
        Files.writeString(config, Files.readString(config).replace("\"window_size\": 4", "\"window_size\": 8"));
        assertThatThrownBy(() -> read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("tensor layers.0.blocks.0.attn.relative_position_bias_table has shape [49, 1]")
                .hasMessageContaining("asks for [225, 1]");
    }
}
