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
        assertThat((double) ScalarMath.coarseGelu(x)).isCloseTo(expected, within(1.3e-4));
    }

    @Test
    void coarseGeluStaysWithinItsBound() {
        for (double x = -30; x <= 30; x += 1e-3) {
            float value = (float) x;
            assertThat((double) ScalarMath.coarseGelu(value)).isCloseTo(value * normal(value), within(1.3e-4));
        }
        assertThat(ScalarMath.coarseGelu(0f)).isZero();
        assertThat(ScalarMath.coarseGelu(1e6f)).isEqualTo(1e6f);
        assertThat((double) ScalarMath.coarseGelu(-1e6f)).isCloseTo(0, within(1.3e-4));
    }

    /** A step for which the coarse form is taken hides its error thirty times over. */
    @Test
    void theBoundIsAThirtiethOfAStep() {
        assertThat(1.3e-4).isLessThan(Operand.COARSE_STEP / 30);
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

    /** The normal distribution by its power series, and by the continued fraction of its tail far out. */
    private static double normal(double x) {
        double a = Math.abs(x);
        double density = Math.exp(-a * a / 2) / Math.sqrt(2 * Math.PI);
        double upper;
        if (a < 5) {
            double term = a;
            double sum = a;
            for (int n = 1; n < 200; n++) {
                term *= a * a / (2 * n + 1);
                sum += term;
            }
            upper = 0.5 - density * sum;
        } else {
            double fraction = a;
            for (int n = 60; n > 0; n--) {
                fraction = a + n / fraction;
            }
            upper = density / fraction;
        }
        return x < 0 ? upper : 1 - upper;
    }
}
