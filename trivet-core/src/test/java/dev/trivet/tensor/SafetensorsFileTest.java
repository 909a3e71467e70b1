package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsFileTest {
    @TempDir
    Path folder;

    private SafetensorsFile open(String header, String hexData) {
        Path file = folder.resolve("model.safetensors");
        return SafetensorsFile.open(HandBuilt.write(file, HandBuilt.bytes(header, HandBuilt.hex(hexData))));
    }

    private static String one(String dtype, String shape, int bytes) {
        return "{\"t\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[0,%d]}}".formatted(dtype, shape, bytes);
    }

    private float[] floats(String dtype, String shape, int bytes, String hexData) {
        try (SafetensorsFile file = open(one(dtype, shape, bytes), hexData)) {
            return file.find("t").orElseThrow().toFloats();
        }
    }

    @Test
    void f32() {
        assertThat(floats("F32", "[2,2]", 16, "0000803f 000020c1 0000807f 00000080"))
                .containsExactly(1f, -10f, Float.POSITIVE_INFINITY, -0f);
    }

    /** 1, -2, the greatest, the least normal 2^-14, the greatest and the least subnormal, infinity, -0. */
    @Test
    void f16WidensExactlyAlsoWhereSubnormal() {
        assertThat(floats("F16", "[8]", 16, "003c 00c0 ff7b 0004 ff03 0100 007c 0080"))
                .containsExactly(1f, -2f, 65504f, 0x1p-14f, 1023 * 0x1p-24f, 0x1p-24f, Float.POSITIVE_INFINITY, -0f);
        assertThat(floats("F16", "[1]", 2, "017e")[0]).isNaN();
    }

    /** 0x3FC0 = 1.5; 0x4049 = 2 (1 + 73/128); 0xBF80 = -1; 0x0001 = 2^-133; 0xFF80 = -infinity. */
    @Test
    void bf16WidensExactly() {
        assertThat(floats("BF16", "[5]", 10, "c03f 4940 80bf 0100 80ff"))
                .containsExactly(1.5f, 3.140625f, -1f, 0x1p-133f, Float.NEGATIVE_INFINITY);
        assertThat(floats("BF16", "[1]", 2, "c07f")[0]).isNaN();
    }

    @Test
    void bytesAreSignedOrNotAsNamed() {
        assertThat(floats("I8", "[4]", 4, "00 7f 80 ff")).containsExactly(0, 127, -128, -1);
        assertThat(floats("U8", "[4]", 4, "00 7f 80 ff")).containsExactly(0, 127, 128, 255);
    }

    @Test
    void i32() {
        try (SafetensorsFile file = open(one("I32", "[4]", 16), "01000000 ffffffff 00000080 01000001")) {
            Tensor tensor = file.find("t").orElseThrow();
            assertThat(tensor.toInts()).containsExactly(1, -1, Integer.MIN_VALUE, 16777217);
            // 2^24 + 1 has no float; it rounds to even.
            assertThat(tensor.toFloats()).containsExactly(1, -1, -0x1p31f, 16777216f);
        }
    }

    @Test
    void tensorsInAnyOrderUnalignedAndPaddedHeader() {
        String header = """
                {"z":{"dtype":"F32","shape":[1],"data_offsets":[3,7]},
                 "__metadata__":{"format":"pt","note":"Größe \\"模\\u578b\\"\\n"},
                 "a":{"shape":[3],"data_offsets":[0,3],"dtype":"I8"}}   \n""";
        try (SafetensorsFile file = open(header, "01 02 03 0000 4040")) {
            assertThat(file.names()).containsExactly("z", "a");
            assertThat(file.metadata()).isEqualTo(Map.of("format", "pt", "note", "Größe \"模型\"\n"));
            assertThat(file.find("z").orElseThrow().toFloats()).containsExactly(3f);
            assertThat(file.find("a").orElseThrow().toFloats()).containsExactly(1, 2, 3);
            assertThat(file.find("nothing")).isEmpty();
            assertThat(file.find("__metadata__")).isEmpty();
            assertThat(file.dataBytes()).isEqualTo(7);
            assertThat(file.file()).isEqualTo(folder.resolve("model.safetensors"));
        }
    }

    @Test
    void noTensorsAtAll() {
        try (SafetensorsFile file = open("{}", "")) {
            assertThat(file.names()).isEmpty();
            assertThat(file.metadata()).isEmpty();
            assertThat(file.dataBytes()).isZero();
        }
        try (SafetensorsFile file = open("{\"__metadata__\":{}}", "")) {
            assertThat(file.names()).isEmpty();
        }
    }

    @Test
    void emptyTensorsTakeNoBytes() {
        String header = """
                {"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},
                 "b":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},
                 "c":{"dtype":"F16","shape":[3,0,4611686018427387904],"data_offsets":[2,2]}}""";
        try (SafetensorsFile file = open(header, "05 06")) {
            assertThat(file.find("a").orElseThrow().toFloats()).isEmpty();
            assertThat(file.find("b").orElseThrow().toFloats()).containsExactly(5, 6);
            assertThat(file.find("c").orElseThrow().toFloats()).isEmpty();
            assertThat(file.find("c").orElseThrow().shape()).containsExactly(3L, 0L, 1L << 62);
        }
    }

    @Test
    void onlyEmptyTensors() {
        try (SafetensorsFile file = open(one("F32", "[0,7]", 0), "")) {
            assertThat(file.find("t").orElseThrow().elements()).isZero();
        }
    }

    @Test
    void scalarHasEmptyShapeAndOneElement() {
        try (SafetensorsFile file = open(one("F32", "[]", 4), "0000 0040")) {
            Tensor scalar = file.find("t").orElseThrow();
            assertThat(scalar.shape()).isEmpty();
            assertThat(scalar.elements()).isOne();
            assertThat(scalar.toFloats()).containsExactly(2f);
        }
    }

    @Test
    void elementTypesWithoutUseHereAreNamedOnlyWhenAsked() {
        String header = """
                {"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},
                 "w":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}""";
        try (SafetensorsFile file = open(header, "0100000000000000 0000803f")) {
            assertThat(file.names()).containsExactly("ids", "w");
            assertThat(file.find("w").orElseThrow().toFloats()).containsExactly(1f);
            assertThatThrownBy(() -> file.find("ids"))
                    .isInstanceOf(BadInputException.class)
                    .hasMessage(folder.resolve("model.safetensors")
                            + ": tensor ids has element type I64; convert it to F32, F16, BF16, I8, U8 or I32");
        }
    }

    @Test
    void severalThreadsMayRead() throws InterruptedException {
        try (SafetensorsFile file = open(one("F32", "[2]", 8), "0000803f 00000040")) {
            List<float[]> seen = new ArrayList<>();
            Thread other = Thread.ofPlatform()
                    .start(() -> seen.add(file.find("t").orElseThrow().toFloats()));
            other.join();
            assertThat(seen).hasSize(1);
            assertThat(seen.getFirst()).containsExactly(1f, 2f);
        }
    }

    @Test
    void closedFileIsNotReadable() {
        SafetensorsFile file = open(one("I8", "[1]", 1), "01");
        Tensor tensor = file.find("t").orElseThrow();
        file.close();
        assertThatThrownBy(() -> tensor.floatAt(0)).isInstanceOf(IllegalStateException.class);
    }
}
