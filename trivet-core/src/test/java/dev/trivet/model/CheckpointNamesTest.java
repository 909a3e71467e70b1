package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Goldens with tensors renamed, added and taken away: what is unknown, missing or contradictory is named as the file names it. */
class CheckpointNamesTest {
    private static final Path GOLDENS = Path.of(System.getProperty("trivet.goldens"));

    @TempDir
    Path folder;

    private Path changed(String golden, Consumer<Map<String, Tensor>> change) throws IOException {
        Files.copy(GOLDENS.resolve(golden).resolve("config.json"), folder.resolve("config.json"));
        Path file = folder.resolve("model.safetensors");
        try (SafetensorsFile source =
                SafetensorsFile.open(GOLDENS.resolve(golden).resolve("model.safetensors"))) {
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            source.names().forEach(name -> tensors.put(name, source.find(name).orElseThrow()));
            change.accept(tensors);
            List<Tensor> named = new ArrayList<>();
            tensors.forEach((name, t) -> named.add(new Tensor(name, t.dtype(), t.shape(), t.data())));
            SafetensorsWriter.write(file, named, Map.of());
        }
        return file;
    }

    private static void rename(Map<String, Tensor> tensors, UnaryOperator<String> name) {
        Map<String, Tensor> renamed = new LinkedHashMap<>();
        tensors.forEach((old, tensor) -> renamed.put(name.apply(old), tensor));
        tensors.clear();
        tensors.putAll(renamed);
    }

