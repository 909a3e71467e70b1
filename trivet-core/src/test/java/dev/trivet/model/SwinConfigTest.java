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

class SwinConfigTest {
    @TempDir
    Path folder;

    private static SwinConfig swin(int imageSize, int window, WindowPadding padding) {
        return new SwinConfig(
                imageSize, 4, 3, 24, List.of(2, 2), List.of(1, 2), window, 4, 5, true, false, padding, 1e-5f);
    }

    /** The counts of Swin-T, S and B are the published ones; all are those that timm reports. */
    @ParameterizedTest
    @CsvSource({
        "swin_tiny_patch4_window7_224,                        96, 24,  7, 224, 1000,  28288354",
        "swin_small_patch4_window7_224.ms_in22k_ft_in1k,      96, 24,  7, 224, 1000,  49606258",
        "swin_base_patch4_window7_224.ms_in1k,               128, 32,  7, 224, 1000,  87768224",
        "swin_large_patch4_window7_224.ms_in22k_ft_in1k,     192, 48,  7, 224, 1000, 196532476",
        "swin_base_patch4_window12_384,                      128, 32, 12, 384, 1000,  87903584",
        "swin_large_patch4_window12_384.ms_in22k,            192, 48, 12, 384, 21841, 228768133",
    })
    void presetsAreTimmsModels(
            String name, int width, int lastHeads, int window, int imageSize, int classes, long parameters) {
        ModelConfig config = TimmConfig.preset(name);
        SwinConfig geometry = (SwinConfig) config.geometry();
        assertThat(geometry.width()).isEqualTo(width);
        assertThat(geometry.heads().getLast()).isEqualTo(lastHeads);
        assertThat(geometry.window()).isEqualTo(window);
        assertThat(geometry.imageSize()).isEqualTo(imageSize);
        assertThat(geometry.classes()).isEqualTo(classes);
        // The last map is one window: 7 x 7 or 12 x 12.
        assertThat(geometry.windows(3, 1)).isEqualTo(new WindowPartition(window, window, 0, WindowPadding.AFTER_SHIFT));
        assertThat(parameters(geometry)).isEqualTo(parameters);
        // floor(224 / 0.9); the models for 384 pixels see the whole image.
        assertThat(config.preprocessing().resize()).isEqualTo(imageSize == 384 ? 384 : 248);
        assertThat(config.preprocessing().mean()).isEqualTo(Preprocessing.IMAGENET_MEAN);
    }

    private static long parameters(Geometry geometry) {
        VitTensors tensors = VitTensors.of(geometry);
        long count = 0;
        for (VitTensors.Linear linear : tensors.linears()) {
            count += (long) linear.outputs() * linear.inputs() + (linear.bias() ? linear.outputs() : 0);
        }
        for (List<Long> shape : tensors.floats().values()) {
            count += shape.stream().reduce(1L, Math::multiplyExact);
        }
        return count;
    }

    @Test
    void microConfigsOverrideTheirPreset() {
        Path goldens = Path.of(System.getProperty("trivet.goldens"));
        SwinConfig read = (SwinConfig) ConfigFile.read(goldens.resolve("swin_micro_window4/config.json"))
                .geometry();
        assertThat(read)
                .isEqualTo(new SwinConfig(
                        64,
                        4,
                        3,
                        24,
                        List.of(2, 2, 2),
                        List.of(1, 2, 4),
                        4,
                        4,
                        5,
                        true,
                        false,
                        WindowPadding.AFTER_SHIFT,
                        1e-5f));
    }

    @Test
    void unitsFollowTheStages() {
        SwinConfig config = swin(64, 4, WindowPadding.AFTER_SHIFT);
        assertThat(config.units())
                .extracting(ModelUnit::name)
                .containsExactly(
                        "patch_embed",
                        "layers.0.blocks.0",
                        "layers.0.blocks.1",
                        "layers.1.downsample",
                        "layers.1.blocks.0",
                        "layers.1.blocks.1",
                        "head");
        for (int u = 1; u < config.units().size(); u++) {
            assertThat(config.units().get(u).input())
                    .isEqualTo(config.units().get(u - 1).output());
        }
        assertThat(config.units().getLast().output()).isEqualTo(new TokenShape(1, 5));
        ModelUnit.Block shifted = (ModelUnit.Block) config.units().get(2);
        assertThat(shifted.groups()).isEqualTo(16);
        assertThat(shifted.groupTokens()).isEqualTo(16);
        assertThat(shifted.windows().orElseThrow().shift()).isEqualTo(2);
    }

