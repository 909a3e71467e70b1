package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class WindowPartitionTest {
    private static final int P = WindowPartition.PADDING;

    @Test
    void windowsCutTheMap() {
        assertThat(new WindowPartition(4, 2, 0, WindowPadding.AFTER_SHIFT).tokens())
                .containsExactly(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    }

    /** Rolled up and left by one: the first window begins at row 1, column 1; the last one holds all four corners. */
    @Test
    void shiftedWindowsWrapAround() {
        for (WindowPadding padding : WindowPadding.values()) {
            assertThat(new WindowPartition(4, 2, 1, padding).tokens())
                    .containsExactly(5, 6, 9, 10, 7, 4, 11, 8, 13, 14, 1, 2, 15, 12, 3, 0);
        }
    }

    /** On a map of side 3 windows of 2 need a row and a column more; where they stand depends on what comes first. */
    @Test
    void paddingFillsTheLastWindows() {
        int[] plain = {0, 1, 3, 4, 2, P, 5, P, 6, 7, P, P, 8, P, P, P};
        int[] rolledThenPadded = {4, 5, 7, 8, 3, P, 6, P, 1, 2, P, P, 0, P, P, P};
        int[] paddedThenRolled = {4, 5, 7, 8, P, 3, P, 6, P, P, 1, 2, P, P, P, 0};
        for (WindowPadding padding : WindowPadding.values()) {
            assertThat(new WindowPartition(3, 2, 0, padding).tokens()).containsExactly(plain);
        }
        assertThat(new WindowPartition(3, 2, 1, WindowPadding.AFTER_SHIFT).tokens())
                .containsExactly(rolledThenPadded);
        assertThat(new WindowPartition(3, 2, 1, WindowPadding.BEFORE_SHIFT).tokens())
                .containsExactly(paddedThenRolled);
    }

    @ParameterizedTest
    @CsvSource({"7, 7, 0", "14, 7, 3", "13, 4, 2", "5, 4, 2", "9, 8, 4", "3, 5, 0", "1, 1, 0"})
    void everyTokenStandsInOnePlace(int side, int window, int shift) {
        for (WindowPadding padding : WindowPadding.values()) {
            WindowPartition windows = new WindowPartition(side, window, shift, padding);
            int[] tokens = windows.tokens();
            assertThat(tokens).hasSize(windows.windows() * windows.windowTokens());
            assertThat(Arrays.stream(tokens).filter(t -> t != P).sorted().toArray())
                    .isEqualTo(IntStream.range(0, side * side).toArray());
        }
    }

    /** By hand: four windows of 2 on a map of 4, rolled by 1. The first is whole, the last holds four regions. */
    @Test
    void theMaskParsTokensThatAreNoNeighbours() {
        float m = WindowPartition.MASKED;
        float[] mask = new WindowPartition(4, 2, 1, WindowPadding.AFTER_SHIFT).mask();
        assertThat(Arrays.copyOfRange(mask, 0, 16)).containsOnly(0f);
        // Tokens 7 4 / 11 8: the left column is the map's right edge, the right one its left edge.
        assertThat(Arrays.copyOfRange(mask, 16, 32)).containsExactly(0, m, 0, m, m, 0, m, 0, 0, m, 0, m, m, 0, m, 0);
        // Tokens 13 14 / 1 2: bottom edge above top edge.
        assertThat(Arrays.copyOfRange(mask, 32, 48)).containsExactly(0, 0, m, m, 0, 0, m, m, m, m, 0, 0, m, m, 0, 0);
        assertThat(Arrays.copyOfRange(mask, 48, 64)).containsExactly(0, m, m, m, m, 0, m, m, m, m, 0, m, m, m, m, 0);
    }

    @Test
    void withoutAShiftNothingIsMasked() {
        assertThat(new WindowPartition(5, 2, 0, WindowPadding.AFTER_SHIFT).mask())
                .containsOnly(0f);
    }

    /** By hand for windows of 2: offsets in rows and columns are -1, 0 or 1, and the table has 3 x 3 rows. */
    @Test
    void relativePositionsCountRowsThenColumns() {
        WindowPartition windows = new WindowPartition(4, 2, 0, WindowPadding.AFTER_SHIFT);
        assertThat(windows.relativeOffsets()).isEqualTo(9);
        assertThat(windows.relativePositions()).containsExactly(4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4);
    }

    @ParameterizedTest
    @CsvSource({"0, 2, 0", "4, 0, 0", "4, 2, 2", "4, 2, -1", "2, 3, 1"})
    void numbersThatDoNotFitAreRefused(int side, int window, int shift) {
        assertThatThrownBy(() -> new WindowPartition(side, window, shift, WindowPadding.AFTER_SHIFT))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
