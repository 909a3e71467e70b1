package dev.trivet.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Which files are fetched, where they go, and what is said when a model cannot be had. */
class ModelHubTest {
    @TempDir
    Path home;

    private final FakeHub hub = new FakeHub();
    private final Pulls pulls = new Pulls();

    @AfterEach
    void stop() {
        hub.close();
    }

    private Path repository() {
        return home.resolve("hub/models--timm--vit_micro.test");
    }

    private String refusal(HubSettings settings) {
        try {
            pulls.pull(settings);
            throw new AssertionError("was not refused");
        } catch (BadInputException e) {
            assertThat(e.getMessage()).doesNotContain("\n").doesNotContain(FakeHub.TOKEN);
            assertThat(pulls.notes).allSatisfy(note -> assertThat(note).doesNotContain(FakeHub.TOKEN));
            return String.valueOf(e.getMessage());
        }
    }

    @Test
    void laysFilesOutAsTheHubsOwnToolsDo() throws IOException {
        HubSnapshot snapshot = pulls.pull(hub.settings(home));

        Path folder = repository().resolve("snapshots").resolve(FakeHub.COMMIT);
        assertThat(snapshot.folder()).isEqualTo(folder);
        assertThat(snapshot.commit()).isEqualTo(FakeHub.COMMIT);
        byte[] config = hub.file("config.json");
        byte[] weights = hub.file("model.safetensors");
        assertThat(snapshot.files())
                .containsExactly(
                        new HubSnapshot.Entry("config.json", config.length, FakeHub.sha256(config)),
                        new HubSnapshot.Entry("model.safetensors", weights.length, FakeHub.sha256(weights)));
        assertThat(Files.readString(repository().resolve("refs/main"))).isEqualTo(FakeHub.COMMIT);
        assertThat(Files.readSymbolicLink(folder.resolve("config.json")))
                .isEqualTo(Path.of("../../blobs", FakeHub.git(config)));
        assertThat(Files.readSymbolicLink(folder.resolve("model.safetensors")))
                .isEqualTo(Path.of("../../blobs", FakeHub.sha256(weights)));
        assertThat(folder.resolve("model.safetensors")).hasBinaryContent(weights);
        assertThat(repository().resolve(".no_exist/" + FakeHub.COMMIT + "/preprocessor_config.json"))
                .isEmptyFile();
        try (var blobs = Files.list(repository().resolve("blobs"))) {
            assertThat(blobs).hasSize(2);
        }
        try (var links = Files.list(folder)) {
            assertThat(links).hasSize(2);
        }
    }

    @Test
    void sendsTheTokenToTheHubOnly() {
        pulls.pull(hub.settings(home));
        assertThat(hub.seen).anyMatch(request -> !request.atHub()).allSatisfy(request -> {
            String expected = request.atHub() ? "Bearer " + FakeHub.TOKEN : "";
            assertThat(request.header("Authorization").orElse("")).isEqualTo(expected);
        });
    }

    @Test
    void asksWithoutATokenWhereThereIsNone() {
        pulls.pull(hub.settings(home, "HF_TOKEN", ""));
        assertThat(hub.seen)
                .noneMatch(request -> request.header("Authorization").isPresent());
    }

    @Test
    void asksOnceForWhatIsThereAndNeverForACommitThatWasNamed() {
        HubSnapshot first = pulls.pull(hub.settings(home));
        hub.seen.clear();
        assertThat(pulls.pull(hub.settings(home))).isEqualTo(first);
        assertThat(hub.requests()).containsExactly("hub GET listing");
        hub.seen.clear();
        HubModel pinned = HubModel.parse(FakeHub.ID + "@" + FakeHub.COMMIT).orElseThrow();
        assertThat(pulls.pull(hub.settings(home), pinned).files()).isEqualTo(first.files());
        assertThat(hub.seen).isEmpty();
    }

