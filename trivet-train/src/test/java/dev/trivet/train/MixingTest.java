package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;

class MixingTest {
    private static final int SIDE = 8;

    private static Draw draw(int first) {
        return new Draw(new int[0], first, 4, 2, 1);
    }

    private static byte[] filled(int value) {
        byte[] image = new byte[3 * SIDE * SIDE];
        java.util.Arrays.fill(image, (byte) value);
        return image;
    }

    /** 0.25 * 200 + 0.75 * 40 = 80; bytes above 127 are no negative numbers. */
    @Test
    void mixupAddsShares() {
        byte[] own = filled(200);
        new Mixing.Blend(0.25, false, 0, 0, 0, 0).apply(own, filled(40), 3, SIDE);
        assertThat(own).isEqualTo(filled(80));
    }

    @Test
    void cutmixTakesABox() {
        byte[] own = filled(1);
        new Mixing.Blend(0.5, true, 2, 4, 5, 8).apply(own, filled(9), 3, SIDE);
        for (int i = 0; i < own.length; i++) {
            int y = i / SIDE % SIDE;
            int x = i % SIDE;
            assertThat((int) own[i]).isEqualTo(y >= 2 && y < 4 && x >= 5 ? 9 : 1);
        }
    }

    /** The share of the labels is the share of the pixels. */
    @Test
    void labelsAreMixedAsPixelsAre() {
        Mixing mixing = new Mixing(0, 1, 5);
        for (int first = 0; first < 200; first += 4) {
            Mixing.Blend blend = mixing.blend(draw(first), SIDE);
            byte[] own = filled(0);
            blend.apply(own, filled(1), 1, SIDE);
            int taken = 0;
            for (int i = 0; i < SIDE * SIDE; i++) {
                taken += own[i];
            }
            assertThat(1 - blend.share()).isCloseTo(taken / 64.0, within(1e-9));
        }
    }

    /** Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)): 1/12 for a = 1, 0.1786 for a = 0.2. */
    @Test
    void sharesHaveTheBetaDistribution() {
        for (double a : new double[] {1, 0.2}) {
            Mixing mixing = new Mixing(a, 0, 7);
            double sum = 0;
            double squares = 0;
            int count = 4000;
            for (int i = 0; i < count; i++) {
                double share = mixing.blend(draw(4 * i), SIDE).share();
                sum += share;
                squares += share * share;
            }
            double mean = sum / count;
            assertThat(mean).isCloseTo(0.5, within(0.03));
            assertThat(squares / count - mean * mean).isCloseTo(1 / (4 * (2 * a + 1)), within(0.01));
        }
    }

    @Test
    void bothTakeTurnsAndRepeatThemselves() {
        Mixing mixing = new Mixing(0.8, 1, 3);
        int boxes = 0;
        for (int first = 0; first < 1000; first++) {
            Mixing.Blend blend = mixing.blend(draw(first), SIDE);
            assertThat(mixing.blend(draw(first), SIDE)).isEqualTo(blend);
            boxes += blend.box() ? 1 : 0;
        }
        assertThat(boxes).isBetween(440, 560);
    }

    @Test
    void doesNothingByDefault() {
        assertThat(new Mixing(0, 0, 1).blend(draw(0), SIDE).share()).isEqualTo(1);
    }

    /** Three variations of each image, all different, and a third of the images in a batch. */
    @Test
    void repeatsVaryAnImageSeveralTimes() {
        Draw draw = new Draw(new int[] {7, 3, 5, 1}, 3, 6, 2, 3);
        Set<Integer> variations = new HashSet<>();
        for (int place = 0; place < 6; place++) {
            assertThat(draw.image(place)).isEqualTo(place < 3 ? 3 : 5);
            if (place < 3) {
                variations.add(draw.variation(place));
            }
            assertThat(draw.partner(place)).isEqualTo(5 - place);
        }
        assertThat(variations).containsExactlyInAnyOrder(6, 7, 8);
    }

    /** A crop of a ramp is a shorter ramp: rising, within the image, and as long as the least area and the widest box allow. */
    @Test
    void resizedCropsZoomIn() {
        int side = 32;
        byte[] ramp = new byte[side * side];
        for (int i = 0; i < ramp.length; i++) {
            ramp[i] = (byte) (4 * (i % side));
        }
        Augmentation half = new Augmentation(0, 0.5, false, 1);
        byte[] out = new byte[ramp.length];
        Set<Integer> spans = new HashSet<>();
        for (int index = 0; index < 100; index++) {
            half.apply(ramp, out, 1, side, 0, index);
            for (int x = 1; x < side; x++) {
                assertThat(out[x]).isGreaterThanOrEqualTo(out[x - 1]);
            }
            int span = out[side - 1] - out[0];
            spans.add(span);
            // sqrt(0.5 * 3 / 4) of 32 columns is 19.6, between the middles of whose first and last output pixel lie
            // 31/32 of it.
            assertThat(span).isBetween(74, 124);
            assertThat(out).containsSequence(java.util.Arrays.copyOf(out, side));
        }
        assertThat(spans).hasSizeGreaterThan(15);
    }
}
