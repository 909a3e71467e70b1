package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsWriterTest {
    @TempDir
    Path folder;

    private Path target() {
        return folder.resolve("out.safetensors");
    }

    private static Tensor bytes(String name, int... values) {
        byte[] data = new byte[values.length];
        for (int i = 0; i < values.length; i++) {
            data[i] = (byte) values[i];
        }
        return Tensor.ofBytes(name, DType.I8, data, values.length);
    }

    /** Wide elements first, then by name; the header is padded so that the data starts at a multiple of 8. */
    @Test
    void writesTheseVeryBytes() throws IOException {
        SafetensorsWriter.write(
                target(),
                List.of(bytes("a", 1, -1, 3), Tensor.ofFloats("z", new float[] {1}), bytes("B", 9)),
                Map.of("k2", "v\"", "k1", "ü"));
        String header = "{\"__metadata__\":{\"k1\":\"ü\",\"k2\":\"v\\\"\"},"
                + "\"z\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                + "\"B\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[4,5]},"
                + "\"a\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[5,8]}}";
        int length = header.getBytes(java.nio.charset.StandardCharsets.UTF_8).length;
        String padded = header + " ".repeat((8 - length % 8) % 8);
        assertThat(Files.readAllBytes(target()))
                .isEqualTo(HandBuilt.bytes(padded, HandBuilt.hex("0000803f 09 01ff03")));
    }

    @Test
    void nothingToWriteIsAValidFile() throws IOException {
        SafetensorsWriter.write(target(), List.of(), Map.of());
        assertThat(Files.readAllBytes(target())).isEqualTo(HandBuilt.bytes("{}      ", new byte[0]));
        try (SafetensorsFile file = SafetensorsFile.open(target())) {
            assertThat(file.names()).isEmpty();
        }
    }

    @Test
    void memoryOfAnyKindIsWritten() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment outside = arena.allocate(4);
            outside.setAtIndex(java.lang.foreign.ValueLayout.JAVA_BYTE, 2, (byte) 5);
            MemorySegment direct =
                    MemorySegment.ofBuffer(ByteBuffer.allocateDirect(2).put(1, (byte) 6));
            SafetensorsWriter.write(
                    target(),
                    List.of(
                            new Tensor("arena", DType.I8, List.of(4L), outside),
                            new Tensor("direct", DType.I8, List.of(2L), direct),
                            new Tensor("read-only", DType.I8, List.of(4L), outside.asReadOnly()),
                            new Tensor("ints", DType.I32, List.of(2L), MemorySegment.ofArray(new int[] {7, -8})),
                            new Tensor("floats", DType.F32, List.of(2L), MemorySegment.ofArray(new float[] {.5f, 2}))),
                    Map.of());
        }
        try (SafetensorsFile file = SafetensorsFile.open(target())) {
            assertThat(file.find("arena").orElseThrow().toFloats()).containsExactly(0, 0, 5, 0);
            assertThat(file.find("read-only").orElseThrow().toFloats()).containsExactly(0, 0, 5, 0);
            assertThat(file.find("direct").orElseThrow().toFloats()).containsExactly(0, 6);
            assertThat(file.find("ints").orElseThrow().toInts()).containsExactly(7, -8);
            assertThat(file.find("floats").orElseThrow().toFloats()).containsExactly(.5f, 2);
        }
    }

    @Test
    void fileMayBeRewrittenFromItsOwnTensors() {
        SafetensorsWriter.write(target(), List.of(bytes("a", 1, 2, 3)), Map.of());
        try (SafetensorsFile file = SafetensorsFile.open(target())) {
            SafetensorsWriter.write(target(), List.of(file.find("a").orElseThrow(), bytes("b", 4)), Map.of());
        }
        try (SafetensorsFile file = SafetensorsFile.open(target())) {
            assertThat(file.find("a").orElseThrow().toFloats()).containsExactly(1, 2, 3);
            assertThat(file.find("b").orElseThrow().toFloats()).containsExactly(4);
        }
    }

    /** The reader could not tell such a tensor from the metadata, nor such names from one another. */
    @Test
    void namesThatTheFormatCannotHoldAreRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> SafetensorsWriter.write(target(), List.of(bytes("a", 1), bytes("a", 2)), Map.of()));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> SafetensorsWriter.write(target(), List.of(bytes("__metadata__", 1)), Map.of()));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> SafetensorsWriter.write(target(), List.of(bytes("\ud83d", 1)), Map.of()));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> SafetensorsWriter.write(target(), List.of(), Map.of("k", "\udc00")));
        assertThat(target()).doesNotExist();
    }

    @Test
    void folderAsTargetIsRefused() {
        assertThatThrownBy(() -> SafetensorsWriter.write(folder, List.of(), Map.of()))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(folder + ": is a folder");
    }
}
