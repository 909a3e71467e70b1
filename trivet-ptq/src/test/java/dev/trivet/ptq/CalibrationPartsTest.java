package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.WeightCoding;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Ranges, weight codes, scores and settings, worked out by hand. */
class CalibrationPartsTest {
    private static ValueRange range(float... values) {
        ValueRange range = new ValueRange();
        try (Arena arena = Arena.ofConfined()) {
            range.add(arena.allocateFrom(JAVA_FLOAT, values), values.length);
        }
        return range;
    }

    // ---- ranges

    @Test
    void asymmetricGridReachesFromLowestToHighest() {
        // (3 - -1) / 255; zero at 1 / step = 63.75
        ActivationQuantizer q = range(-1, 0.5f, 3).asymmetric(8);
        assertThat(q).isEqualTo(new ActivationQuantizer(4f / 255, 64, 0, 255));
        assertThat(range(-1, 0.5f, 3).asymmetric(4)).isEqualTo(new ActivationQuantizer(4f / 15, 4, 0, 15));
    }

    @Test
    void onlyPositiveOrOnlyNegativeValues() {
        assertThat(range(2, 5.1f).asymmetric(8)).isEqualTo(new ActivationQuantizer(5.1f / 255, 0, 0, 255));
        assertThat(range(-2, -5.1f).asymmetric(8)).isEqualTo(new ActivationQuantizer(5.1f / 255, 255, 0, 255));
        assertThat(range(2, 5.1f).lowest()).isZero();
        assertThat(range(-2, -5.1f).highest()).isZero();
    }

    @Test
    void symmetricGridsStartHalfAStepBeyondTheLargest() {
        ValueRange range = range(-3, 1);
        assertThat(range.symmetricSigned(8)).isEqualTo(new ActivationQuantizer(3 / 127.5f, 0, -128, 127));
        assertThat(range.symmetricSigned(4)).isEqualTo(new ActivationQuantizer(3 / 7.5f, 0, -8, 7));
        assertThat(range.symmetricUnsigned(8)).isEqualTo(new ActivationQuantizer(3 / 127.5f, 128, 0, 255));
        assertThat(range.symmetricUnsigned(2)).isEqualTo(new ActivationQuantizer(3 / 1.5f, 2, 0, 3));
    }

