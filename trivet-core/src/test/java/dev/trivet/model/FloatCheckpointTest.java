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
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Checkpoints made by damaging the recorded micro model in one way each. */
class FloatCheckpointTest {
    private static final Path GOLDEN = Path.of(System.getProperty("trivet.goldens"), "vit_micro");

    @TempDir
    Path folder;

    @BeforeEach
    void copyConfig() throws IOException {
        Files.copy(GOLDEN.resolve("config.json"), folder.resolve("config.json"));
    }

    private Path weights(Consumer<Map<String, Tensor>> change) {
        Path file = folder.resolve("model.safetensors");
        try (SafetensorsFile source = SafetensorsFile.open(GOLDEN.resolve("model.safetensors"))) {
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            source.names().forEach(name -> tensors.put(name, source.find(name).orElseThrow()));
            change.accept(tensors);
            SafetensorsWriter.write(file, tensors.values(), Map.of());
        }
        return file;
    }

    private void refused(Path named, String... parts) {
        var message = assertThatThrownBy(() -> FloatCheckpoint.open(folder, Optional.empty()))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(named + ": ")
                .hasMessageNotContaining("\n");
        for (String part : parts) {
            message.hasMessageContaining(part);
        }
    }

    @Test
    void readsAFolderAndTheFileInIt() {
        Path file = weights(tensors -> {});
        try (FloatCheckpoint folderModel = FloatCheckpoint.open(folder, Optional.empty());
                FloatCheckpoint fileModel = FloatCheckpoint.open(file, Optional.empty())) {
            assertThat(folderModel.file()).isEqualTo(file);
            assertThat(folderModel.config()).isEqualTo(fileModel.config());
            assertThat(folderModel.floats("blocks.2.mlp.fc2.bias"))
                    .hasSize(64)
                    .isEqualTo(fileModel.floats("blocks.2.mlp.fc2.bias"));
            VitModel model = VitModel.read(folderModel);
            assertThat(model.isQuantized()).isFalse();
            // Counted by hand: 768*64+64 patches, 64 class, 17*64 positions, 3*(12*64*64 + 9*64 + 4*64 + 4*64), 128
            // norm, 650 head
            assertThat(model.parameters()).isEqualTo(49_216 + 64 + 1_088 + 3 * 49_984 + 128 + 650);
        }
    }

    @Test
    void halfPrecisionWidens() {
        weights(tensors ->
                tensors.computeIfPresent("head.bias", (name, t) -> Tensor.ofBytes(name, DType.F16, new byte[20], 10)));
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(folder, Optional.empty())) {
            assertThat(checkpoint.floats("head.bias")).isEqualTo(new float[10]);
        }
    }

    @Test
    void missingTensorsAreNamed() {
        Path file = weights(tensors -> tensors.remove("blocks.1.attn.qkv.weight"));
        refused(file, "lacks tensor blocks.1.attn.qkv.weight; check that config.json belongs to these weights");
    }

    @Test
    void manyMissingTensorsAreCounted() {
        Path file = weights(tensors -> tensors.keySet().removeIf(name -> name.startsWith("blocks.0.")));
        refused(file, "lacks tensors blocks.0.norm1.weight, blocks.0.norm1.bias, ", " and 9 more");
    }

    @Test
    void unknownTensorsAreNamed() {
        Path file = weights(tensors -> {
            tensors.put("ema.decay", Tensor.ofFloats("ema.decay", new float[1], 1));
            tensors.remove("norm.bias");
        });
        refused(file, "lacks tensor norm.bias and has unknown tensor ema.decay");
    }

    @Test
    void wrongShapesAreNamed() {
        Path file = weights(tensors ->
                tensors.computeIfPresent("head.weight", (name, t) -> Tensor.ofFloats(name, t.toFloats(), 64, 10)));
        refused(file, "tensor head.weight has shape [64, 10] where the config asks for [10, 64]");
    }

    @Test
    void wrongTypesAreNamed() {
        Path file = weights(tensors ->
                tensors.computeIfPresent("norm.bias", (name, t) -> Tensor.ofBytes(name, DType.I32, new byte[256], 64)));
        refused(file, "tensor norm.bias is I32; a float model needs F32, F16 or BF16");
    }

    @Test
    void missingFilesAreNamed() throws IOException {
        refused(folder.resolve("model.safetensors"), "no such file");
        weights(tensors -> {});
        Files.delete(folder.resolve("config.json"));
        refused(folder.resolve("config.json"), "no such file");
        Files.delete(folder.resolve("model.safetensors"));
        refused(
                folder,
                "holds no model; give a folder with model.safetensors and config.json, or a .safetensors or .pth file");
        assertThatThrownBy(() -> FloatCheckpoint.open(folder.resolve("absent"), Optional.empty()))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(folder.resolve("absent") + ": no such file");
    }

    @Test
    void aPresetReplacesTheConfig() {
        Path file = weights(tensors -> {});
        assertThatThrownBy(() -> FloatCheckpoint.open(folder, Optional.of("deit_tiny_patch16_224")))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": tensor cls_token has shape [1, 1, 64]")
                .hasMessageContaining("asks for [1, 1, 192]");
    }

    @Test
    void labelsOfWrongLengthAreRefused() throws IOException {
        weights(tensors -> {});
        Path config = folder.resolve("config.json");
        Files.writeString(
                config, Files.readString(config).replaceFirst("\\{", "{\"label_names\": [\"cat\", \"dog\"], "));
        refused(config, "2 labels for 10 classes");
    }
}
