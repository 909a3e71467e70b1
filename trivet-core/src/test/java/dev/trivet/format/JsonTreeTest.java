package dev.trivet.format;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

class JsonTreeTest {
    private static final JsonMapper MAPPER = JsonMapper.builder().build();

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{}",
                "[]",
                " [ { } , [ ] , \"\" ] ",
                "{\"a\":{\"b\":[1,{\"c\":null}],\"d\":true},\"e\":false}",
                "[0,-1,2147483647,2147483648,-2147483649,9223372036854775807,9223372036854775808,123456789012345678901234567890]",
                "[0.1,-2.5e-7,1e400,3.4028235e38,0.485,1.0]",
                "\"\\u00e9\\n\\\"\uD83D\uDE00\"",
                "7",
                "null",
            })
    void agreesWithJacksonsMapper(String text) {
        assertThat(JsonTree.parse(text)).isEqualTo(MAPPER.readTree(text));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{",
                "[1,]",
                "{\"a\":1,\"a\":2}",
                "{a:1}",
                "['a']",
                "NaN",
                "[1 2]",
                "\u0000",
                "01",
            })
    void refusesWhatIsNoJson(String text) {
        assertThatThrownBy(() -> JsonTree.parse(text)).isInstanceOf(JacksonException.class);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "  ", "{} {}", "1 2"})
    void refusesNoneAndSeveral(String text) {
        assertThatThrownBy(() -> JsonTree.parse(text)).isInstanceOf(IllegalArgumentException.class);
    }
}
