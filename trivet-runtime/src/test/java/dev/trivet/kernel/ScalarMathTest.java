package dev.trivet.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ScalarMathTest {
    private static final double BYTE_GELU_ERROR = 1.6e-6;

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
        assertThat((double) ScalarMath.byteGelu(x)).isCloseTo(expected, within(BYTE_GELU_ERROR));
    }

    @Test
    void byteGeluStaysWithinItsBound() {
        for (int i = -12_000; i <= 12_000; i++) {
            float x = i * 1e-3f;
            double exact = x / 2.0 * (1 + erf(x / Math.sqrt(2)));
            assertThat((double) ScalarMath.byteGelu(x)).as("at %s", x).isCloseTo(exact, within(BYTE_GELU_ERROR));
        }
        assertThat(ScalarMath.byteGelu(1e30f)).isEqualTo(1e30f);
        assertThat(ScalarMath.byteGelu(-1e30f)).isCloseTo(0f, within((float) BYTE_GELU_ERROR));
    }

    /** erf(x) = 2 / sqrt(pi) e^(-x^2) (x + 2 x^3 / 3 + 4 x^5 / 15 + ...): terms of one sign, so nothing cancels. */
    private static double erf(double x) {
        double sum = 0;
        double term = x;
        for (int n = 0; Math.abs(term) > 1e-17; n++) {
            sum += term;
            term *= 2 * x * x / (2 * n + 3);
        }
        return Math.min(1, Math.max(-1, 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum));
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
