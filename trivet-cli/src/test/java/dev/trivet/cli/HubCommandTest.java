package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpServer;
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** Models by name. Commands that need variables run in a process of their own. */
class HubCommandTest {
    private static final String NAME = "timm/vit_micro.test";
    private static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";
    private static final String TOKEN = "hf_secretOfTheTest";

    @TempDir
    Path temp;

    private final List<String> requests = new CopyOnWriteArrayList<>();
    private HttpServer server;
    private volatile int refusal;

    /** Lists the golden model and serves its files, hashes and lengths in the headers. */
    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> {
            try (exchange) {
                String path = exchange.getRequestURI().getPath();
                requests.add(exchange.getRequestMethod() + " " + path);
                if (refusal != 0) {
                    exchange.sendResponseHeaders(refusal, -1);
                    return;
                }
                byte[] body = ("{\"sha\": \"" + COMMIT
                                + "\", \"siblings\": [{\"rfilename\": \"config.json\"}, {\"rfilename\": \"model.safetensors\"}]}")
                        .getBytes(StandardCharsets.UTF_8);
                if (path.contains("/resolve/")) {
                    Path file = Fixtures.golden(Fixtures.VIT).resolve(path.substring(path.lastIndexOf('/') + 1));
                    body = Files.readAllBytes(file);
                    exchange.getResponseHeaders().set("X-Repo-Commit", COMMIT);
                    exchange.getResponseHeaders().set("X-Linked-Etag", '"' + Sha256.of(List.of(file)) + '"');
                    exchange.getResponseHeaders().set("X-Linked-Size", String.valueOf(body.length));
                }
                boolean head = exchange.getRequestMethod().equals("HEAD");
                exchange.sendResponseHeaders(200, head ? -1 : body.length);
                if (!head) {
                    exchange.getResponseBody().write(body);
                }
            }
        });
        server.start();
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private CommandRun process(Object... arguments) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--add-modules",
                "jdk.incubator.vector",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                Stream.of(System.getProperty("java.class.path").split(File.pathSeparator, -1))
                        .map(entry -> Path.of(entry).toAbsolutePath().toString())
                        .reduce((a, b) -> a + File.pathSeparator + b)
                        .orElseThrow(),
                TrivetCommand.class.getName()));
        Stream.of(arguments).map(String::valueOf).forEach(command::add);
        Path out = temp.resolve("out");
        Path err = temp.resolve("err");
        ProcessBuilder builder = new ProcessBuilder(command)
                .directory(temp.toFile())
                .redirectOutput(out.toFile())
                .redirectError(err.toFile());
        builder.environment()
                .keySet()
                .removeIf(name -> name.toUpperCase(java.util.Locale.ROOT).contains("PROXY"));
        // The JVM would say so on standard error.
        builder.environment().keySet().removeAll(List.of("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"));
        builder.environment().put("HF_HOME", temp.resolve("hf").toString());
        builder.environment().put("HF_TOKEN", TOKEN);
        builder.environment()
                .put("HF_ENDPOINT", "http://127.0.0.1:" + server.getAddress().getPort());
        int exit = builder.start().waitFor();
        // The JVM warns of incubator modules and the like on its own account.
        String said = Files.readString(err)
                .lines()
                .filter(line -> !line.startsWith("WARNING:"))
                .map(line -> line + "\n")
                .reduce("", String::concat);
        return new CommandRun(exit, Files.readString(out), said);
    }

    @Test
    void pullsThenInspectsByNameAsByPath() throws IOException, InterruptedException {
        CommandRun pulled = process("pull", NAME, "--json");
        assertThat(pulled.exit()).as(pulled.err()).isZero();
        assertThat(pulled.complaints())
                .singleElement()
                .asString()
                .startsWith("fetching " + NAME + " (commit " + COMMIT);
        Path golden = Fixtures.golden(Fixtures.VIT);
        Path folder =
                temp.resolve("hf/hub/models--timm--vit_micro.test/snapshots").resolve(COMMIT);
        JsonNode json = pulled.json();
        assertThat(json.path("name").asString()).isEqualTo(NAME);
        assertThat(json.path("revision").asString()).isEqualTo("main");
        assertThat(json.path("commit").asString()).isEqualTo(COMMIT);
        assertThat(json.path("path").asString()).isEqualTo(folder.toString());
        assertThat(json.path("files")).hasSize(2);
        JsonNode weights = json.path("files").path(1);
        assertThat(weights.path("name").asString()).isEqualTo("model.safetensors");
        assertThat(weights.path("bytes").asLong()).isEqualTo(Files.size(golden.resolve("model.safetensors")));
        assertThat(weights.path("sha256").asString())
                .isEqualTo(Sha256.of(List.of(golden.resolve("model.safetensors"))));

        requests.clear();
        CommandRun byName = process("inspect", NAME, "--json", "--offline");
        assertThat(byName.exit()).as(byName.err()).isZero();
        assertThat(byName.complaints())
                .singleElement()
                .asString()
                .startsWith(NAME + ": commit " + COMMIT + " from the cache");
        assertThat(requests).isEmpty();
        ObjectNode fields = (ObjectNode) byName.json();
        assertThat(fields.path("model").asString())
                .isEqualTo(folder.resolve("model.safetensors").toString());
        ObjectNode expected =
                (ObjectNode) CommandRun.of("inspect", golden, "--json").good().json();
        fields.remove("model");
        expected.remove("model");
        assertThat(fields).isEqualTo(expected);
    }

    @Test
    void takesAPathThatExistsForAPath() throws IOException, InterruptedException {
        Files.createDirectories(temp.resolve("timm"));
        Fixtures.model(temp.resolve("timm"), Fixtures.VIT);
        CommandRun run = process("inspect", "timm/" + Fixtures.VIT, "--json").good();
        assertThat(run.json().path("model").asString()).isEqualTo("timm/" + Fixtures.VIT + "/model.safetensors");
        assertThat(requests).isEmpty();
    }

    @Test
    void saysInOneLineWhyThereIsNoModel() throws IOException, InterruptedException {
        refusal = 401;
        String line = process("inspect", NAME).refused(NAME, "HF_TOKEN", "401");
        assertThat(line).doesNotContain(TOKEN);
    }

    @ParameterizedTest
    @ValueSource(strings = {"inspect", "check", "classify", "eval", "quantize", "compare", "train", "pull"})
    void everyCommandTakesANameAndStaysOfflineWhenTold(String command) {
        String name = "nobody-of-that-name/trivet-has-no-such-model";
        Object[] rest = switch (command) {
            case "check" -> new Object[] {"--golden", temp.resolve("golden.safetensors")};
            case "classify" -> new Object[] {temp.resolve("a.png")};
            case "eval" -> new Object[] {"--data", temp};
            case "quantize" -> new Object[] {"--calibration", temp, "-o", temp.resolve("q.safetensors")};
            case "compare" -> new Object[] {Fixtures.golden(Fixtures.VIT), "--data", temp};
            case "train" -> new Object[] {"--data", temp, "-o", temp.resolve("run")};
            default -> new Object[0];
        };
        CommandRun.of(Stream.concat(Stream.of(command, name, "--offline"), Stream.of(rest))
                        .toArray())
                .refused(name, "neither a path nor complete in the cache", "--offline");
    }

    @Test
    void takesAFileThatIsMissingForAFile() {
        CommandRun.of("inspect", "no-such-folder/q.safetensors").refused("no such model", "check the path");
    }

    @ParameterizedTest
    @ValueSource(strings = {"deit", "a/b/c", "a/..", "a/b@../../c"})
    void pullWantsAName(String name) {
        CommandRun.of("pull", name).refused(name, "name");
    }
}
