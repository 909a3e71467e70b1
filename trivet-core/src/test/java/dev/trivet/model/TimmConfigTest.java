package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TimmConfigTest {
    @TempDir
    Path folder;

    private Path config(String json) throws IOException {
        return Files.writeString(folder.resolve("config.json"), json);
    }

    /** The parameter counts are those that timm reports for its models. */
    @ParameterizedTest
    @CsvSource({
        "vit_tiny_patch16_224,                     192, 12,  3, 197,   5717416",
        "vit_small_patch16_224,                    384, 12,  6, 197,  22050664",
        "vit_base_patch16_224.augreg_in21k_ft_in1k, 768, 12, 12, 197,  86567656",
        "vit_large_patch16_224,                   1024, 24, 16, 197, 304326632",
        "deit_tiny_patch16_224.fb_in1k,            192, 12,  3, 197,   5717416",
        "deit_tiny_distilled_patch16_224,          192, 12,  3, 198,   5910800",
        "deit_small_distilled_patch16_224,         384, 12,  6, 198,  22436432",
        "deit_base_distilled_patch16_224,          768, 12, 12, 198,  87338192",
        "vit_base_patch16_384,                     768, 12, 12, 577,  86859496",
        "vit_base_patch32_224.augreg_in21k_ft_in1k, 768, 12, 12, 50,  88224232",
        "vit_base_patch8_224,                      768, 12, 12, 785,  86576872",
        "vit_huge_patch14_224,                    1280, 32, 16, 257, 632045800",
        "vit_base_patch16_gap_224,                 768, 12, 16, 196,  86566120",
    })
    void presetsAreTimmsModels(String name, int width, int depth, int heads, int tokens, long parameters) {
        ModelConfig config = TimmConfig.preset(name);
        VitConfig geometry = config.vit();
        assertThat(geometry.width()).isEqualTo(width);
        assertThat(geometry.depth()).isEqualTo(depth);
        assertThat(geometry.heads()).isEqualTo(heads);
        assertThat(geometry.mlpWidth()).isEqualTo(4 * width);
        assertThat(geometry.tokens()).isEqualTo(tokens);
        assertThat(geometry.classes()).isEqualTo(1000);
        assertThat(parameters(geometry)).isEqualTo(parameters);
    }

    /**
     * What timm reports, without layer scales, which are folded into weights, and with a row of positions for each token that
     * timm gives none.
     */
    @ParameterizedTest
    @CsvSource({
        "deit3_small_patch16_224.fb_in22k_ft_in1k, 22059496, 9216,  384",
        "deit3_huge_patch14_224,                 632126440, 81920, 1280",
        "vit_medium_patch16_reg4_gap_256,         38881768, 12288,    0",
        "vit_small_patch14_reg4_dinov2,           22442344,  9216,  384",
        "vit_base_patch16_reg4_gap_256,           86615272,     0,    0",
    })
    void presetsWithScalesAndRegistersAreTimmsModels(String name, long timm, long scales, long rows) {
        assertThat(parameters(TimmConfig.preset(name).geometry())).isEqualTo(timm - scales + rows);
    }

    private static long parameters(Geometry geometry) {
        VitTensors tensors = VitTensors.of(geometry);
        long count = 0;
        for (VitTensors.Linear linear : tensors.linears()) {
            count += (long) linear.outputs() * linear.inputs() + (linear.bias() ? linear.outputs() : 0);
        }
        for (java.util.List<Long> shape : tensors.floats().values()) {
            count += shape.stream().reduce(1L, Math::multiplyExact);
        }
        return count;
    }

    @Test
    void presetsCarryTheirFamilysPreprocessing() {
        Preprocessing vit = TimmConfig.preset("vit_tiny_patch16_224").preprocessing();
        Preprocessing deit = TimmConfig.preset("deit_tiny_patch16_224").preprocessing();
        assertThat(vit.mean()).containsExactly(0.5f, 0.5f, 0.5f);
        assertThat(vit.std()).containsExactly(0.5f, 0.5f, 0.5f);
        assertThat(deit.mean()).containsExactly(0.485f, 0.456f, 0.406f);
        assertThat(deit.std()).containsExactly(0.229f, 0.224f, 0.225f);
        // floor(224 / 0.9)
        assertThat(deit.resize()).isEqualTo(248);
        assertThat(deit.interpolation()).isEqualTo(Interpolation.BICUBIC);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "resnet50",
                "deit_large_patch16_224",
                "vit_tiny_distilled_patch16_224",
                "deit3_tiny_patch16_224",
                "deit_tiny_patch16_gap_224",
                "vit_tiny",
                ""
            })
    void unknownArchitecturesAreRefused(String name) {
        assertThatThrownBy(() -> TimmConfig.preset(name))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("unknown architecture \"" + name + "\"")
                .hasMessageContaining("vit_{tiny,small,base,large}_patch16_224");
    }

    @Test
    void microConfigsOverrideTheirPreset() {
        Path goldens = Path.of(System.getProperty("trivet.goldens"));
        assertThat(ConfigFile.read(goldens.resolve("vit_micro/config.json")).geometry())
                .isEqualTo(new VitConfig(64, 16, 3, 64, 3, 4, 256, 10, Pooling.TOKEN, true, false, true, 1e-6f));
        assertThat(ConfigFile.read(goldens.resolve("deit_distilled_micro/config.json"))
                        .geometry())
                .isEqualTo(new VitConfig(64, 16, 3, 48, 2, 3, 192, 10, Pooling.TOKEN, true, true, true, 1e-6f));
        assertThat(ConfigFile.read(goldens.resolve("vit_gap_micro/config.json")).geometry())
                .isEqualTo(new VitConfig(48, 8, 3, 32, 2, 2, 128, 7, Pooling.AVERAGE, false, false, true, 1e-6f));
    }

    @Test
    void modelArgumentsComeBeforeFieldsAtTheTop() throws IOException {
        ModelConfig config = ConfigFile.read(config("""
                {"architecture": "vit_tiny_patch16_224", "img_size": 224, "num_classes": 5, "label_names": ["a","b","c","d","e"],
                 "model_args": {"img_size": 96, "in_chans": 1, "mlp_ratio": 2.5, "qkv_bias": false},
                 "pretrained_cfg": {"mean": [0.25], "std": [0.5], "crop_pct": 0.875, "interpolation": "bilinear"}}"""));
        assertThat(config.geometry())
                .isEqualTo(new VitConfig(96, 16, 1, 192, 12, 3, 480, 5, Pooling.TOKEN, true, false, false, 1e-6f));
        // floor(96 / 0.875) = floor(109.71)
        assertThat(config.preprocessing())
                .isEqualTo(new Preprocessing(
                        96, 109, Interpolation.BILINEAR, java.util.List.of(0.25f), java.util.List.of(0.5f)));
        assertThat(config.labels()).containsExactly("a", "b", "c", "d", "e");
    }

    @Test
    void nullMeansThePresetsValue() throws IOException {
        ModelConfig config = ConfigFile.read(config("""
                {"architecture": "deit_tiny_patch16_224", "img_size": null, "mlp_ratio": null, "class_token": null,
                 "global_pool": null, "label_names": null, "model_args": null,
                 "pretrained_cfg": {"mean": null, "std": null, "crop_pct": null, "interpolation": null}}"""));
        assertThat(config).isEqualTo(TimmConfig.preset("deit_tiny_patch16_224"));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "'img_size': 'large'                          | img_size must be an integer, not \"large\"",
                "'img_size': 224.5                            | img_size must be an integer, not 224.5",
                "'img_size': 99999999999                      | img_size must be an integer, not 99999999999",
                "'img_size': 225                              | patch size 16 does not divide image size 225",
                "'img_size': 0                                | image size must be in 1..65536, not 0",
                "'img_size': 32768                            | patch count must be in 1..65536, not 4194304",
                "'patch_size': 0                              | patch size must be in 1..65536, not 0",
                "'in_chans': 2                                | channels must be 1 or 3, not 2",
                "'in_chans': 1                                | preprocessing gives 3 x 224 x 224",
                "'embed_dim': -5                              | width must be in 1..65536, not -5",
                "'num_heads': 5                               | 5 heads do not divide width 192",
                "'num_heads': 0                               | heads must be in 1..65536, not 0",
                "'depth': 0                                   | depth must be in 1..65536, not 0",
                "'num_classes': 0                             | class count must be in 1..65536, not 0",
                "'mlp_ratio': 'four'                          | mlp_ratio must be a number, not \"four\"",
                "'mlp_ratio': 1e300                           | MLP width must be in 1..65536",
                "'mlp_ratio': 1e400                           | mlp_ratio must be a number, not",
                "'mlp_ratio': -1                              | MLP width must be in 1..65536",
                "'class_token': 'no'                          | class_token must be true or false, not \"no\"",
                "'class_token': false, 'global_pool': 'token' | token pooling needs a class token",
                "'qkv_bias': 0                                | qkv_bias must be true or false, not 0",
                "'global_pool': 'max'                         | global_pool must be token or avg, not max",
                "'global_pool': 7                             | global_pool must be a text, not 7",
                "'model_args': [1]                            | model_args must be an object, not [1]",
                "'model_args': {'depth': true}                | depth must be an integer, not true",
                "'pretrained_cfg': 'imagenet'                 | pretrained_cfg must be an object, not \"imagenet\"",
                "'pretrained_cfg': {'mean': 0.5}              | mean must be an array of numbers, not 0.5",
                "'pretrained_cfg': {'mean': ['a']}            | mean must be an array of numbers, not [\"a\"]",
                "'pretrained_cfg': {'mean': [0.5,0.5]}        | mean and std must both have 1 or 3 values",
                "'pretrained_cfg': {'mean': [1e300,1,1]}      | mean must be an array of numbers, not [1",
                "'pretrained_cfg': {'std': [1,0,1]}           | std must be positive, not 0.0",
                "'pretrained_cfg': {'crop_pct': '0.9'}        | crop_pct must be a number, not \"0.9\"",
                "'pretrained_cfg': {'crop_pct': 0}            | crop_pct must be in (0, 1], not 0.0",
                "'pretrained_cfg': {'crop_pct': 1e-9}         | resize 2147483647 out of range",
                "'pretrained_cfg': {'interpolation': 'cubic'} | interpolation must be bicubic or bilinear, not cubic",
                "'pretrained_cfg': {'interpolation': 3}       | interpolation must be a text, not 3",
                "'label_names': ['cat', 'dog']                | 2 labels for 1000 classes",
                "'label_names': 'cat'                         | label_names must be an array of texts, not \"cat\"",
                "'label_names': [{'a': 1}]                    | label_names must be an array of texts, not [{\"a\":1}]",
                "'label_names': [null]                        | label_names must be an array of texts, not [null]",
            })
    void badValuesAreNamedInOneLine(String fields, String problem) throws IOException {
        Path file = config("{'architecture': 'deit_tiny_patch16_224', %s}"
                .formatted(fields)
                .replace('\'', '"'));
        assertThatThrownBy(() -> ConfigFile.read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining(problem)
                .hasMessageNotContaining("\n");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "[]                     | is not a JSON object",
                "~~                     | is not a JSON object",
                "{\"architecture\": 1}  | has no \"architecture\"",
                "{}                     | has no \"architecture\"",
                "{\"architecture\":     | is not valid JSON",
                "{} {}                  | is not valid JSON",
            })
    void damagedFilesAreNamed(String text, String problem) throws IOException {
        Path file = config(text);
        assertThatThrownBy(() -> ConfigFile.read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining(problem)
                .hasMessageNotContaining("\n");
    }

    @Test
    void deeplyNestedJsonIsRefused() throws IOException {
        Path file = config("[".repeat(100_000));
        assertThatThrownBy(() -> ConfigFile.read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": is not valid JSON");
    }

    @Test
    void aMissingFileIsNamed() {
        Path file = folder.resolve("config.json");
        assertThatThrownBy(() -> ConfigFile.read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": no such file");
    }
}
