package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.format.ModelFile;
import dev.trivet.tensor.DType;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

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

    // ---- other forms of weights

    private static final Path TORCH = GOLDEN.resolveSibling("pth_vit_micro");

    private Path torchFolder(String... files) throws IOException {
        Path model = Files.createDirectory(folder.resolve("torch"));
        Files.copy(TORCH.resolve("config.json"), model.resolve("config.json"));
        for (String file : files) {
            Files.copy(TORCH.resolve("state_dict.pth"), model.resolve(file));
        }
        return model;
    }

    @ParameterizedTest
    @ValueSource(strings = {"weights.pth", "weights.pt", "pytorch_model.bin"})
    void readsAFolderWithOneTorchFileAndTheFileInIt(String name) throws IOException {
        Path model = torchFolder(name);
        Files.writeString(model.resolve("other.bin"), "not read");
        for (Path path : List.of(model, model.resolve(name))) {
            try (FloatCheckpoint checkpoint = FloatCheckpoint.open(path, Optional.empty())) {
                assertThat(checkpoint.file()).isEqualTo(model.resolve(name));
                assertThat(checkpoint.bytes()).isEqualTo(Files.size(model.resolve(name)));
                assertThat(checkpoint.floats("head.weight")).hasSize(240).endsWith(0.030253647f);
            }
        }
        ModelFile file = ModelFile.read(model, Optional.empty());
        assertThat(file.file()).isEqualTo(model.resolve(name));
        assertThat(file.model().isQuantized()).isFalse();
    }

    /** A zip file is told by its content, whatever it is named. */
    @Test
    void readsATorchFileOfAnotherName() throws IOException {
        Path file = torchFolder("weights").resolve("weights");
        assertThat(ModelFile.read(file, Optional.empty()).model().isQuantized()).isFalse();
    }

    @Test
    void severalTorchFilesAreNamed() throws IOException {
        Path model = torchFolder("b.pth", "a.pt", "c.pth");
        assertThatThrownBy(() -> FloatCheckpoint.open(model, Optional.empty()))
                .isInstanceOf(BadInputException.class)
                .hasMessage(model + ": holds 3 torch.save files, such as a.pt and b.pth; name one of them");
    }

    @Test
    void safetensorsGoBeforeTorchFiles() throws IOException {
        Path file = weights(tensors -> {});
        Files.writeString(folder.resolve("a.pth"), "not read");
        Files.writeString(folder.resolve("model.safetensors.index.json"), "not read");
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(folder, Optional.empty())) {
            assertThat(checkpoint.file()).isEqualTo(file);
        }
    }

    @Test
    void aPresetStandsForTheConfigOfATorchFile() {
        Path file = TORCH.resolve("state_dict.pth");
        assertThatThrownBy(() -> FloatCheckpoint.open(file, Optional.of("deit_tiny_patch16_224")))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": tensor cls_token has shape [1, 1, 48] where the config asks for");
    }

    @Test
    void readsAShardedFolderAndItsIndex() throws IOException {
        Path whole = weights(tensors -> {});
        float[] head;
        StringBuilder map = new StringBuilder("{\"weight_map\": {");
        try (SafetensorsFile source = SafetensorsFile.open(whole)) {
            head = source.find("head.weight").orElseThrow().toFloats();
            Map<String, List<Tensor>> shards = new LinkedHashMap<>();
            for (String name : source.names()) {
                String shard = name.startsWith("blocks.1.") ? "two.safetensors" : "one.safetensors";
                shards.computeIfAbsent(shard, s -> new ArrayList<>())
                        .add(source.find(name).orElseThrow());
                map.append(map.toString().endsWith("{") ? "" : ",").append("\"%s\":\"%s\"".formatted(name, shard));
            }
            shards.forEach((shard, tensors) -> SafetensorsWriter.write(folder.resolve(shard), tensors, Map.of()));
        }
        Files.delete(whole);
        Path index = folder.resolve("model.safetensors.index.json");
        Files.writeString(index, map.append("}}"));
        for (Path path : List.of(folder, index)) {
            ModelFile file = ModelFile.read(path, Optional.empty());
            assertThat(file.files())
                    .startsWith(index)
                    .containsExactlyInAnyOrder(
                            index, folder.resolve("one.safetensors"), folder.resolve("two.safetensors"));
            assertThat(file.bytes())
                    .isEqualTo(Files.size(index)
                            + Files.size(folder.resolve("one.safetensors"))
                            + Files.size(folder.resolve("two.safetensors")));
            try (FloatCheckpoint checkpoint = FloatCheckpoint.open(path, Optional.empty())) {
                assertThat(checkpoint.floats("head.weight")).isEqualTo(head);
            }
        }
    }
}
