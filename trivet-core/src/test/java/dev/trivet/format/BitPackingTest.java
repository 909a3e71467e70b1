package dev.trivet.format;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.model.LinearLayer;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HexFormat;
import java.util.SplittableRandom;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class BitPackingTest {
    private static MemorySegment codes(int bits, int... values) {
        MemorySegment codes = MemorySegment.ofArray(new byte[values.length * (bits > 8 ? 2 : 1)]);
        for (int i = 0; i < values.length; i++) {
            if (bits > 8) {
                codes.set(LinearLayer.Quantized.CODE, 2L * i, (short) values[i]);
            } else {
                codes.set(JAVA_BYTE, i, (byte) values[i]);
            }
        }
        return codes;
    }

    /**
     * Worked by hand. At 3 bits 1, -1, 2 are 001, 111, 010; the first byte is 10 111 001 from its highest bit down, the second
     * starts with the 0 that is left of 010.
     */
    @ParameterizedTest
    @CsvSource({
        "2,  1, '1 -1 -2 0 1',         '2d 01'",
        "3,  1, '1 -1 2 -4 3 0 -2 -3', 'b9 38 b8'",
        "3,  1, '1 -1 2',              'b9 00'",
        "3,  2, '-4 3',                '04 03'",
        "4,  1, '1 -8 7 -1 3',         '81 f7 03'",
        "4,  3, '-8 7 -1',             '08 07 0f'",
        "6,  1, '-1 0 31 -32',         '3f f0 81'",
        "8,  1, '-128 127 -1',         '80 7f ff'",
        "10, 1, '1 -1 511 -512',       '01 fc ff 1f 80'",
        "10, 2, '-1 -512',             'ff 03 00 02'",
    })
    void bytesAreAsDocumented(int bits, int rows, String text, String bytes) {
        int[] values =
                Arrays.stream(text.split(" ")).mapToInt(Integer::parseInt).toArray();
        MemorySegment codes = codes(bits, values);
        byte[] packed = BitPacking.pack(codes, rows, values.length / rows, bits);
        assertThat(HexFormat.ofDelimiter(" ").formatHex(packed)).isEqualTo(bytes);
        MemorySegment back = BitPacking.unpack(MemorySegment.ofArray(packed), rows, values.length / rows, bits);
        assertThat(back.toArray(JAVA_BYTE)).isEqualTo(codes.toArray(JAVA_BYTE));
    }

    /** Against {@link BitSet}, whose bit j is bit j % 8 of byte j / 8. */
    @Property(tries = 600)
    void everyBitIsWhereItBelongs(
            @ForAll @IntRange(min = 2, max = 10) int bits,
            @ForAll @IntRange(min = 1, max = 5) int rows,
            @ForAll @IntRange(min = 1, max = 67) int columns,
            @ForAll long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        int half = 1 << (bits - 1);
        int[] values = random.ints((long) rows * columns, -half, half).toArray();
        MemorySegment codes = codes(bits, values);
        byte[] packed = BitPacking.pack(codes, rows, columns, bits);
        int rowBytes = Math.ceilDiv(columns * bits, 8);
        assertThat(BitPacking.bytesPerRow(columns, bits)).isEqualTo(rowBytes);
        assertThat(packed).hasSize(rows * rowBytes);
        for (int r = 0; r < rows; r++) {
            BitSet row = BitSet.valueOf(Arrays.copyOfRange(packed, r * rowBytes, (r + 1) * rowBytes));
            assertThat(row.length()).isLessThanOrEqualTo(columns * bits);
            for (int c = 0; c < columns; c++) {
                int code = row.get(c * bits + bits - 1) ? -half : 0; // the highest bit counts negative
                for (int b = 0; b < bits - 1; b++) {
                    code += row.get(c * bits + b) ? 1 << b : 0;
                }
                assertThat(code).isEqualTo(values[r * columns + c]);
            }
        }
        MemorySegment back = BitPacking.unpack(MemorySegment.ofArray(packed), rows, columns, bits);
        assertThat(back.toArray(JAVA_BYTE)).isEqualTo(codes.toArray(JAVA_BYTE));
    }

    @ParameterizedTest
    @CsvSource({"2, 2", "2, -3", "4, 8", "4, -9", "7, 64", "9, 256", "10, -513"})
    void codesMustFit(int bits, int code) {
        assertThatThrownBy(() -> BitPacking.pack(codes(bits, 0, code), 1, 2, bits))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("the code " + code + " does not fit " + bits + " bits");
    }

    @ParameterizedTest
    @ValueSource(ints = {Integer.MIN_VALUE, 0, 1, 11, 32, 64})
    void otherWidthsAreRefused(int bits) {
        MemorySegment one = MemorySegment.ofArray(new byte[1]);
        assertThatThrownBy(() -> BitPacking.pack(one, 1, 1, bits)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> BitPacking.unpack(one, 1, 1, bits))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("weights of " + bits + " bits");
    }

    /** Two codes of 3 bits leave two bits of a byte. */
    @Test
    void bitsBehindTheLastCodeMustBeZero() {
        for (int padding : new int[] {0x40, 0x80, 0xc0}) {
            MemorySegment packed = MemorySegment.ofArray(new byte[] {0x3f, (byte) (0x3f | padding)});
            assertThatThrownBy(() -> BitPacking.unpack(packed, 2, 2, 3))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("row 1 has bits behind its last code");
        }
    }

    @Test
    void sizesMustBeThoseOfTheMatrix() {
        MemorySegment four = MemorySegment.ofArray(new byte[4]);
        assertThatThrownBy(() -> BitPacking.unpack(four, 2, 2, 3)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> BitPacking.unpack(four, 1, 2, 3)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> BitPacking.pack(four, 1, 4, 10)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> BitPacking.pack(four, 1, 5, 4)).isInstanceOf(IllegalArgumentException.class);
    }
}
