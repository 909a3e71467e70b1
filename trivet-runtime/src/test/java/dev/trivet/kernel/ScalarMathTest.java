package dev.trivet.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ScalarMathTest {
    /** x * Phi(x) to nine digits, from tables of the normal distribution. */
    @ParameterizedTest
    @CsvSource({
        "0, 0",
        "1, 0.841344746",
        "-1, -0.158655254",
        "0.5, 0.345731231",
        "2, 1.954499736",
        "-2, -0.045500264",
        "3, 2.995950306",
        "-3, -0.004049694"
    })
    void geluOfKnownValues(float x, double expected) {
        assertThat((double) ScalarMath.gelu(x)).isCloseTo(expected, within(1e-6));
    }

    @Test
    void decayStaysWithinItsBound() {
        for (double x = 0; x <= 20; x += 1e-3) {
            float value = (float) x;
            double expected = Math.exp(-value);
            assertThat((double) ScalarMath.decay(value)).isCloseTo(expected, within(3.5e-6 * expected));
        }
        assertThat(ScalarMath.decay(0f)).isEqualTo(1f);
        assertThat(ScalarMath.decay(1e30f)).isEqualTo(ScalarMath.decay(20f)).isPositive();
    }
}