    @Test
    void fetchesOnlyWhatANewCommitChanges() throws IOException {
        pulls.pull(hub.settings(home));
        hub.seen.clear();
        hub.commit = FakeHub.COMMIT.replace('0', 'f');
        hub.files.put(
                "config.json",
                "{\"architecture\": \"vit_micro\", \"num_classes\": 7}".getBytes(StandardCharsets.UTF_8));
        HubSnapshot snapshot = pulls.pull(hub.settings(home));
        assertThat(snapshot.folder().resolve("config.json")).hasBinaryContent(hub.file("config.json"));
        assertThat(hub.requests()).contains("hub GET config.json").doesNotContain("store GET model.safetensors");
        assertThat(Files.readString(repository().resolve("refs/main"))).isEqualTo(hub.commit);
    }

    /** As {@code snapshot_download} of the Python library leaves it, without any marker of ours. */
    @Test
    void usesWhatAnotherToolHasFetched() throws IOException {
        Path folder = Files.createDirectories(repository().resolve("snapshots").resolve(FakeHub.COMMIT));
        for (String name : List.of("config.json", "model.safetensors")) {
            Path blob = Files.createDirectories(repository().resolve("blobs")).resolve(hub.etag(name));
            Files.write(blob, hub.file(name));
            Files.createSymbolicLink(
                    folder.resolve(name), Path.of("../../blobs").resolve(hub.etag(name)));
        }
        Files.createDirectories(repository().resolve("refs"));
        Files.writeString(repository().resolve("refs/main"), FakeHub.COMMIT);
        pulls.pull(hub.settings(home));
        assertThat(hub.requests()).containsExactly("hub GET listing");
        hub.seen.clear();
        assertThat(pulls.pull(hub.settings(home, "HF_HUB_OFFLINE", "1")).files())
                .hasSize(2);
        assertThat(hub.seen).isEmpty();
    }

    @Test
    void takesThePreprocessorToo() {
        hub.files.put("preprocessor_config.json", "{}".getBytes(StandardCharsets.UTF_8));
        hub.files.put("pytorch_model.bin", FakeHub.bytes(100, 2));
        assertThat(pulls.pull(hub.settings(home)).files())
                .extracting(HubSnapshot.Entry::name)
                .containsExactly("config.json", "preprocessor_config.json", "model.safetensors");
        assertThat(hub.requests()).noneMatch(request -> request.contains("README") || request.contains("pytorch"));
    }

    @Test
    void takesPickledWeightsOnlyWhereThereAreNoOthers() {
        hub.files.remove("model.safetensors");
        hub.files.put("pytorch_model.bin", FakeHub.bytes(100, 2));
        assertThat(pulls.pull(hub.settings(home)).files())
                .extracting(HubSnapshot.Entry::name)
                .containsExactly("config.json", "pytorch_model.bin");
    }

    @Test
    void takesTheShardsThatTheIndexLists() {
        hub.files.remove("model.safetensors");
        hub.files.put("model-00001-of-00002.safetensors", FakeHub.bytes(100, 2));
        hub.files.put("model-00002-of-00002.safetensors", FakeHub.bytes(50, 3));
        hub.files.put("model-00003-of-00003.safetensors", FakeHub.bytes(50, 3));
        index("model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors");
        assertThat(pulls.pull(hub.settings(home)).files())
                .extracting(HubSnapshot.Entry::name)
                .containsExactly(
                        "config.json",
                        "model.safetensors.index.json",
                        "model-00001-of-00002.safetensors",
                        "model-00002-of-00002.safetensors");
        assertThat(pulls.pull(hub.settings(home, "HF_HUB_OFFLINE", "1")).files())
                .hasSize(4);
    }

