package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Two shards put together by hand: one holds a, the other b and c. */
class ShardedSafetensorsTest {
    private static final String ONE = "model-00001-of-00002.safetensors";
    private static final String TWO = "model-00002-of-00002.safetensors";

    @TempDir
    Path folder;

    private Path inside;
    private Path index;

    @BeforeEach
    void writeShards() throws IOException {
        inside = Files.createDirectory(folder.resolve("model"));
        index = inside.resolve("model.safetensors.index.json");
        write(inside.resolve(ONE), "a");
        write(inside.resolve(TWO), "b", "c");
        write(folder.resolve("outside.safetensors"), "a");
    }

    /** I8 tensors of one element, which is the name's letter. */
    private static void write(Path file, String... names) {
        StringBuilder header = new StringBuilder("{");
        byte[] data = String.join("", names).getBytes(StandardCharsets.US_ASCII);
        for (int i = 0; i < names.length; i++) {
            header.append(i == 0 ? "" : ",")
                    .append("\"%s\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[%d,%d]}"
                            .formatted(names[i], i, i + 1));
        }
        HandBuilt.write(file, HandBuilt.bytes(header.append("}").toString(), data));
    }

    private static String map(String a, String b, String c) {
        return """
                {"metadata": {"total_size": 3, "nested": [{"x": null}]},
                 "weight_map": {"c": "%s", "a": "%s", "b": "%s"}}""".formatted(c, a, b);
    }

    private void refused(String text, String problem) throws IOException {
        Files.writeString(index, text);
        assertThatThrownBy(() -> TensorFile.open(index))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(index + ": ")
                .hasMessageContaining(problem)
                .hasMessageEndingWith("; copy or download the index and its shards again")
                .hasMessageNotContainingAny("\n", "\r");
    }

    @Test
    void tensorsAreReadFromTheirShards() throws IOException {
        Files.writeString(index, map(ONE, TWO, TWO));
        try (TensorFile file = TensorFile.open(index)) {
            assertThat(file).isInstanceOf(ShardedSafetensors.class);
            assertThat(file.names()).containsExactly("c", "a", "b");
            for (String name : file.names()) {
                assertThat(file.find(name).orElseThrow().toFloats()).containsExactly(name.charAt(0));
            }
            assertThat(file.find("d")).isEmpty();
            assertThat(file.file()).isEqualTo(index);
            assertThat(file.files())
                    .containsExactlyInAnyOrder(index, inside.resolve(ONE), inside.resolve(TWO))
                    .startsWith(index);
            assertThat(file.fileBytes())
                    .isEqualTo(Files.size(index) + Files.size(inside.resolve(ONE)) + Files.size(inside.resolve(TWO)));
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "../outside.safetensors",
                "..\\\\outside.safetensors",
                "/etc/passwd",
                "C:outside.safetensors",
                "file:///etc/passwd",
                "sub/../../outside.safetensors",
                "..",
                ".",
                "",
                "a\\u0000b"
            })
    void shardOutsideTheFolderIsRefused(String shard) throws IOException {
        refused(map(shard, TWO, TWO), ", which is not a file of its own folder");
    }

    @Test
    void missingShardIsNamed() throws IOException {
        refused(
                map("model-00003.safetensors", TWO, TWO),
                "names shard model-00003.safetensors, which is not in its folder");
    }

    @Test
    void tensorInTheWrongShardIsNamed() throws IOException {
        refused(map(ONE, ONE, TWO), "says that tensor b is in " + ONE + ", but it is in " + TWO);
    }

    @Test
    void tensorThatNoShardHasIsNamed() throws IOException {
        refused(
                map(ONE, TWO, TWO).replace("\"c\":", "\"d\": \"" + ONE + "\", \"c\":"),
                "says that tensor d is in " + ONE + ", which lacks it");
    }

    @Test
    void tensorThatTheIndexDoesNotNameIsNamed() throws IOException {
        write(inside.resolve(ONE), "a", "z");
        refused(map(ONE, TWO, TWO), "does not name tensor z, but it is in " + ONE);
    }

    @Test
    void tensorInTwoShardsIsNamed() throws IOException {
        write(inside.resolve(ONE), "a", "b");
        String problem = "has tensor b in two shards, " + TWO + " and " + ONE;
        refused(map(ONE, TWO, TWO), problem);
        refused(map(ONE, ONE, TWO), problem);
    }

    @Test
    void damagedShardIsNamed() throws IOException {
        Path shard = inside.resolve(TWO);
        byte[] bytes = Files.readAllBytes(shard);
        Files.write(shard, java.util.Arrays.copyOf(bytes, bytes.length - 1));
        Files.writeString(index, map(ONE, TWO, TWO));
        assertThatThrownBy(() -> TensorFile.open(index))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(shard + ": places tensor c at bytes 1 to 2 of 1; it is truncated or damaged");
    }

    @Test
    void folderAsShardIsNamed() throws IOException {
        Files.createDirectory(inside.resolve("sub"));
        Files.writeString(index, map("sub", TWO, TWO));
        assertThatThrownBy(() -> TensorFile.open(index))
                .isInstanceOf(BadInputException.class)
                .hasMessage(inside.resolve("sub") + ": is a folder; name a .safetensors file");
    }

    static Stream<Arguments> indexes() {
        return Stream.of(
                Arguments.of("", "has the index in the wrong form"),
                Arguments.of("[]", "has the index in the wrong form"),
                Arguments.of("{}", "has no weight_map that names tensors"),
                Arguments.of("{\"weight_map\": {}}", "has no weight_map that names tensors"),
                Arguments.of("{\"weight_map\": []}", "has weight_map in the wrong form"),
                Arguments.of("{\"weight_map\": null}", "has weight_map in the wrong form"),
                Arguments.of("{\"weight_map\": {\"a\": 1}}", "has the shard of tensor a in the wrong form"),
                Arguments.of("{\"weight_map\": {\"a\": {}}}", "has the shard of tensor a in the wrong form"),
                Arguments.of("{\"weight_map\": {\"a\": \"x\", \"a\": \"y\"}}", "Duplicate"),
                Arguments.of("{\"weight_map\": {\"a\": \"x\"}, \"weight_map\": {}}", "Duplicate"),
                Arguments.of("{\"weight_map\": {\"a\": ", "is not valid JSON"),
                Arguments.of("{\"metadata\": " + "[".repeat(100_000), "is not valid JSON"),
                Arguments.of("{\"weight_map\": {\"a\": \"x\"}} {}", "has text after its closing brace"),
                Arguments.of(" ".repeat(17 << 20), "is over 16 MB"));
    }

    @ParameterizedTest
    @MethodSource("indexes")
    void malformedIndexIsRefused(String text, String problem) throws IOException {
        refused(text, problem);
    }

    @Test
    void indexThatIsNotUtf8IsRefused() throws IOException {
        Files.write(index, new byte[] {'{', '"', (byte) 0xff, '"', '}'});
        assertThatThrownBy(() -> TensorFile.open(index))
                .isInstanceOf(BadInputException.class)
                .hasMessage(index
                        + ": cannot be read (is not UTF-8 text); copy or download the index and its shards again");
    }

    @ParameterizedTest
    @CsvSource({"absent.index.json, no such file", "model.index.json, is not a regular file"})
    void missingIndexAndFolderAreNamed(String name, String problem) throws IOException {
        Files.createDirectory(folder.resolve("model.index.json"));
        assertThatThrownBy(() -> TensorFile.open(folder.resolve(name)))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(folder.resolve(name) + ": " + problem + "; ");
    }
}
