package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import dev.trivet.kernel.VectorKernels;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListSet;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class EvaluationTest {
    private static final Evaluation.Progress SILENT = (done, total) -> {};

    private final TrivetModel plain = model(new int[] {0, 1, 2, 3, 4, 5}, new float[6], 2);
    /** Takes class 0 for class 1 and the other way round. */
    private final TrivetModel swapped = model(new int[] {1, 0, 2, 3, 4, 5}, new float[6], 3);

    private static TrivetModel model(int[] classOf, float[] bias, int batch) {
        return new TrivetModel(PixelModel.of(classOf, bias), new VectorKernels(), batch);
    }

    private static final LabelledImages IMAGES = PixelModel.images(
            // plain ranks the label 0, swapped 1; they disagree
            new PixelModel.Sample(0, 60, 50, 40, 30, 20, 10),
            // both rank the label last; they disagree
            new PixelModel.Sample(5, 60, 50, 40, 30, 20, 10),
            // both rank the label 0
            new PixelModel.Sample(2, 10, 20, 60, 30, 40, 50),
            // both rank the label 3
            new PixelModel.Sample(3, 10, 20, 60, 30, 40, 50),
            new PixelModel.Sample(1),
            // all equal: the first class stands first
            new PixelModel.Sample(0, 7, 7, 7, 7, 7, 7));

    @AfterEach
    void close() {
        plain.close();
        swapped.close();
    }

    @ParameterizedTest
    @CsvSource({"1", "2", "5"})
    void countsAreThoseOfTheHand(int threads) {
        Set<Integer> progress = new ConcurrentSkipListSet<>();
        Evaluation result = Evaluation.run(List.of(plain, swapped), IMAGES, threads, false, (done, total) -> {
            assertThat(total).isEqualTo(6);
            progress.add(done);
        });
        assertThat(result.images()).isEqualTo(5);
        assertThat(result.scores()).containsExactly(new Evaluation.Score(3, 4), new Evaluation.Score(2, 4));
        assertThat(result.agreement()).isEqualTo(0.6);
        assertThat(result.unreadable()).containsExactly("image4: is torn; scan it again");
        assertThat(progress).containsExactly(1, 2, 3, 4, 5, 6);
        assertThat(result.timing().seconds()).isPositive();
        assertThat(result.timing().inferenceSeconds()).hasSize(2).allMatch(s -> s > 0);
        // Logits are (p - mean) / deviation with mean 35 and variance 875/3: 6 per image and 0 for the flat one. The
        // swap
        // errs twice by 10 steps: 2 * 100 / (875/3) per image.
        double signal = 4 * 6;
        double noise = 4 * 2 * 100 / (875 / 3.0);
        assertThat(result.logitSqnrDb()).isCloseTo(10 * Math.log10(signal / noise), within(1e-3));
    }

    @Test
    void oneModelHasNothingToAgreeWith() {
        Evaluation result = Evaluation.run(List.of(swapped), IMAGES, 1, false, SILENT);
        assertThat(result.scores()).containsExactly(new Evaluation.Score(2, 4));
        assertThat(result.agreement()).isNaN();
        assertThat(result.logitSqnrDb()).isNaN();
    }

    @Test
    void aModelAgreesWithItself() {
        Evaluation result = Evaluation.run(List.of(plain, plain), IMAGES, 2, false, SILENT);
        assertThat(result.agreement()).isEqualTo(1);
        assertThat(result.logitSqnrDb()).isEqualTo(Double.POSITIVE_INFINITY);
    }

    @Test
    void strictStopsAtTheFirstUnreadableImage() {
        assertThatThrownBy(() -> Evaluation.run(List.of(plain), IMAGES, 2, true, SILENT))
                .isInstanceOf(BadInputException.class)
                .hasMessage("image4: is torn; scan it again");
    }

    @Test
    void somethingMustBeReadable() {
        LabelledImages torn = PixelModel.images(new PixelModel.Sample(1), new PixelModel.Sample(2));
        assertThatThrownBy(() -> Evaluation.run(List.of(plain), torn, 1, false, SILENT))
                .isInstanceOf(BadInputException.class)
                .hasMessage("none of the 2 images can be read; the first: image0: is torn; scan it again");
        assertThatThrownBy(() -> Evaluation.run(List.of(plain), PixelModel.images(), 1, false, SILENT))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("no images");
    }

    @Test
    void aLabelMustBeAClass() {
        LabelledImages images = PixelModel.images(new PixelModel.Sample(6, 1, 2, 3, 4, 5, 6));
        assertThatThrownBy(() -> Evaluation.run(List.of(plain), images, 1, false, SILENT))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("image0: has label 6 where the model has 6 classes");
    }

    /** NaN must never pass for a right answer. */
    @Test
    void nanStandsBeforeTheLabel() {
        float[] bias = {0, Float.NaN, 0, 0, 0, 0};
        try (TrivetModel broken = model(new int[] {0, 1, 2, 3, 4, 5}, bias, 1)) {
            LabelledImages images = PixelModel.images(
                    new PixelModel.Sample(0, 60, 50, 40, 30, 20, 10), new PixelModel.Sample(1, 10, 60, 20, 30, 40, 50));
            Evaluation result = Evaluation.run(List.of(broken), images, 1, false, SILENT);
            assertThat(result.scores()).containsExactly(new Evaluation.Score(0, 1));
        }
    }

    @Test
    void everyImageIsRunOnceWhateverTheBatch() {
        PixelModel.Sample[] samples = new PixelModel.Sample[23];
        for (int i = 0; i < samples.length; i++) {
            samples[i] = i % 7 == 3 ? new PixelModel.Sample(0) : new PixelModel.Sample(0, 10 * i, 1, 2, 3, 4, 5);
        }
        ConcurrentHashMap<Integer, Boolean> seen = new ConcurrentHashMap<>();
        DatasetRun.run(List.of(swapped), PixelModel.images(samples), 2, new DatasetRun.Sink() {
            @Override
            public void result(int index, float[][] logits) {
                assertThat(seen.put(index, true)).isNull();
                // Class 1 holds the first pixel: it tells the images apart.
                assertThat(logits[0][1] > logits[0][5]).as("image " + index).isEqualTo(10 * index > 5);
            }

            @Override
            public void unreadable(int index, BadInputException reason) {
                assertThat(seen.put(index, false)).isNull();
            }
        });
        assertThat(seen).hasSize(23);
        assertThat(seen.entrySet()).allMatch(e -> e.getValue() == (e.getKey() % 7 != 3));
    }
}
