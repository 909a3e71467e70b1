package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ShareTest {
    private static List<Share> ofTiles(int total, int members) {
        return IntStream.range(0, members)
                .mapToObj(member -> Share.ofTiles(total, member, members, 16))
                .toList();
    }

    @Test
    void partsOfManyRowsBeginWithTiles() {
        assertThat(ofTiles(197, 2)).containsExactly(new Share(0, 96), new Share(96, 197));
        assertThat(ofTiles(197, 3)).containsExactly(new Share(0, 64), new Share(64, 128), new Share(128, 197));
        assertThat(ofTiles(784, 4))
                .containsExactly(new Share(0, 192), new Share(192, 400), new Share(400, 592), new Share(592, 784));
    }

    @Test
    void partsOfFewRowsAreEven() {
        assertThat(ofTiles(50, 2)).containsExactly(new Share(0, 25), new Share(25, 50));
        assertThat(ofTiles(197, 4))
                .containsExactly(new Share(0, 49), new Share(49, 98), new Share(98, 147), new Share(147, 197));
        assertThat(ofTiles(1, 2)).containsExactly(new Share(0, 0), new Share(0, 1));
    }
}
