package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class AugmentationTest {
    private static final int SIDE = 6;

    /** Every pixel differs from every other and from the border. */
    private static byte[] image(int channels) {
        byte[] image = new byte[channels * SIDE * SIDE];
        for (int i = 0; i < image.length; i++) {
            image[i] = (byte) (i + 1);
        }
        return image;
    }

    private static byte[] augmented(Augmentation augmentation, int channels, int epoch, int index) {
        byte[] out = new byte[channels * SIDE * SIDE];
        Arrays.fill(out, (byte) -1);
        augmentation.apply(image(channels), out, channels, SIDE, epoch, index);
        return out;
    }

    /** The published first outputs of SplitMix64 from state 0: each call adds the golden gamma, then mixes. */
    @Test
    void mixesAsSplitMix64Does() {
        long gamma = 0x9e3779b97f4a7c15L;
        assertThat(Augmentation.mix(0)).isEqualTo(0xe220a8397b1dcdafL);
        assertThat(Augmentation.mix(gamma)).isEqualTo(0x6e789e6aa1b965f4L);
        assertThat(Augmentation.mix(2 * gamma)).isEqualTo(0x06c45d188009454fL);
    }

    @Test
    void leavesTheImageAloneWithoutCropAndFlip() {
        assertThat(augmented(new Augmentation(0, 1, false, 3), 3, 5, 7)).isEqualTo(image(3));
    }

    @Test
    void onlyMirrorsWithoutCrop() {
        byte[] mirror = new byte[SIDE * SIDE];
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++) {
                mirror[y * SIDE + x] = image(1)[y * SIDE + SIDE - 1 - x];
            }
        }
        int mirrored = 0;
        for (int index = 0; index < 1000; index++) {
            byte[] out = augmented(new Augmentation(0, 1, true, 3), 1, 0, index);
            if (Arrays.equals(out, mirror)) {
                mirrored++;
            } else {
                assertThat(out).isEqualTo(image(1));
            }
        }
        // A fair coin leaves this range once in 10^9 trials or so.
        assertThat(mirrored).isBetween(400, 600);
    }

    @Test
    void cropsAtEveryShiftAndFillsWithBlack() {
        Set<Integer> shifts = new HashSet<>();
        for (int index = 0; index < 1000; index++) {
            byte[] out = augmented(new Augmentation(2, 1, false, 3), 2, 1, index);
            // The centre pixel is always inside, and its value tells the shift.
            int centre = (out[2 * SIDE + 2] & 0xff) - 1;
            int down = centre / SIDE - 2;
            int right = centre % SIDE - 2;
            assertThat(out).isEqualTo(shifted(down, right));
            shifts.add(down * 10 + right);
        }
        assertThat(shifts).hasSize(25);
    }

    private static byte[] shifted(int down, int right) {
        byte[] from = image(2);
        byte[] out = new byte[from.length];
        for (int c = 0; c < 2; c++) {
            for (int y = Math.max(0, -down); y < Math.min(SIDE, SIDE - down); y++) {
                for (int x = Math.max(0, -right); x < Math.min(SIDE, SIDE - right); x++) {
                    out[(c * SIDE + y) * SIDE + x] = from[(c * SIDE + y + down) * SIDE + x + right];
                }
            }
        }
        return out;
    }

    @Test
    void dependsOnSeedEpochAndIndexAlone() {
        Set<String> seen = new HashSet<>();
        for (int seed = 0; seed < 4; seed++) {
            for (int epoch = 0; epoch < 4; epoch++) {
                StringBuilder all = new StringBuilder();
                for (int index = 0; index < 20; index++) {
                    byte[] once = augmented(new Augmentation(2, 1, true, seed), 1, epoch, index);
                    assertThat(augmented(new Augmentation(2, 1, true, seed), 1, epoch, index))
                            .isEqualTo(once);
                    all.append(Arrays.toString(once));
                }
                seen.add(all.toString());
            }
        }
        assertThat(seen).hasSize(16);
    }

    @Property(tries = 100)
    void visitsEveryImageOnce(@ForAll @IntRange(min = 1, max = 500) int count, @ForAll long seed) {
        int[] order = Augmentation.order(count, seed, 3);
        int[] sorted = order.clone();
        Arrays.sort(sorted);
        for (int i = 0; i < count; i++) {
            assertThat(sorted[i]).isEqualTo(i);
        }
        assertThat(Augmentation.order(count, seed, 3)).isEqualTo(order);
        if (count > 100) {
            assertThat(Augmentation.order(count, seed, 4)).isNotEqualTo(order);
        }
    }
}