    private static VitModel read(Path path) {
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(path, Optional.empty())) {
            return VitModel.read(checkpoint);
        }
    }

    private void refused(Path path, String... parts) {
        var message = assertThatThrownBy(() -> read(path))
                .isInstanceOf(BadInputException.class)
                .hasMessageNotContaining("\n");
        for (String part : parts) {
            message.hasMessageContaining(part);
        }
    }

    private void configSays(String what, String instead) throws IOException {
        Path config = folder.resolve("config.json");
        String text = Files.readString(config);
        assertThat(text).contains(what);
        Files.writeString(config, text.replace(what, instead));
    }

    @Test
    void queriesKeysAndValuesAreJoinedInThatOrder() {
        VitModel model = read(GOLDENS.resolve("hf_vit_micro"));
        LinearLayer.Float32 qkv = (LinearLayer.Float32) model.linear("blocks.1.attn.qkv");
        try (SafetensorsFile file = SafetensorsFile.open(GOLDENS.resolve("hf_vit_micro/model.safetensors"))) {
            String[] parts = {"query", "key", "value"};
            for (int p = 0; p < 3; p++) {
                String name = "vit.encoder.layer.1.attention.attention." + parts[p];
                assertThat(Arrays.copyOfRange(qkv.weight(), p * 48 * 48, (p + 1) * 48 * 48))
                        .isEqualTo(file.find(name + ".weight").orElseThrow().toFloats());
                assertThat(Arrays.copyOfRange(qkv.bias(), p * 48, (p + 1) * 48))
                        .isEqualTo(file.find(name + ".bias").orElseThrow().toFloats());
            }
        }
    }

    @Test
    void missingAndUnknownTensorsHaveTheFilesNames() throws IOException {
        Path file = changed("hf_vit_micro", tensors -> {
            tensors.remove("vit.encoder.layer.0.attention.attention.key.weight");
            tensors.put("vit.mystery", Tensor.ofFloats("vit.mystery", new float[1], 1));
        });
        refused(
                file,
                "lacks tensor vit.encoder.layer.0.attention.attention.key.weight and has unknown tensor vit.mystery;");
    }

    @Test
    void aPartOfTheWrongShapeIsNamed() throws IOException {
        String key = "vit.encoder.layer.0.attention.attention.key.bias";
        Path file = changed("hf_vit_micro", tensors -> tensors.put(key, Tensor.ofFloats(key, new float[24], 24)));
        refused(file, "tensor " + key + " has shape [24] where the config asks for [48]");
    }

    /** Old checkpoints hold the pooler of a model without a head; transformers leaves it out, too. */
    @Test
    void aPoolerIsLeftOut() throws IOException {
        Path file = changed("hf_vit_micro", tensors -> {
            tensors.put("vit.pooler.dense.weight", Tensor.ofFloats("", new float[48 * 48], 48, 48));
            tensors.put("vit.pooler.dense.bias", Tensor.ofFloats("", new float[48], 48));
        });
        assertThat(read(file).parameters())
                .isEqualTo(read(GOLDENS.resolve("hf_vit_micro")).parameters());
    }

    @Test
    void labelsOfAnotherNumberAreRefused() throws IOException {
        changed("hf_vit_micro", tensors -> {});
        configSays("\"5\": \"class_5\"", "\"5\": \"class_5\", \"6\": \"class_6\"");
        refused(folder, folder.resolve("config.json") + ": id2label names 7 classes where the weights have 6");
    }

    @Test
    void aConfigThatContradictsItsTensorsIsRefused() throws IOException {
        changed("hf_vit_micro", tensors -> {});
        configSays("\"hidden_size\": 48", "\"hidden_size\": 60");
        refused(folder, "tensor vit.embeddings.cls_token has shape [1, 1, 48] where the config asks for [1, 1, 60]");
    }

    @Test
    void aTeachersWeightsContradictTheOtherClass() throws IOException {
        changed("hf_deit_teacher_micro", tensors -> {});
        configSays("DeiTForImageClassificationWithTeacher", "DeiTForImageClassification");
        refused(folder, "has unknown tensors distillation_classifier.");
    }

    @Test
    void namesOfSeveralDevicesAreRead() throws IOException {
        Path file = changed("deit3_micro", tensors -> rename(tensors, name -> "module." + name));
        LinearLayer.Float32 expected =
                (LinearLayer.Float32) read(GOLDENS.resolve("deit3_micro")).linear("blocks.0.mlp.fc2");
        assertThat(((LinearLayer.Float32) read(file).linear("blocks.0.mlp.fc2")).weight())
                .isEqualTo(expected.weight());
    }

    /** By hand: each row of the projection and its bias times the scale of the row. */
    @Test
    void layerScaleIsFoldedIntoTheLayerBeforeIt() {
        VitModel model = read(GOLDENS.resolve("deit3_micro"));
        LinearLayer.Float32 folded = (LinearLayer.Float32) model.linear("blocks.1.attn.proj");
        try (SafetensorsFile file = SafetensorsFile.open(GOLDENS.resolve("deit3_micro/model.safetensors"))) {
            float[] gamma = file.find("blocks.1.ls1.gamma").orElseThrow().toFloats();
            float[] weight =
                    file.find("blocks.1.attn.proj.weight").orElseThrow().toFloats();
            float[] bias = file.find("blocks.1.attn.proj.bias").orElseThrow().toFloats();
            assertThat(folded.weight()[5 * 16 + 3]).isEqualTo(gamma[5] * weight[5 * 16 + 3]);
            assertThat(folded.bias()[15]).isEqualTo(gamma[15] * bias[15]);
        }
        assertThat(model.floats("pos_embed")).startsWith(new float[16]);
    }

    @Test
    void aMissingLayerScaleIsNamed() throws IOException {
        Path file = changed("deit3_micro", tensors -> tensors.remove("blocks.1.ls2.gamma"));
        refused(file, "lacks tensor blocks.1.ls2.gamma");
    }

    @Test
    void registersThatTheConfigDeniesAreNamed() throws IOException {
        changed("vit_registers_micro", tensors -> {});
        configSays("\"reg_tokens\": 3", "\"reg_tokens\": 2");
        refused(folder, "tensor reg_token has shape [1, 3, 16] where the config asks for [1, 2, 16]");
    }

    @Test
    void whatAConfigLeavesOpenIsReadFromTheTensors() throws IOException {
        changed("vit_registers_micro", tensors -> {});
        configSays("\"reg_tokens\": 3", "\"reg_tokens\": null");
        configSays("\"num_classes\": 5", "\"num_classes\": null");
        VitConfig geometry = read(folder).vit();
        assertThat(geometry.registers()).isEqualTo(3);
        assertThat(geometry.classes()).isEqualTo(5);
        assertThat(geometry.tokens()).isEqualTo(1 + 3 + 25);
    }

    @Test
    void bothNormsAtOnceAreRefused() throws IOException {
        Path file = changed("vit_fc_norm_micro", tensors -> {
            tensors.put("norm.weight", Tensor.ofFloats("", new float[16], 16));
            tensors.put("norm.bias", Tensor.ofFloats("", new float[16], 16));
        });
        refused(file, "has unknown tensors fc_norm.bias, fc_norm.weight");
    }

    @Test
    void anImageSizeThatChangesAWindowIsRefused() {
        Path file = GOLDENS.resolve("swin_microsoft_micro/swin.pth");
        assertThatThrownBy(() -> FloatCheckpoint.open(file, Optional.empty(), OptionalInt.of(12)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("for images of 12 tensor layers.1.blocks.0.attn.relative_position_bias_table"
                        + " would have shape [25, 2] where it has [49, 2]");
        assertThatThrownBy(() -> FloatCheckpoint.open(file, Optional.empty(), OptionalInt.of(33)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("patch size 2 does not divide image size 33");
    }

    @Test
    void aFloatThatIsNoNumberIsNamed() throws IOException {
        String key = "vit.encoder.layer.0.attention.attention.key.bias";
        float[] values = new float[48];
        values[7] = Float.NaN;
        Path file = changed("hf_vit_micro", tensors -> tensors.put(key, Tensor.ofFloats(key, values, 48)));
        refused(file, "tensor " + key + " holds NaN");
    }
}
