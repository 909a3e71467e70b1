package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Values go to the nearest level in use, whatever the register width makes of a row, and nothing beside the row changes. */
class LevelTableTest {
    @ParameterizedTest
    @ValueSource(ints = {1, 15, 16, 63, 64, 65, 127, 128, 197, 300})
    void operandsOfPickedLevelsAreTheReference(int count) {
        SplittableRandom random = new SplittableRandom(count);
        for (boolean signed : new boolean[] {false, true}) {
            int lowest = signed ? -128 : 0;
            List<Integer> levels = IntStream.rangeClosed(lowest, lowest + 255)
                    .filter(code -> code == lowest || code == lowest + 255 || code == 0 || random.nextInt(5) == 0)
                    .boxed()
                    .toList();
            Operand operand = Operand.of(new ActivationQuantizer(0.5f, 0, lowest, lowest + 255, levels));
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment x = KernelParityTest.randomFloats(arena, random, count, 70);
                MemorySegment expected = arena.allocate(count + 128L).fill((byte) 99);
                MemorySegment actual = arena.allocate(count + 128L).fill((byte) 99);
                new ReferencePointwise().encode(x, count, operand, expected.asSlice(64));
                new VectorPointwise().encode(x, count, operand, actual.asSlice(64));
                assertThat(actual.toArray(JAVA_BYTE)).isEqualTo(expected.toArray(JAVA_BYTE));
                for (int i = 0; i < count; i++) {
                    byte code = expected.get(JAVA_BYTE, 64L + i);
                    assertThat(levels).contains(signed ? code : code & 0xff);
                }
            }
        }
    }
}
