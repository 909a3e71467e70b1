package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

class AgreementTest {
    /** Energy 9 + 16 + 25 = 50, noise 0.25 + 0.25 = 0.5: a hundred times, 20 dB. */
    @Test
    void ofTwoImages() {
        Agreement agreement = Agreement.of(new float[] {3, 0, 0, 4, 5, 0}, new float[] {3, 0.5f, 0, 4.5f, 5, 0}, 2);
        assertThat(agreement.sqnrDb()).isCloseTo(20, within(1e-9));
        assertThat(agreement.largest()).isEqualTo(0.5);
        assertThat(agreement.sameTop1()).isEqualTo(2);
        assertThat(agreement.images()).isEqualTo(2);
    }

    @Test
    void seesAnotherClass() {
        assertThat(Agreement.of(new float[] {3, 0, 0, 4, 5, 0}, new float[] {3, 0, 0, 5, 4, 0}, 2)
                        .sameTop1())
                .isEqualTo(1);
    }

    @Test
    void isInfiniteForEqualLogits() {
        assertThat(Agreement.of(new float[] {1, 2}, new float[] {1, 2}, 1).sqnrDb())
                .isInfinite();
    }
}
