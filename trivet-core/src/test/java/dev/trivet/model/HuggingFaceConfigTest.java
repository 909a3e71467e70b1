package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HuggingFaceConfigTest {
    private static final Path GOLDENS = Path.of(System.getProperty("trivet.goldens"));

    @TempDir
    Path folder;

    private Path config(String json) throws IOException {
        return Files.writeString(folder.resolve("config.json"), json);
    }

    private void processor(String json) throws IOException {
        Files.writeString(folder.resolve("preprocessor_config.json"), json);
    }

    @Test
    void goldensHaveTheGeometryThatTheyWereMadeWith() {
        ModelConfig vit = ConfigFile.read(GOLDENS.resolve("hf_vit_micro/config.json"));
        assertThat(vit.geometry())
                .isEqualTo(new VitConfig(64, 16, 3, 48, 2, 3, 96, 6, Pooling.TOKEN, true, false, true, 1e-12f));
        assertThat(vit.labels()).containsExactly("class_0", "class_1", "class_2", "class_3", "class_4", "class_5");
        assertThat(ConfigFile.read(GOLDENS.resolve("hf_deit_micro/config.json")).geometry())
                .isEqualTo(new VitConfig(64, 16, 3, 48, 2, 3, 192, 6, Pooling.TOKEN, true, false, true, 1e-12f, 1, 0));
        assertThat(ConfigFile.read(GOLDENS.resolve("hf_deit_teacher_micro/config.json"))
                        .geometry())
                .isEqualTo(new VitConfig(64, 16, 3, 48, 2, 3, 192, 6, Pooling.TOKEN, true, true, true, 1e-12f));
        assertThat(ConfigFile.read(GOLDENS.resolve("hf_swin_positions_micro/config.json"))
                        .geometry())
                .isEqualTo(new SwinConfig(
                        36,
                        4,
                        3,
                        8,
                        List.of(2, 2),
                        List.of(1, 2),
                        4,
                        2,
                        3,
                        false,
                        true,
                        WindowPadding.BEFORE_SHIFT,
                        1e-6f));
    }

    /** The defaults of transformers' ViTConfig and SwinConfig; names that transformers made up are none. */
    @Test
    void absentFieldsHaveTheirDefaults() throws IOException {
        assertThat(ConfigFile.read(config("{\"model_type\": \"vit\"}")).geometry())
                .isEqualTo(new VitConfig(224, 16, 3, 768, 12, 12, 3072, 2, Pooling.TOKEN, true, false, true, 1e-12f));
        ModelConfig swin = ConfigFile.read(config("""
                {"architectures": ["SwinForImageClassification"], "id2label": {"1": "LABEL_1", "0": "LABEL_0"}}"""));
        assertThat(swin.geometry())
                .isEqualTo(new SwinConfig(
                        224,
                        4,
                        3,
                        96,
                        List.of(2, 2, 6, 2),
                        List.of(3, 6, 12, 24),
                        7,
                        4,
                        2,
                        true,
                        false,
                        WindowPadding.BEFORE_SHIFT,
                        1e-5f));
        assertThat(swin.labels()).isEmpty();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "'architectures': ['ViTModel']                  | unknown architecture \"ViTModel\"; of Hugging Face's",
                "'architectures': ['A', 'B']                    | architectures names more than one",
                "'model_type': 'swinv2'                         | unknown architecture \"swinv2\"",
                "'model_type': 'vit', 'hidden_act': 'quick_gelu'| hidden_act quick_gelu is not supported, only gelu",
                "'model_type': 'vit', 'hidden_act': 'gelu_new'  | hidden_act gelu_new is not supported, only gelu",
                "'model_type': 'vit', 'layer_norm_eps': NaN     | is not valid JSON",
                "'model_type': 'vit', 'layer_norm_eps': 'NaN'   | layer_norm_eps must be a number, not \"NaN\"",
                "'model_type': 'vit', 'layer_norm_eps': 1e999   | layer_norm_eps must be a number, not",
                "'model_type': 'vit', 'layer_norm_eps': 0       | LayerNorm epsilon 0.0 is not in (0, 1)",
                "'model_type': 'vit', 'hidden_size': 100        | 12 heads do not divide width 100",
                "'model_type': 'vit', 'image_size': [224, 200]  | image_size must be an integer or two equal ones",
                "'model_type': 'vit', 'id2label': {'1': 'a'}    | id2label has 1 classes, but no name for class 0",
                "'model_type': 'vit', 'id2label': ['a']         | id2label must be an object, not [\"a\"]",
                "'model_type': 'vit', 'id2label': {'0': 7}      | id2label has 1 classes, but no name for class 0",
                "'model_type': 'swin', 'depths': [2, 0, 2, 2]   | depth of stage 1 must be in 1..1024, not 0",
            })
    void badValuesAreNamedInOneLine(String fields, String problem) throws IOException {
        Path file = config("{%s}".formatted(fields).replace('\'', '"'));
        assertThatThrownBy(() -> ConfigFile.read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining(problem.replace('\'', problem.contains("Hugging") ? '\'' : '"'))
                .hasMessageNotContaining("\n");
    }

    // ---- preprocessing

    private static final String VIT = "{\"model_type\": \"vit\", \"image_size\": 224}";

    @Test
    void withoutAProcessorFileItIsThePublishedOne() throws IOException {
        assertThat(ConfigFile.read(config(VIT)).preprocessing())
                .isEqualTo(new Preprocessing(
                        224,
                        224,
                        Interpolation.BILINEAR,
                        Preprocessing.HALF,
                        Preprocessing.HALF,
                        Preprocessing.Fit.SQUASH));
        assertThat(ConfigFile.read(config(VIT.replace("vit", "swin")))
                        .preprocessing()
                        .mean())
                .isEqualTo(Preprocessing.IMAGENET_MEAN);
    }

    /** As google/vit-base-patch16-224 has it, and as facebook/deit-base-distilled-patch16-224 has it. */
    @Test
    void oldAndNewFormsOfSizesAreRead() throws IOException {
        Path file = config(VIT);
        Preprocessing vit = new Preprocessing(
                224, 224, Interpolation.BILINEAR, Preprocessing.HALF, Preprocessing.HALF, Preprocessing.Fit.SQUASH);
        processor("""
                {"do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
                 "size": 224}""");
        assertThat(ConfigFile.read(file).preprocessing()).isEqualTo(vit);
        processor("""
                {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 224, "width": 224}, "resample": 2,
                 "rescale_factor": 0.00392156862745098}""");
        assertThat(ConfigFile.read(file).preprocessing()).isEqualTo(vit);
        processor("""
                {"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true,
                 "feature_extractor_type": "DeiTFeatureExtractor", "image_mean": [0.485, 0.456, 0.406],
                 "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": 256}""");
        assertThat(ConfigFile.read(file).preprocessing())
                .isEqualTo(new Preprocessing(
                        224,
                        256,
                        Interpolation.BICUBIC,
                        Preprocessing.IMAGENET_MEAN,
                        Preprocessing.IMAGENET_STD,
                        Preprocessing.Fit.SQUASH));
        processor("""
                {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256},
                 "crop_size": {"height": 224, "width": 224}, "do_normalize": false}""");
        assertThat(ConfigFile.read(file).preprocessing())
                .isEqualTo(
                        new Preprocessing(224, 256, Interpolation.BICUBIC, List.of(0f, 0f, 0f), List.of(1f, 1f, 1f)));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "'size': 256                                       | it gives images of 256 where the model takes 224",
                "'size': {'height': 224, 'width': 200}             | size must be a number or equal height and width",
                "'size': 224, 'resample': 1                        | resample must be 2 (bilinear) or 3 (bicubic), not 1",
                "'size': 224, 'do_resize': false                   | do_resize false is not supported",
                "'size': 224, 'rescale_factor': 1                  | rescale_factor must be 1/255",
                "'size': 224, 'image_mean': [0.5]                  | mean and std must both have 1 or 3 values",
                "'size': 224, 'image_std': [0, 1, 1]               | std must be positive, not 0.0",
                "'size': {'shortest_edge': 224}                    | shortest_edge without do_center_crop",
                "'image_processor_type': 'CLIPImageProcessor'      | the image processor CLIP is not supported",
                "'size': 224, 'crop_pct': 0.9                      | crop_pct is not supported, only crop_size",
                "'feature_extractor_type': 'DeiTFeatureExtractor', 'size': 2147483647 | resize 2147483647 out of range",
                "'size': 'big'                                     | size must be an integer, not \"big\"",
            })
    void badProcessorsAreNamedInOneLine(String fields, String problem) throws IOException {
        Path file = config(VIT);
        processor("{%s}".formatted(fields).replace('\'', '"'));
        assertThatThrownBy(() -> ConfigFile.read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(folder.resolve("preprocessor_config.json") + ": ")
                .hasMessageContaining(problem)
                .hasMessageNotContaining("\n");
    }

    @Test
    void aSizeThatOverflowsWhenScaledIsRefused() throws IOException {
        Path file = config(VIT);
        processor("{\"feature_extractor_type\": \"DeiTFeatureExtractor\", \"size\": 2147483647}");
        assertThatThrownBy(() -> ConfigFile.read(file, java.util.OptionalInt.of(448), TensorHints.NONE))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("resize 2147483647 out of range");
    }

    @Test
    void processorsAreScaledToAnotherImageSize() throws IOException {
        Path file = config(VIT);
        processor("{\"feature_extractor_type\": \"DeiTFeatureExtractor\", \"size\": 256, \"crop_size\": 224}");
        Preprocessing scaled = ConfigFile.read(file, java.util.OptionalInt.of(448), TensorHints.NONE)
                .preprocessing();
        assertThat(scaled.imageSize()).isEqualTo(448);
        assertThat(scaled.resize()).isEqualTo(512);
    }
}