    private void index(String... shards) {
        StringBuilder map = new StringBuilder();
        for (String shard : shards) {
            map.append(map.isEmpty() ? "" : ", ")
                    .append('"')
                    .append("w")
                    .append(map.length())
                    .append("\": \"")
                    .append(shard)
                    .append('"');
        }
        hub.files.put(
                "model.safetensors.index.json", ("{\"weight_map\": {" + map + "}}").getBytes(StandardCharsets.UTF_8));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "../../../../evil",
                "/etc/passwd",
                "evil.sh",
                "model-1-of-2.safetensors",
                "a/model-00001-of-00002.safetensors",
                "model-00001-of-00002.safetensors\\n"
            })
    void fetchesNothingElseThatAnIndexLists(String shard) {
        hub.files.remove("model.safetensors");
        hub.files.put("evil", FakeHub.bytes(10, 1));
        index(shard);
        assertThat(refusal(hub.settings(home))).contains("index.json", "no file of weights");
        assertThat(hub.requests()).allMatch(request -> request.endsWith("json") || request.endsWith("listing"));
    }

    @Test
    void asksForEachNameWhereTheHubListsNone() throws IOException {
        hub.always("hub GET listing", FakeHub.status(403));
        HubSnapshot snapshot = pulls.pull(hub.settings(home));
        assertThat(snapshot.files())
                .extracting(HubSnapshot.Entry::name)
                .containsExactly("config.json", "model.safetensors");
        assertThat(Files.readString(repository().resolve("refs/main"))).isEqualTo(FakeHub.COMMIT);
    }

    @Test
    void followsAModelThatWasRenamedAndKeepsTheToken() {
        hub.instead(
                "hub HEAD config.json",
                FakeHub.status(307, "Location", "/" + FakeHub.ID + "/resolve/" + FakeHub.COMMIT + "/config.json"));
        pulls.pull(hub.settings(home));
        assertThat(hub.seen.stream().filter(request -> request.toString().equals("hub HEAD config.json")))
                .hasSize(2)
                .allMatch(request -> request.header("Authorization").isPresent());
    }

    @Test
    void copiesWhereLinksCannotBe() {
        HubSettings settings = hub.settings(home, "HF_HUB_DISABLE_SYMLINKS", "1");
        Path weights = pulls.pull(settings).folder().resolve("model.safetensors");
        assertThat(weights).isRegularFile().hasBinaryContent(hub.file("model.safetensors"));
        assertThat(Files.isSymbolicLink(weights)).isFalse();
        hub.seen.clear();
        pulls.pull(settings);
        assertThat(hub.requests()).noneMatch(request -> request.startsWith("store"));
        assertThat(pulls.pull(settings.offline(true)).files()).hasSize(2);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "401|RepoNotFound|true|not shown to the token in HF_TOKEN (401); check the name or path, or make a new token",
                "401|RepoNotFound|false|private or does not exist (401); check the name or path, or set HF_TOKEN",
                "401|GatedRepo|false|gated (401); accept the terms on @/timm/vit_micro.test and set HF_TOKEN",
                "403|GatedRepo|true|gated (403); accept the terms on @/timm/vit_micro.test with the account",
                "404|RepoNotFound|true|no such model on @ (404); check the name",
                "404|RevisionNotFound|true|has no revision main",
            })
    void saysWhyAModelCannotBeHad(int status, String code, boolean token, String words) {
        hub.always("hub GET listing", FakeHub.status(status, "X-Error-Code", code));
        String line = refusal(token ? hub.settings(home) : hub.settings(home, "HF_TOKEN", ""));
        assertThat(line).startsWith(FakeHub.ID).contains(words.replace("@", hub.address()));
        assertThat(pulls.waits).isEmpty();
        assertThat(home.resolve("hub")).doesNotExist();
    }

    /** Gated models are listed for everybody; only their files are refused. */
    @Test
    void saysThatTheFilesAreGated() {
        hub.always("hub HEAD config.json", FakeHub.status(403, "X-Error-Code", "GatedRepo"));
        assertThat(refusal(hub.settings(home))).contains("accept the terms");
    }

    @Test
    void saysWhatAModelLacks() {
        hub.files.remove("model.safetensors");
        assertThat(refusal(hub.settings(home))).contains("has no weights (model.safetensors, ");
        hub.files.remove("config.json");
        assertThat(refusal(hub.settings(home))).contains("has no config.json");
    }

    @ParameterizedTest
    @ValueSource(strings = {"../../../../tmp/evil", "\"W/x", "9bb58f26192e4ba00f01e2e7b136bbd8"})
    void refusesAnEntityTagThatIsNoHash(String etag) {
        hub.etags.put("model.safetensors", etag);
        assertThat(refusal(hub.settings(home))).contains("neither SHA-256 nor git hash", "HF_ENDPOINT");
    }

    @Test
    void takesNoCommitThatIsNone() {
        hub.commit = "../../../evil";
        assertThat(refusal(hub.settings(home))).contains("names no commit");
        assertThat(home.resolve("hub")).doesNotExist();
    }

    @Test
    void staysOfflineWhenTold() {
        HubSettings offline = hub.settings(home, "HF_HUB_OFFLINE", "1");
        assertThat(refusal(offline)).contains(FakeHub.ID, "neither a path nor complete in the cache", "--offline");
        HubSnapshot fetched = pulls.pull(hub.settings(home));
        hub.seen.clear();
        assertThat(pulls.pull(offline)).isEqualTo(fetched);
        assertThat(hub.seen).isEmpty();
    }

    @Test
    void noticesDamageInTheCache() throws IOException {
        HubSnapshot fetched = pulls.pull(hub.settings(home));
        Path blob = repository().resolve("blobs").resolve(hub.etag("model.safetensors"));
        Files.write(blob, FakeHub.bytes(300_000, 9));
        assertThat(refusal(hub.settings(home).offline(true))).contains("do not match", "trivet pull " + FakeHub.ID);
        assertThat(pulls.pull(hub.settings(home))).isEqualTo(fetched);
        assertThat(blob).hasBinaryContent(hub.file("model.safetensors"));
    }

    @Test
    void usesTheCacheWhereTheHubCannotBeReached() {
        HubSettings settings = hub.settings(home);
        HubSnapshot fetched = pulls.pull(settings);
        hub.always("hub GET listing", FakeHub.status(503));
        assertThat(pulls.pull(settings)).isEqualTo(fetched);
        assertThat(pulls.notes).anyMatch(note -> note.contains("cannot be reached (127.0.0.1 answered 503)"));
        assertThat(pulls.waits).isEmpty();
        hub.close();
        assertThat(pulls.pull(settings)).isEqualTo(fetched);
    }

    @Test
    void saysThatTheHubCannotBeReached() {
        HubSettings settings = hub.settings(home);
        hub.close();
        assertThat(refusal(settings)).contains(hub.address(), "cannot be reached", "HTTPS_PROXY", FakeHub.ID);
        assertThat(pulls.waits).isEmpty();
    }

    @Test
    void asksAServerInTroubleSeveralTimes() {
        hub.always("hub GET listing", FakeHub.status(503));
        assertThat(refusal(hub.settings(home))).contains("cannot be reached (127.0.0.1 answered 503)");
        assertThat(pulls.waits).extracting(java.time.Duration::toSeconds).containsExactly(1L, 2L, 4L, 8L);
    }

    @Test
    void namesTheStoreThatCannotBeReached() {
        hub.always("hub GET model.safetensors", FakeHub.status(302, "Location", "http://store.invalid/x"));
        assertThat(refusal(hub.settings(home))).contains("its store store.invalid: its name is not known");
    }

    @Test
    void saysThatAProxyCannotBeUsed() {
        assertThat(refusal(hub.settings(home, "HTTP_PROXY", "socks5://x:1"))).contains("HTTP_PROXY");
    }

    @Test
    void goesThroughTheProxy() {
        // The fake hub looks at paths only, so it can play the proxy of a hub that does not exist.
        HubSettings settings = hub.settings(
                home, "HF_ENDPOINT", "http://hub.invalid", "HTTP_PROXY", hub.address(), "NO_PROXY", "127.0.0.1");
        assertThat(pulls.pull(settings).files()).hasSize(2);
        assertThat(hub.seen)
                .anyMatch(request -> request.header("Host").orElse("").equals("hub.invalid"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"ftp://127.0.0.1/x", "http://", "http://a b/", "file:///etc/passwd"})
    void followsNoRedirectToElsewhereThanTheWeb(String location) {
        hub.always("hub GET model.safetensors", FakeHub.status(302, "Location", location));
        assertThat(refusal(hub.settings(home))).contains("redirects to no address");
    }

    @Test
    void followsNoRedirectsForEver() {
        hub.always("hub GET model.safetensors", FakeHub.status(302, "Location", "/again/model.safetensors"));
        hub.always("hub GET listing", FakeHub.status(302, "Location", hub.address() + "/api/again"));
        assertThatThrownBy(() -> pulls.pull(hub.settings(home)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("redirects without end");
    }
}
