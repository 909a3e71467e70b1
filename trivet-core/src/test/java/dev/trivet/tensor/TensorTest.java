package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class TensorTest {
    private static MemorySegment hex(String digits) {
        return MemorySegment.ofArray(HandBuilt.hex(digits));
    }

    @Test
    void floatsAreKeptLittleEndianRowMajor() {
        Tensor tensor = Tensor.ofFloats("w", new float[] {1, 2, 3, -4, 5, 6}, 2, 3);
        assertThat(tensor.dtype()).isEqualTo(DType.F32);
        assertThat(tensor.shape()).containsExactly(2L, 3L);
        assertThat(tensor.elements()).isEqualTo(6);
        assertThat(tensor.toFloats()).containsExactly(1, 2, 3, -4, 5, 6);
        assertThat(tensor.floatAt(3)).isEqualTo(-4);
        assertThat(tensor.data().mismatch(hex("0000803f 00000040 00004040 000080c0 0000a040 0000c040")))
                .isEqualTo(-1);
    }

    @Test
    void floatsAreCopied() {
        float[] values = {1};
        Tensor tensor = Tensor.ofFloats("w", values, 1);
        values[0] = 2;
        assertThat(tensor.toFloats()).containsExactly(1);
    }

    @Test
    void scalarsAndEmptyTensors() {
        assertThat(Tensor.ofFloats("s", new float[] {7}).toFloats()).containsExactly(7);
        assertThat(Tensor.ofFloats("s", new float[] {7}).shapeText()).isEqualTo("[]");
        assertThat(Tensor.ofFloats("e", new float[0], 4, 0).toFloats()).isEmpty();
        assertThat(Tensor.ofFloats("e", new float[0], 4, 0).shapeText()).isEqualTo("[4, 0]");
    }

    @Test
    void shapeThatDoesNotFitIsRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> Tensor.ofFloats("w", new float[6], 2, 4))
                .withMessage("tensor w: 24 bytes do not fit F32 [2, 4]");
        assertThatIllegalArgumentException().isThrownBy(() -> Tensor.ofBytes("w", DType.F16, new byte[3], 2));
    }

    /** In each case the number of bytes, reckoned modulo 2^64, is the zero or 16 bytes at hand. */
    @Test
    void shapeWhoseSizeWrapsOrIsNegativeIsRefused() {
        MemorySegment none = hex("");
        MemorySegment some = MemorySegment.ofArray(new byte[16]);
        assertThatIllegalArgumentException().isThrownBy(() -> new Tensor("w", DType.F32, List.of(1L << 62), none));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new Tensor("w", DType.I8, List.of(1L << 32, 1L << 32), none));
        assertThatIllegalArgumentException().isThrownBy(() -> new Tensor("w", DType.I8, List.of(-4L, -4L), some));
        assertThatIllegalArgumentException().isThrownBy(() -> new Tensor("w", DType.I8, List.of(0L, -1L), none));
    }

    @ParameterizedTest
    @EnumSource(DType.class)
    void elementOutsideIsRefused(DType type) {
        Tensor tensor = Tensor.ofBytes("w", type, new byte[2 * type.bytes()], 2);
        assertThat(tensor.floatAt(1)).isZero();
        for (long index : new long[] {-1, 2, 1L << 62, Long.MIN_VALUE, Long.MAX_VALUE}) {
            assertThatThrownBy(() -> tensor.floatAt(index)).isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"F32", "F16", "BF16"})
    void floatingTypes(String name) {
        assertThat(Tensor.ofBytes("w", DType.valueOf(name), new byte[0], 0).isFloating())
                .isTrue();
    }

    @ParameterizedTest
    @ValueSource(strings = {"I8", "U8", "I32"})
    void integerTypes(String name) {
        assertThat(Tensor.ofBytes("w", DType.valueOf(name), new byte[0], 0).isFloating())
                .isFalse();
    }

    @Test
    void onlyI32HasInts() {
        assertThat(new Tensor("w", DType.I32, List.of(2L), hex("ffffffff 02000000")).toInts())
                .containsExactly(-1, 2);
        assertThatThrownBy(() -> Tensor.ofFloats("w", new float[1], 1).toInts())
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("tensor w is F32, not I32");
    }

    @Test
    void laterChangesOfTheShapeListDoNotReachTheTensor() {
        List<Long> shape = new java.util.ArrayList<>(List.of(2L));
        Tensor tensor = new Tensor("w", DType.I8, shape, hex("0102"));
        shape.set(0, 9L);
        assertThat(tensor.shape()).containsExactly(2L);
    }
}
