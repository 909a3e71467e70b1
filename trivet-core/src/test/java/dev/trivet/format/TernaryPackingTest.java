package dev.trivet.format;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.SplittableRandom;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TernaryPackingTest {
    private static MemorySegment codes(int... values) {
        byte[] codes = new byte[values.length];
        for (int i = 0; i < codes.length; i++) {
            codes[i] = (byte) values[i];
        }
        return MemorySegment.ofArray(codes);
    }

    /** Worked by hand: 1, -1, 0, 0, 1 are the digits 1, 2, 0, 0, 1, and 1 + 2 * 3 + 1 * 81 is 88. */
    @ParameterizedTest
    @CsvSource({
        "1, '1 -1 0 0 1',       '58'",
        "1, '-1 -1 -1 -1 -1',   'f2'",
        "1, '1 1 1 1 1',        '79'",
        "1, '0 1 -1',           '15'",
        "1, '0 0 0 0 0 -1',     '00 02'",
        "2, '1 -1 -1 0',        '07 02'",
        "3, '1 0 -1',           '01 00 02'",
    })
    void bytesAreAsDocumented(int rows, String text, String bytes) {
        int[] values =
                Arrays.stream(text.split(" ")).mapToInt(Integer::parseInt).toArray();
        MemorySegment codes = codes(values);
        byte[] packed = TernaryPacking.pack(codes, rows, values.length / rows);
        assertThat(HexFormat.ofDelimiter(" ").formatHex(packed)).isEqualTo(bytes);
        MemorySegment back = TernaryPacking.unpack(MemorySegment.ofArray(packed), rows, values.length / rows);
        assertThat(back.toArray(JAVA_BYTE)).isEqualTo(codes.toArray(JAVA_BYTE));
    }

    /** Against {@link Integer#parseInt(String, int)}, which writes the highest digit first. */
    @Property(tries = 400)
    void everyDigitIsWhereItBelongs(
            @ForAll @IntRange(min = 1, max = 6) int rows,
            @ForAll @IntRange(min = 1, max = 37) int columns,
            @ForAll long seed) {
        int[] values =
                new SplittableRandom(seed).ints((long) rows * columns, -1, 2).toArray();
        MemorySegment codes = codes(values);
        byte[] packed = TernaryPacking.pack(codes, rows, columns);
        int rowBytes = (columns + 4) / 5;
        assertThat(TernaryPacking.bytesPerRow(columns)).isEqualTo(rowBytes);
        assertThat(packed).hasSize(rows * rowBytes);
        for (int r = 0; r < rows; r++) {
            for (int b = 0; b < rowBytes; b++) {
                StringBuilder digits = new StringBuilder();
                for (int k = 5 * b; k < Math.min(columns, 5 * b + 5); k++) {
                    digits.insert(0, Math.floorMod(values[r * columns + k], 3));
                }
                assertThat(packed[r * rowBytes + b] & 0xff).isEqualTo(Integer.parseInt(digits.toString(), 3));
            }
        }
        MemorySegment back = TernaryPacking.unpack(MemorySegment.ofArray(packed), rows, columns);
        assertThat(back.toArray(JAVA_BYTE)).isEqualTo(codes.toArray(JAVA_BYTE));
    }

    /** Each of the 243 rows of five codes has a byte of its own. */
    @Test
    void allBytesBelow243AreInUse() {
        byte[] all = new byte[243];
        for (int i = 0; i < all.length; i++) {
            all[i] = (byte) i;
        }
        MemorySegment codes = TernaryPacking.unpack(MemorySegment.ofArray(all), all.length, 5);
        assertThat(TernaryPacking.pack(codes, all.length, 5)).isEqualTo(all);
    }

    @ParameterizedTest
    @ValueSource(ints = {243, 244, 255})
    void otherBytesAreRefused(int value) {
        MemorySegment packed = codes(0, 242, value);
        assertThatThrownBy(() -> TernaryPacking.unpack(packed, 3, 5))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("row 2 holds the byte " + value + ", which is no five ternary codes");
    }

    /** Two codes use the digits of 1 and 3; 9, 27 and 81 are behind them. */
    @ParameterizedTest
    @ValueSource(ints = {9, 18, 27, 54, 81, 162, 242})
    void digitsBehindTheLastCodeMustBeZero(int value) {
        assertThat(TernaryPacking.unpack(codes(8, 7), 2, 2).toArray(JAVA_BYTE)).containsExactly(-1, -1, 1, -1);
        assertThatThrownBy(() -> TernaryPacking.unpack(codes(8, value), 2, 2))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("row 1 has codes behind its last");
    }

    @ParameterizedTest
    @ValueSource(ints = {-128, -2, 2, 127})
    void codesMustBeTernary(int code) {
        assertThatThrownBy(() -> TernaryPacking.pack(codes(0, code), 1, 2))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("the code " + code + " is not ternary");
    }

    @Test
    void sizesMustBeThoseOfTheMatrix() {
        assertThatThrownBy(() -> TernaryPacking.pack(codes(0, 0, 0), 2, 2))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> TernaryPacking.unpack(codes(0, 0, 0), 2, 5))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> TernaryPacking.unpack(codes(0), 1, 6)).isInstanceOf(IllegalArgumentException.class);
    }
}
