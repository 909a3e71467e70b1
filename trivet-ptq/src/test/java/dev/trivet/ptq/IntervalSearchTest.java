package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.VitExecutor;
import dev.trivet.runtime.VitSession;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class IntervalSearchTest {
    @TempDir
    Path folder;

    private static QuantizationSettings settings(int bits, boolean paper, int candidates, int rounds, int threads) {
        return new QuantizationSettings(bits, bits, !paper, !paper, candidates, rounds, threads);
    }

    private static VitModel quantize(VitModel model, QuantizationSettings settings, CalibrationImages images) {
        return IntervalSearch.quantize(model, new VectorKernels(), settings, images, SearchListener.SILENT);
    }

    private byte[] bytes(VitModel model) throws IOException {
        Path file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, model, new Provenance(Map.of()));
        return Files.readAllBytes(file);
    }

    @ParameterizedTest
    @CsvSource({"vit_micro, false", "vit_micro, true", "deit_distilled_micro, false", "vit_gap_micro, true"})
    void theSameInputsGiveTheSameBytes(String name, boolean paper) throws IOException {
        VitModel model = Fixtures.micro(name);
        CalibrationImages images = new Fixtures.Noise(model.vit(), 5, 1);
        byte[] first = bytes(quantize(model, settings(8, paper, 9, 2, 1), images));
        assertThat(bytes(quantize(model, settings(8, paper, 9, 2, 1), images))).isEqualTo(first);
        assertThat(bytes(quantize(model, settings(8, paper, 9, 2, 2), images))).isEqualTo(first);
        assertThat(bytes(quantize(model, settings(8, paper, 9, 2, 3), images))).isEqualTo(first);
    }

    @Test
    void everyOperatorIsQuantizedAsAsked() {
        VitModel model = Fixtures.micro("vit_micro");
        CalibrationImages images = new Fixtures.Noise(model.vit(), 2, 1);
        VitModel defaults = quantize(model, settings(4, false, 3, 1, 1), images);
        VitModel paper = quantize(model, settings(8, true, 3, 1, 1), images);
        assertThat(defaults.linears()).hasSize(1 + 3 * 4 + 1);
        assertThat(defaults.matmuls()).hasSize(3 * 2);
        for (LinearLayer layer : defaults.linears().values()) {
            LinearLayer.Quantized quantized = (LinearLayer.Quantized) layer;
            assertThat(quantized.bits()).isEqualTo(4);
            assertThat(quantized.perChannel()).isTrue();
            assertThat(quantized.input().highest()).isEqualTo(15);
            assertThat(quantized.bias()).isEqualTo(model.linear(layer.name()).bias());
        }
        for (LinearLayer layer : paper.linears().values()) {
            LinearLayer.Quantized quantized = (LinearLayer.Quantized) layer;
            assertThat(quantized.perChannel()).isFalse();
            assertThat(quantized.input().zeroPoint()).isEqualTo(128);
        }
        assertThat(defaults.matmuls().get("blocks.0.attn.av")).isNotNull().satisfies(q -> {
            assertThat(q.left().signed()).isFalse();
            assertThat(q.right().lowest()).isEqualTo(-8);
        });
        assertThat(paper.matmuls().get("blocks.0.attn.av"))
                .isNotNull()
                .satisfies(q -> assertThat(q.left().signed()).isTrue());
    }

    /** Without rounds the scales are those of the largest values. */
    @Test
    void noRoundsKeepTheInitialScales() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        Fixtures.Noise images = new Fixtures.Noise(model.vit(), 3, 1);
        VitModel quantized = quantize(model, settings(8, true, 21, 0, 2), images);
        assertThat(images.loads).hasValue(3);
        LinearLayer.Float32 layer = (LinearLayer.Float32) model.linear("head");
        float most = 0;
        for (float w : layer.weight()) {
            most = Math.max(most, Math.abs(w));
        }
        assertThat(((LinearLayer.Quantized) quantized.linear("head")).scales()).containsExactly(most / 127.5f);
    }

    /** Images are loaded anew in every pass, and a pass holds no more candidates than the budget allows. */
    @Test
    void imagesAreStreamedAndCandidatesStayUnderTheBudget() throws IOException {
        VitModel model = Fixtures.micro("vit_micro");
        // The largest operator, the patch embedding, has 64 * 768 weights and 5 candidates; all have 197,248 * 5 bytes.
        long budget = 5 * 64 * 768 + 1000;
        List<Long> done = new ArrayList<>();
        List<Long> totals = new ArrayList<>();
        Fixtures.Noise images = new Fixtures.Noise(model.vit(), 3, 1);
        CountingKernels kernels = new CountingKernels();
        VitModel inGroups = IntervalSearch.quantize(
                model,
                kernels,
                settings(8, false, 5, 1, 2),
                images,
                (stage, d, total) -> {
                    done.add(d);
                    totals.add(total);
                },
                budget);
        assertThat(kernels.peak()).isBetween(budget / 2, budget);
        assertThat(kernels.held()).as("candidates left open").isZero();
        // Ranges; at least five groups of weights; inputs.
        assertThat(images.loads.get() % 3).isZero();
        assertThat(images.loads.get() / 3).isGreaterThanOrEqualTo(1 + 5 + 1);
        assertThat(done)
                .hasSize(images.loads.get())
                .isSorted()
                .doesNotHaveDuplicates()
                .endsWith(totals.getLast());
        // Groups change nothing but memory.
        Fixtures.Noise again = new Fixtures.Noise(model.vit(), 3, 1);
        CountingKernels roomy = new CountingKernels();
        VitModel atOnce =
                IntervalSearch.quantize(model, roomy, settings(8, false, 5, 1, 1), again, SearchListener.SILENT);
        assertThat(again.loads).hasValue(3 * 3);
        assertThat(roomy.peak()).isEqualTo(5L * (64 * 768 + 3 * 12 * 64 * 64 + 10 * 64));
        assertThat(bytes(inGroups)).isEqualTo(bytes(atOnce));
    }

    @Test
    void anUnreadableImageEndsTheSearchAndFreesItsCandidates() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        Fixtures.Noise noise = new Fixtures.Noise(model.vit(), 4, 1);
        CalibrationImages torn = new CalibrationImages() {
            @Override
            public int size() {
                return 4;
            }

            @Override
            public void load(int index, MemorySegment input) {
                noise.load(index, input);
                if (noise.loads.get() > 6) {
                    throw new BadInputException("image " + index + ": is torn");
                }
            }
        };
        CountingKernels kernels = new CountingKernels();
        assertThatThrownBy(() -> IntervalSearch.quantize(
                        model, kernels, settings(8, false, 5, 3, 2), torn, SearchListener.SILENT))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("is torn");
        assertThat(kernels.peak()).isPositive();
        assertThat(kernels.held()).isZero();
    }

    @Test
    void imagesAreNeeded() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        assertThatThrownBy(() -> quantize(model, settings(8, false, 5, 1, 1), new Fixtures.Noise(model.vit(), 0, 1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("no calibration images");
    }

    @ParameterizedTest
    @CsvSource({
        "vit_micro, 8, false",
        "vit_micro, 8, true",
        "vit_micro, 4, false",
        "vit_micro, 4, true",
        "deit_distilled_micro, 8, false",
        "deit_distilled_micro, 4, true",
        "vit_gap_micro, 8, true",
        "vit_gap_micro, 4, false"
    })
    void theSearchIsNoWorseThanTheInitialScales(String name, int bits, boolean paper) {
        VitModel model = Fixtures.micro(name);
        CalibrationImages images = new Fixtures.Noise(model.vit(), 4, 2);
        Map<String, Double> initial =
                Similarity.byOperator(model, quantize(model, settings(bits, paper, 21, 0, 2), images), images);
        Map<String, Double> searched =
                Similarity.byOperator(model, quantize(model, settings(bits, paper, 21, 3, 2), images), images);
        assertThat(mean(searched)).as(initial + " became " + searched).isGreaterThanOrEqualTo(mean(initial));
        assertThat(searched.values()).as(searched.toString()).allMatch(s -> s > (bits == 8 ? 0.998 : 0.8));
    }

    private static double mean(Map<String, Double> similarities) {
        return similarities.values().stream().mapToDouble(s -> s).average().orElseThrow();
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "deit_distilled_micro", "vit_gap_micro"})
    void eightBitLogitsAreCloseToTheFloatModels(String name) {
        VitModel model = Fixtures.micro(name);
        CalibrationImages calibration = new Fixtures.Noise(model.vit(), 8, 3);
        CalibrationImages unseen = new Fixtures.Noise(model.vit(), 16, 4);
        for (boolean paper : new boolean[] {false, true}) {
            VitModel quantized = quantize(model, settings(8, paper, 21, 3, 2), calibration);
            assertThat(sqnrDb(model, quantized, unseen)).as("paper " + paper).isGreaterThanOrEqualTo(20);
        }
    }

    private static double sqnrDb(VitModel model, VitModel quantized, CalibrationImages images) {
        double signal = 0;
        double noise = 0;
        for (int i = 0; i < images.size(); i++) {
            float[] a = logits(model, images, i);
            float[] b = logits(quantized, images, i);
            for (int c = 0; c < a.length; c++) {
                signal += (double) a[c] * a[c];
                noise += ((double) a[c] - b[c]) * ((double) a[c] - b[c]);
            }
        }
        return 10 * Math.log10(signal / noise);
    }

    private static float[] logits(VitModel model, CalibrationImages images, int index) {
        try (VitExecutor executor = new VitExecutor(model, new VectorKernels(), 1);
                VitSession session = executor.openSession()) {
            MemorySegment input = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            images.load(index, input);
            session.run(input, 1, logits);
            return logits.toArray(JAVA_FLOAT);
        }
    }
}
