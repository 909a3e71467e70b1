package dev.trivet.quant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class ChannelAffineTest {
    @Test
    void eachChannelHasItsOwn() {
        ChannelAffine change = new ChannelAffine(new float[] {2, 0.5f}, new float[] {-1, 3});
        assertThat(change.channels()).isEqualTo(2);
        assertThat(change.apply(4, 0)).isEqualTo(7);
        assertThat(change.apply(4, 1)).isEqualTo(5);
    }

    @Test
    void runsOfEqualChannelsAreOneNumber() {
        ChannelAffine three = new ChannelAffine(new float[] {2, 3, 4}, new float[] {-1, 0, 1});
        ChannelAffine six = three.repeated(2);
        assertThat(six.factor()).containsExactly(2, 2, 3, 3, 4, 4);
        assertThat(six.offset()).containsExactly(-1, -1, 0, 0, 1, 1);
        assertThat(six.grouped(3).factor()).containsExactly(2, 3, 4);
        assertThat(six.grouped(3).offset()).containsExactly(-1, 0, 1);
        assertThat(six.grouped(2)).isSameAs(six);
        assertThat(six.grouped(4)).isSameAs(six);
    }

    @Test
    void whatCannotBeUndoneIsRefused() {
        for (float factor : new float[] {0, -1, Float.NaN, Float.POSITIVE_INFINITY}) {
            assertThatThrownBy(() -> new ChannelAffine(new float[] {1, factor}, new float[2]))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("channel 1");
        }
        assertThatThrownBy(() -> new ChannelAffine(new float[] {1}, new float[] {Float.NaN}))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new ChannelAffine(new float[1], new float[2]))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
