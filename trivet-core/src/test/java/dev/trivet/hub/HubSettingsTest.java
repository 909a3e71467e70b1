package dev.trivet.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.net.Proxy;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The variables mean what they mean to the hub's own Python library (huggingface_hub 2.0, constants.py). */
class HubSettingsTest {
    @TempDir
    Path home;

    @Test
    void hasTheDefaultsOfTheHubsOwnTools() {
        HubSettings settings = HubSettings.of(Map.of("HF_HOME", "", "HF_TOKEN", ""), home);
        assertThat(settings.endpoint()).isEqualTo(URI.create("https://huggingface.co"));
        assertThat(settings.cache()).isEqualTo(home.resolve(".cache/huggingface/hub"));
        assertThat(settings.token()).isEmpty();
        assertThat(settings.offline()).isFalse();
        assertThat(settings.symlinks()).isTrue();
        assertThat(settings.answerTimeout()).isEqualTo(Duration.ofSeconds(10));
    }

    @ParameterizedTest
    @CsvSource({
        "XDG_CACHE_HOME, /x, , , /x/huggingface/hub",
        "HF_HOME, /h, XDG_CACHE_HOME, /x, /h/hub",
        "HF_HUB_CACHE, /c, HF_HOME, /h, /c",
        "HUGGINGFACE_HUB_CACHE, /old, HF_HOME, /h, /old",
        "HF_HUB_CACHE, /c, HUGGINGFACE_HUB_CACHE, /old, /c",
        "HF_HOME, $BASE/${BASE}/hf, BASE, /b, /b/b/hf/hub",
    })
    void findsTheCache(String first, String value, String second, String other, String expected) {
        Map<String, String> variables = second == null ? Map.of(first, value) : Map.of(first, value, second, other);
        assertThat(HubSettings.of(variables, home).cache()).isEqualTo(Path.of(expected));
    }

    @Test
    void expandsTheTilde() {
        assertThat(HubSettings.of(Map.of("HF_HOME", "~/models"), home).cache()).isEqualTo(home.resolve("models/hub"));
    }

    @Test
    void takesTheTokenFromTheVariableElseFromTheFile() throws IOException {
        Path file =
                Files.writeString(Files.createDirectories(home.resolve("hf")).resolve("token"), " hf_file\n");
        String folder = home.resolve("hf").toString();
        HubSettings fromFile = HubSettings.of(Map.of("HF_HOME", folder), home);
        assertThat(fromFile.token()).contains("hf_file");
        assertThat(fromFile.tokenSource()).isEqualTo(file.toString());
        assertThat(fromFile.toString()).doesNotContain("hf_file");
        HubSettings fromVariable = HubSettings.of(Map.of("HF_HOME", folder, "HF_TOKEN", "hf_variable\r\n"), home);
        assertThat(fromVariable.token()).contains("hf_variable");
        assertThat(fromVariable.tokenSource()).isEqualTo("HF_TOKEN");
        assertThat(HubSettings.of(Map.of("HF_TOKEN_PATH", file.toString()), home)
                        .token())
                .contains("hf_file");
        assertThat(HubSettings.of(Map.of("HF_HOME", folder, "HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), home)
                        .token())
                .isEmpty();
    }

    @Test
    void doesNotShowATokenThatCannotBeOne() {
        assertThatThrownBy(() -> HubSettings.of(Map.of("HF_TOKEN", "hf_x\u0007 y"), home))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("HF_TOKEN")
                .message()
                .doesNotContain("hf_x");
    }

    @ParameterizedTest
    @CsvSource({"1, true", "on, true", "Yes, true", "TRUE, true", "0, false", "off, false", "'', false"})
    void knowsWhenToStayOffline(String value, boolean offline) {
        assertThat(HubSettings.of(Map.of("HF_HUB_OFFLINE", value), home).offline())
                .isEqualTo(offline);
        assertThat(HubSettings.of(Map.of("TRANSFORMERS_OFFLINE", value), home).offline())
                .isEqualTo(offline);
        assertThat(HubSettings.of(Map.of(), home).offline(offline).offline()).isEqualTo(offline);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"huggingface.co", "ftp://x", "https://", "https://user:secret@x", "http://a b", "https://x?y"})
    void refusesAnEndpointThatIsNone(String endpoint) {
        assertThatThrownBy(() -> HubSettings.of(Map.of("HF_ENDPOINT", endpoint), home))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("HF_ENDPOINT")
                .message()
                .doesNotContain("secret");
    }

    @Test
    void cutsTheSlashOffTheEndpoint() {
        assertThat(HubSettings.of(Map.of("HF_ENDPOINT", "https://mirror.example/hf//"), home)
                        .endpoint())
                .hasToString("https://mirror.example/hf");
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "-1", "ten", "1.5"})
    void refusesATimeoutThatIsNone(String value) {
        assertThatThrownBy(() -> HubSettings.of(Map.of("HF_HUB_DOWNLOAD_TIMEOUT", value), home))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("HF_HUB_DOWNLOAD_TIMEOUT");
    }

    @ParameterizedTest
    @CsvSource(
            nullValues = "-",
            value = {
                "HTTPS_PROXY, http://proxy:3128, -, https://hub.example/x, proxy:3128",
                "https_proxy, proxy:3128, -, https://hub.example/x, proxy:3128",
                "HTTP_PROXY, http://proxy, -, http://hub.example/x, proxy:80",
                "ALL_PROXY, http://proxy:1, -, https://hub.example/x, proxy:1",
                "HTTP_PROXY, http://proxy:1, -, https://hub.example/x, -",
                "HTTPS_PROXY, http://proxy:1, hub.example, https://hub.example/x, -",
                "HTTPS_PROXY, http://proxy:1, '.a, .example', https://hub.example/x, -",
                "HTTPS_PROXY, http://proxy:1, ub.example, https://hub.example/x, proxy:1",
                "HTTPS_PROXY, http://proxy:1, *, https://hub.example/x, -",
            })
    void findsTheProxy(String name, String value, String exempt, String uri, String expected) {
        Map<String, String> variables = exempt == null ? Map.of(name, value) : Map.of(name, value, "NO_PROXY", exempt);
        Proxy proxy =
                HubSettings.of(variables, home).proxy().select(URI.create(uri)).getFirst();
        if (expected == null) {
            assertThat(proxy).isEqualTo(Proxy.NO_PROXY);
        } else {
            assertThat(proxy.type()).isEqualTo(Proxy.Type.HTTP);
            assertThat(String.valueOf(proxy.address())
                            .replaceFirst("/.*?:", ":")
                            .replace("/<unresolved>", ""))
                    .isEqualTo(expected);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"socks5://proxy:1", "http://user:secret@proxy:1", "http://:x"})
    void refusesAProxyItCannotUse(String value) {
        assertThatThrownBy(() -> HubSettings.of(Map.of("HTTPS_PROXY", value), home)
                        .proxy()
                        .select(URI.create("https://hub.example")))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("HTTPS_PROXY")
                .message()
                .doesNotContain("secret");
    }
}
