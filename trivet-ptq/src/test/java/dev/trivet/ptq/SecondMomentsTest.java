package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.Arena;
import org.junit.jupiter.api.Test;

class SecondMomentsTest {
    /** Three rows of two inputs and one output, in images of one row and two. */
    private static final float[][] X = {{1, 2}, {3, 6}, {5, 1}};

    private static final float[] Y = {10, 20, 60};

    private static SecondMoments of(int from, int to) {
        SecondMoments moments = new SecondMoments(2, 1);
        add(moments, from, to);
        return moments;
    }

    private static void add(SecondMoments moments, int from, int to) {
        float[] ones = Fixtures.ones(to - from);
        float[] values = new float[2 * (to - from)];
        float[] wanted = new float[to - from];
        float[] squares = new float[4];
        float[] cross = new float[2];
        for (int r = from; r < to; r++) {
            wanted[r - from] = Y[r];
            for (int i = 0; i < 2; i++) {
                values[2 * (r - from) + i] = X[r][i];
                cross[i] += X[r][i] * Y[r];
                for (int j = 0; j < 2; j++) {
                    squares[2 * i + j] += X[r][i] * X[r][j];
                }
            }
        }
        try (Arena arena = Arena.ofConfined()) {
            moments.add(
                    ones,
                    arena.allocateFrom(JAVA_FLOAT, values),
                    arena.allocateFrom(JAVA_FLOAT, wanted),
                    arena.allocateFrom(JAVA_FLOAT, squares),
                    arena.allocateFrom(JAVA_FLOAT, cross));
        }
    }

    /** Means 3, 3 and 30: the deviations are (-2, 0, 2), (-1, 3, -2) and (-20, -10, 30). */
    private static void check(SecondMoments moments) {
        assertThat(moments.rows).isEqualTo(3);
        assertThat(moments.x).containsExactly(9, 9);
        assertThat(moments.y).containsExactly(90);
        assertThat(moments.inputCovariance())
                .containsExactly(new double[] {8 / 3.0, -2 / 3.0, -2 / 3.0, 14 / 3.0}, within(1e-12));
        assertThat(moments.crossCovariance()).containsExactly(new double[] {100 / 3.0, -70 / 3.0}, within(1e-12));
    }

    @Test
    void covariancesByHand() {
        check(of(0, 3));
    }

    @Test
    void imagesAndSumsAddUp() {
        SecondMoments byImage = of(0, 1);
        add(byImage, 1, 3);
        check(byImage);
        SecondMoments joined = of(0, 2);
        joined.add(of(2, 3));
        joined.add(new SecondMoments(2, 1));
        check(joined);
    }

    /** A row that counts three times is the row three times. */
    @Test
    void gainsCountRows() {
        SecondMoments weighted = new SecondMoments(2, 1);
        try (Arena arena = Arena.ofConfined()) {
            weighted.add(
                    new float[] {3, 1},
                    arena.allocateFrom(JAVA_FLOAT, 1, 2, 3, 6),
                    arena.allocateFrom(JAVA_FLOAT, 10, 20),
                    arena.allocateFrom(JAVA_FLOAT, 12, 24, 24, 48),
                    arena.allocateFrom(JAVA_FLOAT, 90, 180));
        }
        SecondMoments repeated = of(0, 2);
        repeated.add(of(0, 1));
        repeated.add(of(0, 1));
        assertThat(weighted.rows).isEqualTo(repeated.rows);
        assertThat(weighted.x).containsExactly(repeated.x);
        assertThat(weighted.y).containsExactly(repeated.y);
        assertThat(weighted.inputCovariance()).containsExactly(repeated.inputCovariance(), within(1e-12));
        assertThat(weighted.crossCovariance()).containsExactly(repeated.crossCovariance(), within(1e-12));
    }

    @Test
    void oneRowVariesNowhere() {
        assertThat(of(1, 2).inputCovariance()).containsOnly(0);
        assertThat(of(1, 2).crossCovariance()).containsOnly(0);
    }
}
