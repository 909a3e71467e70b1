package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.function.BiConsumer;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Samples of the first block's hidden layer of a micro model, and what is chosen from them. */
class LinearStageTest {
    private static final Kernels KERNELS = new VectorKernels();

    private static void withSamples(
            String name, String layer, int imageCount, int rows, BiConsumer<VitModel, LayerSamples> use) {
        VitModel model = Fixtures.micro(name);
        CalibrationImages images = new Fixtures.Noise(model.vit(), imageCount, 1);
        List<SearchUnit> units = SearchUnit.of(model.vit());
        TrivetSearch method = new TrivetSearch(
                QuantizationPlan.uniform(model.vit(), 4, 4, 8),
                TrivetSettings.defaults(0, 2),
                new TokenGains(model, 2),
                choice -> {});
        SearchProgress progress = new SearchProgress(SearchListener.SILENT, units, 0, images.size(), method);
        try (SearchState state = new SearchState(model, model, KERNELS, images, 2, progress)) {
            progress.unit(0);
            state.advance(units.get(0));
            progress.unit(1);
            state.withWorkers(units.get(1), workers -> {
                try (LayerSamples samples = LayerSamples.capture(
                        state, workers, state.floatLayer(layer), LayerSamples.Target.OUTPUT, Fixtures.ones(rows))) {
                    use.accept(model, samples);
                }
            });
        }
    }

    /** The layer's own weights turn the captured input into the captured output. */
    @ParameterizedTest
    @ValueSource(strings = {"blocks.0.attn.qkv", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"})
    void samplesAreTheLayersInputAndOutput(String layer) {
        VitModel any = Fixtures.micro("vit_micro");
        int rows = any.vit().tokens();
        withSamples("vit_micro", layer, 3, rows, (model, samples) -> {
            int inputs = samples.layer.inputs();
            for (int image = 0; image < 3; image++) {
                for (int r = 0; r < rows; r += 7) {
                    for (int n = 0; n < samples.layer.outputs(); n += 13) {
                        double sum = 0;
                        for (int k = 0; k < inputs; k++) {
                            sum += (double) samples.layer.weight()[n * inputs + k]
                                    * samples.x(image).getAtIndex(JAVA_FLOAT, (long) r * inputs + k);
                        }
                        assertThat((double)
                                        samples.y(image).getAtIndex(JAVA_FLOAT, (long) r * samples.layer.outputs() + n))
                                .isCloseTo(sum, within(1e-4));
                    }
                }
            }
        });
    }

    @ParameterizedTest
    @CsvSource({"1, 1, 1", "4, 4, 4", "5, 4, 1", "9, 8, 1", "10, 8, 2"})
    void theLastFifthIsHeldOut(int images, int fitted, int heldOut) {
        withSamples("vit_gap_micro", "blocks.0.mlp.fc1", images, 1, (model, samples) -> {
            int f = 0;
            int h = 0;
            for (int i = 0; i < images; i++) {
                f += samples.isFitted(i) ? 1 : 0;
                h += samples.isHeldOut(i) ? 1 : 0;
                assertThat(samples.isHeldOut(i)).isEqualTo(images < 5 || i >= images - heldOut);
            }
            assertThat(f).isEqualTo(fitted);
            assertThat(h).isEqualTo(heldOut);
        });
    }

    /** Relative squared error of a fit, from its definition: codes times scales, plus the bias's change. */
    private static double error(LayerSamples samples, LinearFit fit, int fromImage) {
        int inputs = samples.layer.inputs();
        int outputs = samples.layer.outputs();
        double error = 0;
        double energy = 0;
        for (int image = fromImage; image < samples.pass.images(); image++) {
            MemorySegment x = samples.x(image);
            for (int r = 0; r < samples.rows; r++) {
                double[] value = new double[inputs];
                for (int k = 0; k < inputs; k++) {
                    float folded = fit.input().fold().apply(x.getAtIndex(JAVA_FLOAT, (long) r * inputs + k), k);
                    value[k] = fit.input()
                            .quantizer()
                            .dequantize(fit.input().quantizer().quantize(folded));
                }
                for (int n = 0; n < outputs; n++) {
                    double sum = fit.bias()[n] - samples.layer.bias()[n];
                    for (int k = 0; k < inputs; k++) {
                        sum += value[k] * fit.codes()[n * inputs + k] * fit.scales()[n];
                    }
                    double y = samples.y(image).getAtIndex(JAVA_FLOAT, (long) r * outputs + n);
                    error += (sum - y) * (sum - y);
                    energy += y * y;
                }
            }
        }
        return error / energy;
    }

    /** With a handful of images all are fitted and all compared, so the reported error can be worked out again. */
    @ParameterizedTest
    @CsvSource({
        "blocks.0.mlp.fc1, 4, 4, true",
        "blocks.0.mlp.fc1, 8, 8, true",
        "blocks.0.mlp.fc2, 4, 4, false",
        "blocks.0.attn.qkv, 10, 10, true",
        "blocks.0.attn.qkv, 3, 6, false",
        "blocks.0.mlp.fc1, 2, 2, true"
    })
    void theErrorIsThatOfTheChosenFit(String layer, int weightBits, int activationBits, boolean foldable) {
        int rows = Fixtures.micro("vit_micro").vit().tokens();
        withSamples("vit_micro", layer, 4, rows, (model, samples) -> {
            LinearStage.Choice choice = new LinearStage(
                            samples,
                            KERNELS,
                            new OperatorPlan(layer, weightBits, activationBits),
                            TrivetSettings.defaults(0, 2))
                    .choose(foldable ? new InputFold.Absorber.Norm("norm", true) : new InputFold.Absorber.Nobody());
            assertThat(choice.error()).isCloseTo(error(samples, choice.fit(), 0), within(1e-3 * choice.error()));
            smallest(choice);
            int inputCandidates = (foldable ? 3 : 1) * (activationBits < 8 ? 2 : 1);
            assertThat(choice.tried().size() % inputCandidates).isZero();
        });
    }

    private static void smallest(LinearStage.Choice choice) {
        assertThat(choice.tried())
                .allSatisfy(t -> assertThat(t.error()).isGreaterThanOrEqualTo(choice.error()))
                .anySatisfy(t -> {
                    assertThat(t.error()).isEqualTo(choice.error());
                    assertThat(t.description()).isEqualTo(choice.fit().description());
                });
        assertThat(choice.tried()).extracting(OperatorChoice.Tried::description).doesNotHaveDuplicates();
    }

    /** Rows enough: ridges are tried as well; fitted on all images, the choice is no worse on the held-out ones. */
    @ParameterizedTest
    @CsvSource({"4, true", "3, false", "8, true"})
    void theSmallestHeldOutErrorWins(int bits, boolean compensation) {
        String layer = VitNames.hidden(0);
        int rows = Fixtures.micro("vit_micro").vit().tokens();
        int images = 60;
        withSamples("vit_micro", layer, images, rows, (model, samples) -> {
            assertThat(images * rows).isGreaterThan(8 * samples.layer.inputs());
            TrivetSettings settings = new TrivetSettings(true, true, true, compensation, 0, 2);
            LinearStage.Choice choice = new LinearStage(samples, KERNELS, new OperatorPlan(layer, bits, bits), settings)
                    .choose(new InputFold.Absorber.Norm("norm", true));
            smallest(choice);
            assertThat(choice.tried()).hasSize(3 * (bits < 8 ? 2 : 1) * (compensation ? 4 : 1));
            assertThat(error(samples, choice.fit(), images - images / 5)).isLessThanOrEqualTo(choice.error() * 1.02);
        });
    }
}
