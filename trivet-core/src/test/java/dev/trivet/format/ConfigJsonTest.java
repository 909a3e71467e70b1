package dev.trivet.format;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.model.Interpolation;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import java.util.List;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class ConfigJsonTest {
    private static final JsonMapper JSON = JsonMapper.builder().build();

    private static ModelConfig config(int registers, int preLogits, Preprocessing.Fit fit) {
        return new ModelConfig(
                "vit",
                new VitConfig(8, 4, 3, 8, 1, 2, 16, 2, Pooling.TOKEN, true, false, true, 1e-6f, registers, preLogits),
                new Preprocessing(8, 9, Interpolation.BICUBIC, Preprocessing.HALF, Preprocessing.HALF, fit),
                List.of("a", "b"));
    }

    @Test
    void newFieldsAreKept() {
        ModelConfig config = config(3, 12, Preprocessing.Fit.SQUASH);
        JsonNode written = ConfigJson.of(JSON, config);
        assertThat(written.path("geometry").path("registers").intValue()).isEqualTo(3);
        assertThat(written.path("geometry").path("preLogits").intValue()).isEqualTo(12);
        assertThat(written.path("preprocessing").path("fit").asString()).isEqualTo("SQUASH");
        assertThat(ConfigJson.read(written)).isEqualTo(config);
    }

    /** So that files of models that were known before keep their bytes, and older readers read them. */
    @Test
    void fieldsThatSayNothingAreNotWritten() {
        ModelConfig config = config(0, 0, Preprocessing.Fit.SHORT_SIDE);
        JsonNode written = ConfigJson.of(JSON, config);
        assertThat(written.path("geometry").has("registers")).isFalse();
        assertThat(written.path("geometry").has("preLogits")).isFalse();
        assertThat(written.path("preprocessing").has("fit")).isFalse();
        assertThat(ConfigJson.read(written)).isEqualTo(config);
    }
}
