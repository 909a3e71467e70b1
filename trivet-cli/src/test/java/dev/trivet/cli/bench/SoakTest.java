package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;

class SoakTest {
    /** Gives the batch's number in both logits, and from some run on minus zero in place of the second zero. */
    private static final class Model implements Soak.Caller {
        private final int goodRuns;
        private int runs;

        Model(int goodRuns) {
            this.goodRuns = goodRuns;
        }

        @Override
        public MemorySegment run(int number) {
            float second = runs++ < goodRuns || number > 0 ? number : -0f;
            return MemorySegment.ofArray(new float[] {number, second});
        }

        @Override
        public void close() {}
    }

    /** Minus zero equals zero, but not bit for bit. Two runs give what is expected; thread 0 meets batch 0 in every second run. */
    @Test
    void findsTheFirstResultThatDiffers() throws InterruptedException {
        Soak soak = new Soak(List.of(new Model(2 + 10)), 2, 1);
        Soak.Result result = soak.run(3600, _ -> {});
        assertThat(result.difference()).contains(new Soak.Difference(0, 0, 10, 1));
        assertThat(result.samples().getLast().images()).isEqualTo(10);
    }

    @Test
    void sameResultsLastUntilTheEnd() throws InterruptedException {
        Soak soak = new Soak(List.of(new Model(Integer.MAX_VALUE), new Model(Integer.MAX_VALUE)), 4, 5);
        Soak.Result result = soak.run(0.05, _ -> {});
        assertThat(result.difference()).isEmpty();
        assertThat(result.samples()).hasSize(3);
        assertThat(result.samples().getLast().images() % 5).isZero();
        assertThat(result.samples().getLast().seconds()).isGreaterThanOrEqualTo(0.05);
    }

    @Test
    void aFailingRunIsAnError() {
        Soak soak = new Soak(
                List.of(new Soak.Caller() {
                    private int runs;

                    @Override
                    public MemorySegment run(int number) {
                        if (runs++ == 3) {
                            throw new IllegalStateException("broken");
                        }
                        return MemorySegment.ofArray(new byte[4]);
                    }

                    @Override
                    public void close() {}
                }),
                1,
                1);
        assertThatIllegalStateException()
                .isThrownBy(() -> soak.run(3600, _ -> {}))
                .withRootCauseInstanceOf(IllegalStateException.class);
    }

    /** By hand: 100 images in 10 s, then 60 in 20 s; memory 7 MB, then 9 MB, then 10 MB. */
    @Test
    void ratesAndDriftAreBetweenSamples() {
        Soak.Result result = new Soak.Result(
                List.of(
                        new Soak.Sample(0, 0, OptionalLong.of(7_000_000), 1, 1),
                        new Soak.Sample(10, 100, OptionalLong.of(9_000_000), 1, 1),
                        new Soak.Sample(30, 160, OptionalLong.of(10_000_000), 1, 1)),
                Optional.empty());
        assertThat(result.firstRate()).isEqualTo(10);
        assertThat(result.lastRate()).isEqualTo(3);
        assertThat(result.drift()).hasValue(1_000_000);
    }
}
