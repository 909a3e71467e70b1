package dev.trivet.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HubModelTest {
    @ParameterizedTest
    @CsvSource({
        "timm/deit_tiny_patch16_224.fb_in1k, timm, deit_tiny_patch16_224.fb_in1k, main",
        "facebook/deit-tiny-patch16-224@refs/pr/3, facebook, deit-tiny-patch16-224, refs/pr/3",
        "a/b@v1.0, a, b, v1.0"
    })
    void readsNames(String text, String organisation, String name, String revision) {
        assertThat(HubModel.parse(text)).contains(new HubModel(organisation, name, revision));
        assertThat(new HubModel(organisation, name, revision)).hasToString(text);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "model",
                "/a/b",
                "./a",
                "../a",
                "a/b/c",
                "a/",
                "",
                "a b/c",
                "a/b@",
                "C:\\a\\b",
                "runs/q.safetensors",
                "models/deit.pth",
                "x/config.json",
                "-a/b",
                "@a/b"
            })
    void leavesPathsAlone(String text) {
        assertThat(HubModel.parse(text)).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "a/..",
                "a/.",
                "a/b..c",
                "a--b/c",
                "a/b--c",
                "a/b@../../x",
                "a/b@/etc",
                "a/b@x/",
                "a/b@x//y",
                "a/b@.",
                "a/b@x/.hidden",
                "a/b@main.lock"
            })
    void refusesNamesThatWouldLeaveTheCache(String text) {
        assertThatThrownBy(() -> HubModel.parse(text))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("give ORGANISATION/NAME");
    }

    @ParameterizedTest
    @CsvSource({
        "0123456789abcdef0123456789abcdef01234567, true",
        "0123456789ABCDEF0123456789abcdef01234567, false",
        "0123456, false",
        "main, false"
    })
    void knowsWhatCanNeverChange(String revision, boolean pinned) {
        assertThat(new HubModel("a", "b", revision).isPinned()).isEqualTo(pinned);
    }
}
