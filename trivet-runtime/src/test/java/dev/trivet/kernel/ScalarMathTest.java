package dev.trivet.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ScalarMathTest {
    private static final double BYTE_GELU_ERROR = 8e-7;

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
        assertThat((double) geluSteps(x, 1f, 0)).isCloseTo(expected, within(1e-6));
    }

    private static float geluSteps(float x, float steps, int zeroPoint) {
        float[] scaled = new float[ScalarMath.TAIL_LENGTH];
        ScalarMath.scaleTail(steps, zeroPoint, scaled);
        return ScalarMath.geluSteps(x, steps, scaled);
    }

    @ParameterizedTest
    @CsvSource({"1, 0", "40.3, 17", "255, 128", "0.25, -3"})
    void geluStepsStayWithinTheirBound(float steps, int zeroPoint) {
        for (int i = -120_000; i <= 120_000; i++) {
            float x = i * 1e-4f;
            double exact = x / 2.0 * (1 + erf(x / Math.sqrt(2)));
            double expected = exact * steps + zeroPoint;
            double rounding = 2 * Math.ulp(Math.abs((float) expected) + Math.abs(zeroPoint) + steps);
            assertThat((double) geluSteps(x, steps, zeroPoint))
                    .as("at %s", x)
                    .isCloseTo(expected, within(BYTE_GELU_ERROR * steps + rounding));
        }
        assertThat(geluSteps(1e30f, 1f, zeroPoint)).isEqualTo(1e30f);
        assertThat((double) geluSteps(-1e30f, steps, zeroPoint))
                .isCloseTo(zeroPoint, within(BYTE_GELU_ERROR * steps + 2 * Math.ulp(steps + Math.abs(zeroPoint))));
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

    @ParameterizedTest
    @CsvSource({"1, 1", "1, 255", "3.1e-4, 255", "0.07, 63"})
    void decayStepsStayWithinTheirBound(float scale, float steps) {
        for (double u = 0; u < 20; u += 1e-3) {
            float x = (float) (u / scale);
            double exponent = (double) x * scale;
            double expected = Math.exp(-exponent) * steps;
            double bound = exponent < 10 ? 3.6e-6 : 5e-6;
            assertThat((double) ScalarMath.decaySteps(x, scale, steps))
                    .as("at %s", exponent)
                    .isCloseTo(expected, within(bound * expected));
        }
        assertThat(ScalarMath.decaySteps(0f, scale, steps)).isEqualTo(steps);
        assertThat(ScalarMath.decaySteps(1e30f, scale, steps))
                .isEqualTo(ScalarMath.decaySteps(21f / scale, scale, steps))
                .isPositive()
                .isLessThan(1e-6f);
    }
}
