package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Every broken file is refused by a line that names the file and says what is wrong with it. */
class MalformedSafetensorsTest {
    private static final byte[] NOTHING = {};

    @TempDir
    Path folder;

    private static String tensor(String name, String dtype, String shape, String offsets) {
        return "\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":%s}".formatted(name, dtype, shape, offsets);
    }

    /** One file of the given number of data bytes, what the message must say. */
    private static Arguments header(String label, String header, int dataBytes, String problem) {
        return Arguments.of(label, HandBuilt.bytes(header, new byte[dataBytes]), problem);
    }

    private static Arguments tensors(String label, int dataBytes, String problem, String... tensors) {
        return header(label, "{" + String.join(",", tensors) + "}", dataBytes, problem);
    }

    static Stream<Arguments> lengths() {
        byte[] json = "{}".getBytes(StandardCharsets.UTF_8);
        return Stream.of(
                Arguments.of("no bytes", NOTHING, "is 0 bytes long, too short"),
                Arguments.of("7 bytes", new byte[7], "is 7 bytes long, too short"),
                Arguments.of("length 0", HandBuilt.bytes(NOTHING, NOTHING), "does not start with '{'"),
                Arguments.of(
                        "length 2^60", HandBuilt.withLength(1L << 60, json, NOTHING), "header of 1152921504606846976"),
                Arguments.of(
                        "length 2^63",
                        HandBuilt.withLength(Long.MIN_VALUE, json, NOTHING),
                        "header of 9223372036854775808 bytes"),
                Arguments.of(
                        "length 2^64-1", HandBuilt.withLength(-1, json, NOTHING), "header of 18446744073709551615"),
                Arguments.of(
                        "length 100,000,001", HandBuilt.withLength(100_000_001, json, NOTHING), "header of 100000001"),
                Arguments.of(
                        "longer than file",
                        HandBuilt.withLength(100_000_000, json, NOTHING),
                        "claims a header of 100000000 bytes but holds only 2"),
                Arguments.of("longer by one", HandBuilt.withLength(3, json, NOTHING), "of 3 bytes but holds only 2"));
    }

    static Stream<Arguments> layouts() {
        return Stream.of(
                tensors("truncated", 7, "truncated", tensor("t", "F32", "[2]", "[0,8]")),
                tensors(
                        "overlap",
                        6,
                        "tensors a and b that overlap",
                        tensor("b", "I8", "[4]", "[2,6]"),
                        tensor("a", "I8", "[4]", "[0,4]")),
                tensors(
                        "same range",
                        4,
                        "overlap",
                        tensor("a", "I8", "[4]", "[0,4]"),
                        tensor("b", "I8", "[4]", "[0,4]")),
                tensors(
                        "empty inside another",
                        4,
                        "overlap",
                        tensor("a", "I8", "[4]", "[0,4]"),
                        tensor("b", "I8", "[0]", "[2,2]")),
                tensors(
                        "hole",
                        5,
                        "leaves 1 bytes unused before tensor b",
                        tensor("a", "I8", "[2]", "[0,2]"),
                        tensor("b", "I8", "[2]", "[3,5]")),
                tensors("hole at the start", 3, "unused before tensor a", tensor("a", "I8", "[2]", "[1,3]")),
                tensors("trailing bytes", 9, "has 9 bytes of tensors where", tensor("t", "F32", "[2]", "[0,8]")),
                header("data without tensors", "{}", 1, "has 1 bytes of tensors where"),
                tensors("reversed", 8, "at bytes 8 to 0", tensor("t", "F32", "[2]", "[8,0]")),
                tensors("too small a range", 4, "needs 8", tensor("t", "F32", "[2]", "[0,4]")),
                tensors("too large a range", 8, "needs 4", tensor("t", "F16", "[2]", "[0,8]")),
                tensors("scalar of no bytes", 0, "needs 4", tensor("t", "F32", "[]", "[0,0]")),
                tensors("range past 2^63", 8, "JSON", tensor("t", "F32", "[2]", "[0,9223372036854775808]")),
                tensors("range of 2^63-1", 8, "truncated", tensor("t", "F32", "[2]", "[0,9223372036854775807]")),
                tensors("negative range", 8, "negative", tensor("t", "F32", "[2]", "[-8,0]")),
                tensors("negative shape", 8, "negative", tensor("t", "F32", "[-2]", "[0,8]")),
                tensors("two negatives", 8, "negative", tensor("t", "F32", "[-2,-1]", "[0,8]")),
                tensors("2^62 floats wrap to 0", 0, "too large", tensor("t", "F32", "[4611686018427387904]", "[0,0]")),
                tensors("product wraps to 8", 8, "too large", tensor("t", "I8", "[8,2305843009213693953]", "[0,8]")),
                tensors("dimension past 2^63", 0, "JSON", tensor("t", "I8", "[18446744073709551616]", "[0,0]")),
                tensors(
                        "dimension of 2000 digits",
                        0,
                        "JSON",
                        tensor("t", "I8", "[" + "9".repeat(2000) + "]", "[0,0]")),
                tensors(
                        "17 dimensions",
                        1,
                        "more than 16",
                        tensor("t", "I8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]")));
    }

    static Stream<Arguments> headers() {
        String good = tensor("t", "I8", "[1]", "[0,1]");
        return Stream.of(
                tensors("duplicate tensor", 2, "Duplicate", good, tensor("t", "I8", "[1]", "[1,2]")),
                header("duplicate by escape", "{" + good + ",\"\\u0074\":{}}", 1, "Duplicate"),
                header("duplicate metadata", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "Duplicate"),
                header("duplicate key", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "Duplicate"),
                header("duplicate field", "{\"t\":{\"dtype\":\"I8\",\"dtype\":\"I8\"}}", 0, "Duplicate"),
                tensors("unknown dtype", 1, "unknown dtype Q8", tensor("t", "Q8", "[1]", "[0,1]")),
                tensors("lower case dtype", 1, "unknown dtype i8", tensor("t", "i8", "[1]", "[0,1]")),
                header("dtype a number", "{\"t\":{\"dtype\":8}}", 0, "dtype of tensor t"),
                header("shape a number", "{\"t\":{\"shape\":8}}", 0, "shape of tensor t"),
                header("shape of fractions", "{\"t\":{\"shape\":[1.0]}}", 0, "shape of tensor t"),
                header("shape of text", "{\"t\":{\"shape\":[\"1\"]}}", 0, "shape of tensor t"),
                header("shape null", "{\"t\":{\"shape\":null}}", 0, "shape of tensor t"),
                tensors("one offset", 1, "1 offsets, not 2", tensor("t", "I8", "[1]", "[0]")),
                tensors("three offsets", 1, "3 offsets, not 2", tensor("t", "I8", "[1]", "[0,1,1]")),
                header("no dtype", "{\"t\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "no dtype"),
                header("no shape", "{\"t\":{\"dtype\":\"I8\",\"data_offsets\":[0,1]}}", 1, "no shape"),
                header("no range", "{\"t\":{\"dtype\":\"I8\",\"shape\":[1]}}", 1, "no data_offsets"),
                header("tensor null", "{\"t\":null}", 0, "tensor t"),
                header("tensor a list", "{\"t\":[]}", 0, "tensor t"),
                header("metadata a number", "{\"__metadata__\":{\"epoch\":3}}", 0, "__metadata__.epoch"),
                header("metadata a list", "{\"__metadata__\":[]}", 0, "__metadata__"),
                header("not an object", "[]", 0, "does not start with '{'"),
                header("blank first", " {}", 0, "does not start with '{'"),
                header("byte order mark", "\uFEFF{}", 0, "does not start with '{'"),
                header("not JSON", "{'t':{}}", 0, "not valid JSON"),
                header("cut off", "{" + good, 1, "not valid JSON"),
                header("cut off in a number", "{\"t\":{\"shape\":[1", 0, "not valid JSON"),
                header("text after", "{" + good + "} x", 1, "JSON"),
                header("second object", "{" + good + "}{}", 1, "text after the header's closing brace"),
                header("zeros after", "{}\0\0\0\0\0\0", 0, "JSON"),
                header("lists in lists", "{\"t\":" + "[".repeat(100_000), 0, "tensor t"),
                header("deep shape", "{\"t\":{\"shape\":" + "[".repeat(100_000), 0, "shape of tensor t"),
                header("objects in objects", "{\"t\":" + "{\"t\":".repeat(100_000), 0, "unknown field t"),
                header("half a surrogate pair", "{\"\\ud83d\":{\"dtype\":\"I8\"}}", 0, "surrogate"),
                header("half a pair in metadata", "{\"__metadata__\":{\"a\":\"\\udc00x\"}}", 0, "surrogate"),
                Arguments.of("not UTF-8", HandBuilt.bytes(HandBuilt.hex("7b 22 ff 22 7d"), NOTHING), "not UTF-8"),
                Arguments.of(
                        "surrogate in UTF-8",
                        HandBuilt.bytes(HandBuilt.hex("7b 22 eda080 22 7d"), NOTHING),
                        "not UTF-8"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource({"lengths", "layouts", "headers"})
    void isRefused(String label, byte[] bytes, String problem) {
        Path file = HandBuilt.write(folder.resolve("model.safetensors"), bytes);
        assertThatThrownBy(() -> SafetensorsFile.open(file).close())
                .as(label)
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining(problem)
                .hasMessageEndingWith("; copy or download the file again")
                .hasMessageNotContainingAny("\n", "\r", "(null");
    }

    @Test
    void textOfTheFileDoesNotFloodTheMessage() {
        String endless = "x".repeat(1_000_000);
        Path file = HandBuilt.write(
                folder.resolve("model.safetensors"),
                HandBuilt.bytes("{" + tensor("y".repeat(40_000), endless, "[1]", "[0,1]") + "}", new byte[1]));
        assertThatThrownBy(() -> SafetensorsFile.open(file).close())
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": gives tensor yyyy")
                .hasMessageContaining("unknown dtype xxxx")
                .satisfies(e -> assertThat(String.valueOf(e.getMessage()))
                        .hasSizeLessThan(file.toString().length() + 600));
    }

    @Test
    void folderIsRefused() {
        assertThatThrownBy(() -> SafetensorsFile.open(folder).close())
                .isInstanceOf(BadInputException.class)
                .hasMessage(folder + ": is a folder; name a .safetensors file");
    }

    @Test
    void missingFileIsRefused() {
        Path file = folder.resolve("none.safetensors");
        assertThatThrownBy(() -> SafetensorsFile.open(file).close())
                .isInstanceOf(BadInputException.class)
                .hasMessage(file + ": no such file; check the path");
    }

    @Test
    void pathThroughAFileIsRefused() throws IOException {
        Path file = Files.writeString(folder.resolve("a"), "x").resolve("b.safetensors");
        assertThatThrownBy(() -> SafetensorsFile.open(file).close())
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ");
    }

    @Test
    void unreadableFileIsRefused() throws IOException {
        Path file = HandBuilt.write(folder.resolve("secret.safetensors"), HandBuilt.bytes("{}", NOTHING));
        assumeThat(Files.getFileStore(file).supportsFileAttributeView("posix")).isTrue();
        Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("---------"));
        assumeThat(Files.isReadable(file)).as("the superuser reads everything").isFalse();
        assertThatThrownBy(() -> SafetensorsFile.open(file).close())
                .isInstanceOf(BadInputException.class)
                .hasMessage(file + ": cannot be read (permission denied); check that it is a file you may read");
    }

    /** Opening a pipe that nobody writes to would wait for ever. */
    @Test
    @Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
    void pipeIsRefused() throws Exception {
        Path pipe = folder.resolve("pipe");
        boolean made;
        try {
            made = new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor() == 0;
        } catch (IOException e) {
            made = false;
        }
        assumeThat(made).as("this system can make pipes").isTrue();
        assertThatThrownBy(() -> SafetensorsFile.open(pipe).close())
                .isInstanceOf(BadInputException.class)
                .hasMessage(pipe + ": is not a regular file; name a .safetensors file");
        assertThat(pipe).exists();
    }
}
