package dev.trivet.quant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.SplittableRandom;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TernaryWeightsTest {
    /** Two channels of four. All numbers are sums of powers of two. */
    private static final float[] WEIGHT = {1, -2, 0.5f, 0.5f, 0.25f, 0.25f, -0.5f, 0};

    /**
     * Channel 0: mean 1, threshold 0.7, above it 1 and 2. Channel 1: mean 0.25, threshold 0.175, above it 0.25, 0.25, 0.5, of mean 1/3,
     * whose nearest half-precision number is 1365 / 4096.
     */
    @Test
    void channelsHaveTheirOwn() {
        TernaryWeights t = TernaryWeights.of(WEIGHT, 2, 4, 2, TernaryWeights.Scale.SURVIVORS);
        assertThat(t.codes()).containsExactly(1, -1, 0, 0, 1, 1, -1, 0);
        assertThat(t.scales()).containsExactly(1.5f, 1365 / 4096f);
        TernaryWeights mean = TernaryWeights.of(WEIGHT, 2, 4, 2, TernaryWeights.Scale.ABSOLUTE_MEAN);
        assertThat(mean.codes()).isEqualTo(t.codes());
        assertThat(mean.scales()).containsExactly(1f, 0.25f);
    }

    /** Both channels: mean 5/8, threshold 0.4375, above it 1, 2, 0.5, 0.5, 0.5, of mean 0.9. */
    @Test
    void aLayerHasOneOfEach() {
        TernaryWeights t = TernaryWeights.of(WEIGHT, 2, 4, 1, TernaryWeights.Scale.SURVIVORS);
        assertThat(t.codes()).containsExactly(1, -1, 1, 1, 0, 0, -1, 0);
        assertThat(t.scales()).hasSize(1);
        assertThat(t.scales()[0]).isEqualTo(1843 / 2048f); // 1843.2 / 2048 is 0.9
        assertThat(TernaryWeights.of(WEIGHT, 2, 4, 1, TernaryWeights.Scale.ABSOLUTE_MEAN)
                        .scales())
                .containsExactly(0.625f);
    }

    /** Groups are what separate matrices would give. */
    @Test
    void groupsDoNotSeeEachOther() {
        float[] weight = new float[6 * 5];
        SplittableRandom random = new SplittableRandom(4);
        for (int i = 0; i < weight.length; i++) {
            weight[i] = (1 + i / 10) * (random.nextFloat() - 0.4f);
        }
        TernaryWeights all = TernaryWeights.of(weight, 6, 5, 3, TernaryWeights.Scale.SURVIVORS);
        for (int g = 0; g < 3; g++) {
            TernaryWeights one = TernaryWeights.of(
                    Arrays.copyOfRange(weight, 10 * g, 10 * g + 10), 2, 5, 1, TernaryWeights.Scale.SURVIVORS);
            assertThat(Arrays.copyOfRange(all.codes(), 10 * g, 10 * g + 10)).isEqualTo(one.codes());
            assertThat(Arrays.copyOfRange(all.scales(), 2 * g, 2 * g + 2))
                    .containsExactly(one.scales()[0], one.scales()[0]);
        }
    }

    /** A weight exactly at the threshold does not survive: of 0.7, 1.3, 1, 1 the mean is 1. */
    @Test
    void theThresholdIsExclusive() {
        float[] weight = {0.625f, 0.5f, -1.5f, 0.375f}; // mean 0.75, threshold 0.525
        assertThat(TernaryWeights.of(weight, 1, 4, 1, TernaryWeights.Scale.SURVIVORS)
                        .codes())
                .containsExactly(1, 0, -1, 0);
        // Equal weights all survive.
        assertThat(TernaryWeights.of(new float[] {2, -2}, 1, 2, 1, TernaryWeights.Scale.SURVIVORS))
                .satisfies(t -> assertThat(t.codes()).containsExactly(1, -1))
                .satisfies(t -> assertThat(t.scales()).containsExactly(2f));
    }

    @Test
    void zerosStayZeros() {
        TernaryWeights t = TernaryWeights.of(new float[6], 2, 3, 2, TernaryWeights.Scale.SURVIVORS);
        assertThat(t.codes()).containsOnly(0);
        assertThat(t.scales()).hasSize(2);
        assertThat(t.scales()).containsOnly(0x1p-14f);
    }

    @Test
    void whatDoesNotFitIsRefused() {
        for (int groups : new int[] {0, 3, 4}) {
            assertThatThrownBy(() -> TernaryWeights.of(WEIGHT, 2, 4, groups, TernaryWeights.Scale.SURVIVORS))
                    .isInstanceOf(IllegalArgumentException.class);
        }
        assertThatThrownBy(() -> TernaryWeights.of(WEIGHT, 3, 3, 1, TernaryWeights.Scale.SURVIVORS))
                .isInstanceOf(IllegalArgumentException.class);
        float[] broken = {1, Float.NaN};
        assertThatThrownBy(() -> TernaryWeights.of(broken, 1, 2, 1, TernaryWeights.Scale.SURVIVORS))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("a weight is not finite");
    }

    /** For the codes that come out, no other scale is closer; and on normal weights 0.7 is near the best threshold. */
    @Test
    void theSurvivorsScaleIsTheLeastSquaresOne() {
        SplittableRandom random = new SplittableRandom(8);
        float[] weight = new float[4000];
        for (int i = 0; i < weight.length; i++) {
            weight[i] = (float) random.nextGaussian();
        }
        TernaryWeights t = TernaryWeights.of(weight, 1, weight.length, 1, TernaryWeights.Scale.SURVIVORS);
        double least = error(weight, t.codes(), t.scales()[0]);
        for (double factor : new double[] {0.9, 0.99, 1.01, 1.1}) {
            assertThat(error(weight, t.codes(), factor * t.scales()[0])).isGreaterThan(least);
        }
        // Threshold c = 0.7 sqrt(2 / pi) leaves 1 - (2 phi(c))^2 / (2 Phi(-c)) = 0.192 of the energy; the best three
        // levels, 0.190.
        assertThat(least / error(weight, new byte[weight.length], 1)).isCloseTo(0.192, within(0.01));
    }

    private static double error(float[] weight, byte[] codes, double scale) {
        double error = 0;
        for (int i = 0; i < weight.length; i++) {
            error += (weight[i] - scale * codes[i]) * (weight[i] - scale * codes[i]);
        }
        return error;
    }

    /** 1 + 2^-11 lies halfway between 1 and the next half-precision number, and goes to the even one. */
    @ParameterizedTest
    @CsvSource({
        "0,            6.103515625e-5",
        "1e-40,        1.17549435e-38",
        "1.0,          1.0",
        "1.00048828125, 1.0",
        "1.0005,       1.0009765625",
        "65504,        65504",
        "70000,        70000",
        "6.103515625e-5, 6.103515625e-5",
        "6e-5,         6e-5"
    })
    void scalesAreHalfPrecisionWhereThatIsExactEnough(double scale, float stored) {
        assertThat(TernaryWeights.storedScale(scale)).isEqualTo(stored);
    }

    @Property
    void storedScalesAreNear(@ForAll @IntRange(min = 0x00800000, max = 0x7f7fffff) int bits) {
        float scale = Float.intBitsToFloat(bits); // any normal number
        float stored = TernaryWeights.storedScale(scale);
        assertThat((double) stored / scale).isCloseTo(1, within(1 / 2048.0));
        assertThat(TernaryWeights.storedScale(stored)).isEqualTo(stored);
    }
}
