package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@link VitConfig}, {@link Preprocessing} and {@link ModelConfig} refuse numbers that describe no model. */
class VitConfigTest {
    private static VitConfig config(int image, int patch, int channels, int width, int heads) {
        return new VitConfig(
                image, patch, channels, width, 12, heads, 4 * width, 10, Pooling.TOKEN, true, false, true, 1e-6f);
    }

    private static Preprocessing preprocessing(List<Float> mean, List<Float> std) {
        return new Preprocessing(224, 248, Interpolation.BICUBIC, mean, std);
    }

    @Test
    void derivedNumbersOfDistilledDeit() {
        VitConfig deit = new VitConfig(224, 16, 3, 192, 12, 3, 768, 1000, Pooling.TOKEN, true, true, true, 1e-6f);
        assertThat(deit.grid()).isEqualTo(14);
        assertThat(deit.patches()).isEqualTo(196);
        assertThat(deit.prefixTokens()).isEqualTo(2);
        assertThat(deit.tokens()).isEqualTo(198);
        assertThat(deit.headTokens()).isEqualTo(2);
        assertThat(deit.headWidth()).isEqualTo(64);
        assertThat(deit.patchLength()).isEqualTo(768);
    }

    @ParameterizedTest
    @CsvSource({
        "224, 15, 3, 192, 3, patch size 15 does not divide image size 224",
        "224, 16, 4, 192, 3, 'channels must be 1 or 3, not 4'",
        "224, 16, 3, 192, 5, 5 heads do not divide width 192",
        "-224, 16, 3, 192, 3, 'image size must be in 1..65536, not -224'",
        "224, 16, 3, 70000, 3, 'width must be in 1..65536, not 70000'",
        "65536, 1, 3, 192, 3, 'patch count must be in 1..65536, not 4294967296'",
        "65536, 65536, 3, 192, 3, 'patch length must be in 1..65536, not 12884901888'",
    })
    void geometryIsChecked(int image, int patch, int channels, int width, int heads, String problem) {
        assertThatThrownBy(() -> config(image, patch, channels, width, heads))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage(problem);
    }

    @Test
    void poolingNeedsItsTokens() {
        assertThatThrownBy(() -> new VitConfig(32, 16, 3, 192, 1, 3, 768, 10, Pooling.TOKEN, false, false, true, 1e-6f))
                .hasMessage("token pooling needs a class token");
        assertThatThrownBy(() -> new VitConfig(32, 16, 3, 192, 1, 3, 768, 10, Pooling.AVERAGE, true, true, true, 1e-6f))
                .hasMessage("a distilled model pools its tokens, not the average");
        for (float epsilon : new float[] {0, -1e-6f, 1, Float.NaN}) {
            assertThatThrownBy(() ->
                            new VitConfig(32, 16, 3, 192, 1, 3, 768, 10, Pooling.TOKEN, true, false, true, epsilon))
                    .hasMessageContaining("LayerNorm epsilon");
        }
    }

    @Test
    void preprocessingIsChecked() {
        List<Float> three = Preprocessing.HALF;
        assertThatThrownBy(() -> preprocessing(three, List.of(0.5f))).hasMessageContaining("1 or 3 values");
        assertThatThrownBy(() -> preprocessing(List.of(), List.of())).hasMessageContaining("1 or 3 values");
        assertThatThrownBy(() -> preprocessing(three, List.of(0.5f, 0f, 0.5f))).hasMessageContaining("std must be");
        assertThatThrownBy(() -> preprocessing(three, List.of(0.5f, Float.NaN, 0.5f)))
                .hasMessageContaining("std must be");
        assertThatThrownBy(() -> preprocessing(List.of(0f, Float.NaN, 0f), three))
                .hasMessageContaining("mean must be");
        assertThatThrownBy(() -> new Preprocessing(224, 0, Interpolation.BICUBIC, three, three))
                .hasMessage("image size 224, resize 0 out of range");
        assertThatThrownBy(() -> new Preprocessing(20_000, 20_000, Interpolation.BICUBIC, three, three))
                .hasMessageContaining("out of range");
    }

    @Test
    void aModelsPartsMustFitEachOther() {
        Preprocessing pixels = preprocessing(Preprocessing.HALF, Preprocessing.HALF);
        assertThatThrownBy(() -> new ModelConfig("m", config(224, 16, 3, 192, 3), pixels, List.of("one", "two")))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("2 labels for 10 classes");
        assertThatThrownBy(() -> new ModelConfig("m", config(192, 16, 3, 192, 3), pixels, List.of()))
                .hasMessage("preprocessing gives 3 x 224 x 224 where the model takes 3 x 192 x 192");
        assertThatThrownBy(() -> new ModelConfig("m", config(224, 16, 1, 192, 3), pixels, List.of()))
                .hasMessage("preprocessing gives 3 x 224 x 224 where the model takes 1 x 224 x 224");
    }

    private static VitConfig with(boolean distilled, int registers, int preLogits) {
        return new VitConfig(
                32, 16, 3, 192, 1, 3, 768, 10, Pooling.TOKEN, true, distilled, true, 1e-6f, registers, preLogits);
    }

    @Test
    void registersAreTokensAndPreLogitsFeedTheHead() {
        VitConfig config = with(false, 4, 100);
        assertThat(config.prefixTokens()).isEqualTo(5);
        assertThat(config.tokens()).isEqualTo(9);
        assertThat(config.headTokens()).isEqualTo(1);
        assertThat(config.headInputs()).isEqualTo(100);
        assertThat(config.units().getLast().linears()).containsExactly("pre_logits.fc", "head");
        assertThatThrownBy(() -> with(false, -1, 0)).hasMessageContaining("register tokens must be in 0..1024, not -1");
        assertThatThrownBy(() -> with(false, 0, 1 << 17)).hasMessageContaining("pre-logits must be in 0..65536");
        assertThatThrownBy(() -> with(true, 0, 8)).hasMessageContaining("no layer before its heads");
    }
}
