package dev.trivet.quant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.FloatRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ActivationQuantizerTest {
    private static final ActivationQuantizer UNSIGNED = new ActivationQuantizer(0.5f, 10, 0, 255);
    private static final ActivationQuantizer SIGNED = new ActivationQuantizer(0.25f, 0, -8, 7);

    @ParameterizedTest
    @CsvSource({
        // x / 0.5, ties to even, + 10, clamped to 0..255
        "0, 10",
        "-0.0, 10",
        "0.5, 11",
        "0.74, 11",
        "0.75, 12", // 1.5 -> 2
        "1.25, 12", // 2.5 -> 2
        "-0.25, 10", // -0.5 -> -0
        "-0.75, 8", // -1.5 -> -2
        "-5, 0",
        "-5.3, 0",
        "122.5, 255",
        "122.8, 255",
        "1e30, 255",
        "-1e30, 0",
        "NaN, 10",
        "Infinity, 255",
        "-Infinity, 0",
    })
    void unsignedCodes(float x, int code) {
        assertThat(UNSIGNED.quantize(x)).isEqualTo(code);
    }

    @ParameterizedTest
    @CsvSource({
        "0, 0",
        "0.125, 0", // 0.5 -> 0
        "0.375, 2", // 1.5 -> 2
        "-0.375, -2",
        "1.75, 7",
        "2, 7",
        "-2, -8",
        "-2.2, -8",
        "NaN, 0",
        "Infinity, 7",
        "-Infinity, -8",
    })
    void signedCodes(float x, int code) {
        assertThat(SIGNED.quantize(x)).isEqualTo(code);
    }

    @Test
    void codesMeanMultiplesOfTheStep() {
        assertThat(UNSIGNED.dequantize(10)).isZero();
        assertThat(UNSIGNED.dequantize(0)).isEqualTo(-5f);
        assertThat(UNSIGNED.dequantize(255)).isEqualTo(122.5f);
        assertThat(SIGNED.dequantize(-8)).isEqualTo(-2f);
        assertThat(UNSIGNED.bits()).isEqualTo(8);
        assertThat(SIGNED.bits()).isEqualTo(4);
        assertThat(UNSIGNED.signed()).isFalse();
        assertThat(SIGNED.signed()).isTrue();
        assertThat(SIGNED.scaledBy(2)).isEqualTo(new ActivationQuantizer(0.5f, 0, -8, 7));
    }

    /** Inside the range the error is at most half a step. */
    @Property
    void errorIsHalfAStep(@ForAll @FloatRange(min = -5, max = 122.5f) float x) {
        assertThat(Math.abs(UNSIGNED.dequantize(UNSIGNED.quantize(x)) - x)).isLessThanOrEqualTo(0.25f);
    }

    /** Levels 0, 1, 2, 4, 8 of a step of 0.5: the nearest one, the higher at a tie. */
    @ParameterizedTest
    @CsvSource({"0, 0", "0.5, 1", "1.4, 4", "1.5, 4", "1.2, 2", "2.6, 4", "2.9, 8", "3, 8", "100, 8", "-3, 0"})
    void levelsArePickedFromTheGrid(float x, int code) {
        ActivationQuantizer quantizer = new ActivationQuantizer(0.5f, 0, 0, 8, List.of(0, 1, 2, 4, 8));
        assertThat(quantizer.quantize(x)).isEqualTo(code);
        assertThat(quantizer.bits()).isEqualTo(3);
    }

    @Test
    void levelsMustRiseOverTheWholeRangeOfOneByte() {
        for (List<Integer> wrong : List.of(List.of(1, 8), List.of(0, 7), List.of(0, 4, 4, 8), List.of(8))) {
            assertThatThrownBy(() -> new ActivationQuantizer(1, 0, 0, 8, wrong))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("do not rise");
        }
        assertThatThrownBy(() -> new ActivationQuantizer(1, 0, 0, 256, List.of(0, 256)))
                .hasMessageContaining("one byte");
    }

    @Test
    void moreThanEightBitsTakeTwoBytes() {
        ActivationQuantizer ten = new ActivationQuantizer(0.001f, 512, 0, 1023);
        assertThat(ten.wide()).isTrue();
        assertThat(ten.bits()).isEqualTo(10);
        assertThat(ten.quantize(0.511f)).isEqualTo(1023);
        assertThat(new ActivationQuantizer(1, 0, -256, 255).wide()).isTrue();
        assertThat(new ActivationQuantizer(1, 0, -128, 127).wide()).isFalse();
        assertThat(UNSIGNED.wide()).isFalse();
    }

    @ParameterizedTest
    @CsvSource({
        "0, 0, 0, 255, scale 0.0",
        "-1, 0, 0, 255, scale -1.0",
        "NaN, 0, 0, 255, scale NaN",
        "Infinity, 0, 0, 255, scale Infinity",
        "1e-39, 0, 0, 255, scale", // its reciprocal is no float
        "1, 0, 0, 1024, codes 0..1024",
        "1, 0, -513, 127, codes -513..127",
        "1, 0, -1, 512, codes -1..512",
        "1, 5, 5, 5, codes 5..5",
        "1, 256, 0, 255, zero point 256",
        "1, -1, 0, 255, zero point -1",
    })
    void wrongNumbersAreRefused(float scale, int zero, int lowest, int highest, String problem) {
        assertThatThrownBy(() -> new ActivationQuantizer(scale, zero, lowest, highest))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(problem);
    }
}
