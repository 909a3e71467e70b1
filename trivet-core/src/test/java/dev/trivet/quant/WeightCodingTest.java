package dev.trivet.quant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class WeightCodingTest {
    @ParameterizedTest
    @CsvSource({
        "ternary, 2, -1, 1, false, ternary",
        "2, 2, -2, 1, false, 2 bit",
        "3, 3, -4, 3, false, 3 bit",
        "8, 8, -128, 127, false, 8 bit",
        "9, 9, -256, 255, true, 9 bit",
        "10, 10, -512, 511, true, 10 bit",
    })
    void rangesAreThoseOfTheCodes(String name, int bits, int lowest, int highest, boolean wide, String label) {
        WeightCoding coding = WeightCoding.named(name).orElseThrow();
        assertThat(coding.bits()).isEqualTo(bits);
        assertThat(coding.lowest()).isEqualTo(lowest);
        assertThat(coding.highest()).isEqualTo(highest);
        assertThat(coding.wide()).isEqualTo(wide);
        assertThat(coding.label()).isEqualTo(label);
    }

    @ParameterizedTest
    @EnumSource
    void namesAreReadBack(WeightCoding coding) {
        assertThat(WeightCoding.named(coding.toString())).contains(coding);
        if (coding != WeightCoding.TERNARY) {
            assertThat(WeightCoding.ofBits(coding.bits())).isEqualTo(coding);
        }
    }

    @Test
    void othersAreUnknown() {
        for (String text : new String[] {"", "1", "11", "8.0", "Ternary", "TERNARY", "1.58"}) {
            assertThat(WeightCoding.named(text)).isEmpty();
        }
        for (int bits : new int[] {Integer.MIN_VALUE, 0, 1, 11, Integer.MAX_VALUE}) {
            assertThatThrownBy(() -> WeightCoding.ofBits(bits))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("weights of " + bits + " bits; 2 to 10 are known");
        }
    }
}