    @ParameterizedTest
    @CsvSource({"-1, 3", "0, 0", "2, 5", "-7, -0.001", "-1e-6, 40", "-1e30, 1e30", "1e-35, 1e-34"})
    void zeroIsExactInEveryGrid(float low, float high) {
        ValueRange range = range(low, high);
        for (int bits = 2; bits <= 8; bits++) {
            for (ActivationQuantizer q : new ActivationQuantizer[] {
                range.asymmetric(bits), range.symmetricSigned(bits), range.symmetricUnsigned(bits)
            }) {
                assertThat(q.dequantize(q.quantize(0))).isZero();
                assertThat(q.bits()).isEqualTo(bits);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
    void whatIsNotFiniteIsRefused(float bad) {
        assertThatThrownBy(() -> range(1, bad, 2))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("overflow");
    }

    @Test
    void rangesJoin() {
        ValueRange range = range(-1, 2);
        try (Arena arena = Arena.ofConfined()) {
            // Only the first two count.
            range.add(arena.allocateFrom(JAVA_FLOAT, -0.5f, 7, 100), 2);
        }
        assertThat(range.lowest()).isEqualTo(-1);
        assertThat(range.highest()).isEqualTo(7);
    }

    // ---- weights

    private static byte[] codes(float[] weight, int outputs, float[] scales, int bits) {
        try (Arena arena = Arena.ofConfined()) {
            var codes = arena.allocate(weight.length);
            WeightCodes.encode(
                    weight,
                    outputs,
                    weight.length / outputs,
                    scales,
                    WeightCoding.ofBits(bits),
                    codes,
                    new int[outputs]);
            return codes.toArray(JAVA_BYTE);
        }
    }

    @Test
    void initialScalesPerChannelPerMatrixAndPerTensor() {
        float[] weight = {1, -3, 0.5f, 0.25f, 0, 0};
        assertThat(WeightCodes.initialScales(weight, 3, 2, WeightCoding.ofBits(8), 3))
                .containsExactly(3 / 127.5f, 0.5f / 127.5f, 1e-20f);
        assertThat(WeightCodes.initialScales(weight, 3, 2, WeightCoding.ofBits(8), 1))
                .containsExactly(3 / 127.5f);
        assertThat(WeightCodes.initialScales(weight, 3, 2, WeightCoding.ofBits(4), 3))
                .startsWith(3 / 7.5f, 0.5f / 7.5f);
        assertThat(WeightCodes.initialScales(weight, 3, 2, WeightCoding.ofBits(2), 1))
                .containsExactly(3 / 1.5f);
        float[] two = {1, -3, 0.5f, 0.25f, 0.25f, 0, 0, 2};
        assertThat(WeightCodes.initialScales(two, 4, 2, WeightCoding.ofBits(8), 2))
                .containsExactly(3 / 127.5f, 2 / 127.5f);
    }

    /** The scales of {@code TernaryWeightsTest}; codes are cut at half of them, ties going to even. */
    @Test
    void ternaryScalesAndCodes() {
        float[] weight = {1, -2, 0.5f, 0.5f, 0.25f, 0.25f, -0.5f, 0};
        WeightCoding ternary = WeightCoding.TERNARY;
        assertThat(WeightCodes.initialScales(weight, 2, 4, ternary, 2)).containsExactly(1.5f, 1365 / 4096f);
        assertThat(WeightCodes.initialScales(weight, 2, 4, ternary, 1)).containsExactly(1843 / 2048f);
        int[] rowSums = new int[2];
        try (Arena arena = Arena.ofConfined()) {
            var codes = arena.allocate(weight.length);
            WeightCodes.encode(weight, 2, 4, new float[] {1, 0.25f}, ternary, codes, rowSums);
            assertThat(codes.toArray(JAVA_BYTE)).containsExactly(1, -1, 0, 0, 1, 1, -1, 0);
        }
        assertThat(rowSums).containsExactly(0, 1);
    }

    /** Beyond eight bits codes take two bytes: 10 bits reach from -512 to 511. */
    @Test
    void wideCodes() {
        float[] weight = {100, -100, 300, -300, 0.25f, 500};
        int[] rowSums = new int[2];
        try (Arena arena = Arena.ofConfined()) {
            var codes = arena.allocate(2L * weight.length);
            WeightCodes.encode(weight, 2, 3, new float[] {1, 0.5f}, WeightCoding.ofBits(10), codes, rowSums);
            assertThat(codes.toArray(LinearLayer.Quantized.CODE)).containsExactly(100, -100, 300, -512, 0, 511);
        }
        assertThat(rowSums).containsExactly(300, -1);
        assertThat(WeightCodes.bytes(WeightCoding.ofBits(8))).isEqualTo(1);
        assertThat(WeightCodes.bytes(WeightCoding.ofBits(9))).isEqualTo(2);
    }

    /** Eq. (8): clip(round(w / step)), ties to even. */
    @Test
    void codesOfEightFourAndTwoBits() {
        float[] weight = {0, 0.25f, 0.75f, -0.25f, -0.75f, 3.5f, -4, 100};
        float[] half = {0.5f};
        // w / 0.5 = 0, 0.5, 1.5, -0.5, -1.5, 7, -8, 200
        assertThat(codes(weight, 1, half, 8)).containsExactly(0, 0, 2, 0, -2, 7, -8, 127);
        assertThat(codes(weight, 1, half, 4)).containsExactly(0, 0, 2, 0, -2, 7, -8, 7);
        assertThat(codes(weight, 1, half, 2)).containsExactly(0, 0, 1, 0, -2, 1, -2, 1);
    }

    @Test
    void channelsHaveTheirOwnSteps() {
        float[] weight = {1, -2, 1, -2};
        assertThat(codes(weight, 2, new float[] {1, 0.25f}, 8)).containsExactly(1, -2, 4, -8);
        assertThat(codes(weight, 2, new float[] {0.25f}, 8)).containsExactly(4, -8, 4, -8);
    }

    /** At the initial scale the largest weight lands on the last code of either side. */
    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4, 8})
    void theInitialScaleUsesTheWholeGrid(int bits) {
        int half = 1 << (bits - 1);
        float[] up = {4, -1};
        float[] down = {-4, 1};
        assertThat(codes(up, 1, WeightCodes.initialScales(up, 1, 2, WeightCoding.ofBits(bits), 1), bits)[0])
                .isEqualTo((byte) (half - 1));
        assertThat(codes(down, 1, WeightCodes.initialScales(down, 1, 2, WeightCoding.ofBits(bits), 1), bits)[0])
                .isBetween((byte) -half, (byte) (1 - half));
    }

    @Test
    void rowSumsAddEachChannelsCodes() {
        int[] rowSums = {77, 77};
        try (Arena arena = Arena.ofConfined()) {
            float[] weight = {127, -128, 5, -1, -1, -1};
            WeightCodes.encode(weight, 2, 3, new float[] {1}, WeightCoding.ofBits(8), arena.allocate(6), rowSums);
        }
        assertThat(rowSums).containsExactly(4, -3);
    }

    // ---- scores

    @Test
    void theHighestMeanWinsAndTheWiderOfEquals() {
        Scores scores = new Scores(3, 2);
        double[][] similarities = {{0.25, 0.5}, {0.75, 0.5}, {0.5, 0.5}};
        for (int image = 0; image < 4; image++) {
            for (int c = 0; c < 3; c++) {
                for (int choice = 0; choice < 2; choice++) {
                    scores.add(c, choice, similarities[c][choice]);
                }
            }
        }
        assertThat(scores.best(0)).isEqualTo(1);
        assertThat(scores.best(1)).isEqualTo(2);
        assertThat(scores.mean(1, 0, 4)).isEqualTo(0.75);
        assertThat(scores.mean(0, 0, 0)).isZero();
    }

    @Test
    void negativeSimilaritiesCount() {
        Scores scores = new Scores(2, 1);
        scores.add(0, 0, -0.25);
        scores.add(1, 0, -0.5);
        assertThat(scores.best(0)).isZero();
        assertThat(scores.mean(1, 0, 1)).isEqualTo(-0.5);
    }

    /** Ranking losses that are plain sums reach millions per image. */
    @Test
    void largeNegativeScores() {
        Scores scores = new Scores(3, 1);
        for (int image = 0; image < 1000; image++) {
            scores.add(0, 0, -2.5e8 - 0.5);
            scores.add(1, 0, -2.5e8 - 0.25);
            scores.add(2, 0, -2.5e8 - 0.75);
        }
        assertThat(scores.best(0)).isEqualTo(1);
        assertThat(scores.mean(1, 0, 1000)).isEqualTo(-2.5e8 - 0.25);
    }

    /** Sums of doubles would depend on the order in which threads add. */
    @Test
    void totalsDoNotDependOnTheOrder() {
        int images = 2000;
        double[] similarities =
                new java.util.Random(3).doubles(images, 0.999, 1).toArray();
        Scores forward = new Scores(1, 1);
        Scores backward = new Scores(1, 1);
        Scores threaded = new Scores(1, 1);
        for (int i = 0; i < images; i++) {
            forward.add(0, 0, similarities[i]);
            backward.add(0, 0, similarities[images - 1 - i]);
        }
        try (ExecutorService threads = Executors.newFixedThreadPool(3)) {
            for (double s : similarities) {
                threads.execute(() -> threaded.add(0, 0, s));
            }
        }
        assertThat(backward.mean(0, 0, images)).isEqualTo(forward.mean(0, 0, images));
        assertThat(threaded.mean(0, 0, images)).isEqualTo(forward.mean(0, 0, images));
    }

    // ---- scratch

    /** Operands and sums of a small layer once shared their memory: its sums overwrote its input. */
    @ParameterizedTest
    @ValueSource(ints = {1, 10, 16, 64, 1000})
    void scratchBlocksAreApart(int elements) {
        try (SearchScratch scratch = new SearchScratch(new ReferenceKernels())) {
            var blocks = List.of(
                    scratch.buffer("codes", elements),
                    scratch.buffer("right codes", elements),
                    scratch.buffer("sums", 4L * elements));
            for (int i = 0; i < 3; i++) {
                assertThat(blocks.get(i).byteSize()).isGreaterThanOrEqualTo(i == 2 ? 4 * elements : elements);
                assertThat(blocks.get(i).asOverlappingSlice(blocks.get((i + 1) % 3)))
                        .isEmpty();
            }
        }
    }

    // ---- settings

    private static LiuSettings settings(int candidates, int rounds, int threads) {
        return new LiuSettings(true, true, RankReduction.MEAN, false, false, false, candidates, rounds, 0, threads);
    }

    @Test
    void candidatesAreSpacedEvenlyFromAlphaToBeta() {
        // 1 is among these eight already.
        assertThat(settings(8, 1, 1).factors()).containsExactly(0.5f, 0.6f, 0.7f, 0.8f, 0.9f, 1f, 1.1f, 1.2f);
        assertThat(settings(3, 1, 1).factors()).containsExactly(0.5f, 0.85f, 1f, 1.2f);
        assertThat(settings(2, 1, 1).factors()).containsExactly(0.5f, 1f, 1.2f);
        assertThat(settings(21, 1, 1).factors()).hasSize(22).contains(1f).isSorted();
    }

    @Test
    void theDefaultsAreThePapers() {
        assertThat(LiuSettings.defaults(7, 2))
                .isEqualTo(new LiuSettings(true, true, RankReduction.MEAN, false, false, false, 21, 20, 7, 2));
    }

    @ParameterizedTest
    @CsvSource({"1, 3, 1", "1001, 3, 1", "21, -1, 1", "21, 21, 1", "21, 3, 0"})
    void settingsAreChecked(int candidates, int rounds, int threads) {
        assertThatThrownBy(() -> settings(candidates, rounds, threads)).isInstanceOf(IllegalArgumentException.class);
    }

    // ---- convergence

    @Test
    void aSideSettlesWhenNothingItDependsOnChanges() {
        SettledSides sides = new SettledSides();
        OperatorSearch.Side weights = OperatorSearch.Side.RIGHT;
        OperatorSearch.Side inputs = OperatorSearch.Side.LEFT;
        assertThat(sides.isSettled(weights)).isFalse();
        sides.searched(weights, false);
        assertThat(sides.isSettled(weights)).isTrue();
        assertThat(sides.isSettled(inputs)).isFalse();
        sides.searched(inputs, true);
        assertThat(sides.isSettled(inputs))
                .as("a side does not unsettle itself")
                .isTrue();
        assertThat(sides.isSettled(weights)).as("the input has changed").isFalse();
        sides.searched(weights, false);
        assertThat(sides.isSettled(inputs)).isTrue();
        sides.biasChanged();
        assertThat(sides.isSettled(weights)).isFalse();
        assertThat(sides.isSettled(inputs)).isFalse();
    }
}