    /** 60 pixels are 15 patches; the odd map is padded to 16 and merges to 8, of which timm counts 7 when it chooses windows. */
    @Test
    void oddMapsRoundUp() {
        SwinConfig timm = swin(60, 7, WindowPadding.AFTER_SHIFT);
        assertThat(timm.side(1)).isEqualTo(8);
        assertThat(timm.windows(1, 1)).isEqualTo(new WindowPartition(8, 7, 0, WindowPadding.AFTER_SHIFT));
        SwinConfig other = swin(60, 7, WindowPadding.BEFORE_SHIFT);
        assertThat(other.windows(1, 1)).isEqualTo(new WindowPartition(8, 7, 3, WindowPadding.BEFORE_SHIFT));
    }

    @Test
    void aWindowIsNoLargerThanTheMap() {
        SwinConfig config = swin(32, 7, WindowPadding.AFTER_SHIFT);
        assertThat(config.windows(0, 1)).isEqualTo(new WindowPartition(8, 7, 3, WindowPadding.AFTER_SHIFT));
        assertThat(config.windows(1, 1)).isEqualTo(new WindowPartition(4, 4, 0, WindowPadding.AFTER_SHIFT));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "'depths': [2, 2]                | 4 head counts for 2 stages",
                "'depths': [2, 2, 6, 0]          | depth of stage 3 must be in 1..1024, not 0",
                "'depths': 'many'                | depths must be an array of integers, not \"many\"",
                "'num_heads': [3, 6, 12, 23]     | 23 heads do not divide width 768 of stage 3",
                "'num_heads': [3, 6, 12, 2.5]    | num_heads must be an array of integers",
                "'window_size': 65               | window must be in 1..64, not 65",
                "'window_size': [7, 8]           | window_size must be an integer or two equal ones, not [7,8]",
                "'img_size': 226                 | patch size 4 does not divide image size 226",
                "'img_size': 16                  | is left for stage 3",
                "'embed_dim': 30000              | merged width of stage 0 must be in 1..65536, not 120000",
                "'mlp_ratio': 0                  | MLP ratio 0.0 is not in (0, 64]",
                "'global_pool': 'max'            | global_pool max is not supported, only avg",
                "'always_partition': true        | always_partition is not supported",
                "'head_dim': 16                  | head_dim is not supported",
            })
    void configsThatDescribeNoModelAreRefused(String field, String message) throws IOException {
        Path file = Files.writeString(
                folder.resolve("config.json"),
                ("{'architecture': 'swin_tiny_patch4_window7_224', " + field + "}").replace('\'', '"'));
        assertThatThrownBy(() -> ConfigFile.read(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(message);
    }

    @Test
    void aWindowMayBeGivenAsTwoSides() throws IOException {
        Path file = Files.writeString(
                folder.resolve("config.json"),
                "{\"architecture\": \"swin_tiny_patch4_window7_224\", \"window_size\": [7, 7], \"num_classes\": 3}");
        SwinConfig config = (SwinConfig) ConfigFile.read(file).geometry();
        assertThat(config.window()).isEqualTo(7);
        assertThat(config.classes()).isEqualTo(3);
    }

    @Test
    void whatTakesAVitSaysSo() {
        assertThatThrownBy(
                        () -> TimmConfig.preset("swin_tiny_patch4_window7_224").vit())
                .isInstanceOf(BadInputException.class)
                .hasMessage("swin_tiny_patch4_window7_224 is a Swin Transformer: give a ViT or DeiT, this works on no"
                        + " other yet");
    }
}
