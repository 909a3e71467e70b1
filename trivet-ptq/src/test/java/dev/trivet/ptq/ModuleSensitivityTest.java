package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.Interpolation;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import dev.trivet.ptq.ModuleSensitivity.Perturbation;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Eq. (18) on a model worked by hand, and what must hold for any. */
class ModuleSensitivityTest {
    private static final Kernels KERNELS = new ReferenceKernels();

    /**
     * One head, two tokens (the class token and one patch of one pixel), width 2, one block.
     *
     * <p>Tokens are (1, -1) and (-1, 1): LayerNorm with gamma 1 leaves them as they are, but for its epsilon. With q = x,
     * k = x the scores are 2 on the diagonal and -2 beside it, times 1 / sqrt(2).
     */
    private static VitModel handmade() {
        VitConfig geometry = new VitConfig(1, 1, 1, 2, 1, 1, 2, 2, Pooling.TOKEN, true, false, true, 1e-12f);
        ModelConfig config = new ModelConfig(
                "handmade",
                geometry,
                new Preprocessing(1, 1, Interpolation.BICUBIC, List.of(0f), List.of(1f)),
                List.of());
        Map<String, float[]> weights = Map.of(
                VitNames.PATCH_EMBEDDING,
                new float[] {1, -1},
                VitNames.qkv(0),
                new float[] {1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1},
                // The attention adds nothing, so the MLP reads the tokens too.
                VitNames.projection(0),
                new float[4],
                VitNames.hidden(0),
                new float[4],
                VitNames.output(0),
                new float[] {1, 0, 0, 1},
                VitNames.HEAD,
                new float[4]);
        Map<String, float[]> biases = Map.of(VitNames.hidden(0), new float[] {30, 40});
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : VitTensors.of(geometry).linears()) {
            linears.put(
                    spec.name(),
                    new LinearLayer.Float32(
                            spec.name(),
                            spec.outputs(),
                            spec.inputs(),
                            weights.getOrDefault(spec.name(), new float[0]),
                            biases.getOrDefault(spec.name(), new float[spec.outputs()])));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        VitTensors.of(geometry).floats().forEach((name, shape) -> {
            float[] values = new float[Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact))];
            if (name.endsWith("weight")) {
                java.util.Arrays.fill(values, 1f);
            }
            floats.put(name, values);
        });
        floats.put(VitNames.CLASS_TOKEN, new float[] {-1, 1});
        return new VitModel(config, linears, Map.of(), floats);
    }

    private static final CalibrationImages ONES = new CalibrationImages() {
        @Override
        public int size() {
            return 3;
        }

        @Override
        public void load(int index, MemorySegment input) {
            input.setAtIndex(JAVA_FLOAT, 0, 1f);
        }
    };

    /** Steps of a quarter for the attention map or a sixteenth for its numerators, and of 16 for the hidden values. */
    private static UnitSearch coarse(QuantizationPlan plan, boolean normalized) {
        return new UnitSearch() {
            @Override
            public void quantize(SearchUnit unit, SearchState state) {
                if (!plan.operator(VitNames.mixing(0)).isFloat()) {
                    state.put(
                            VitNames.mixing(0),
                            new MatmulQuantizers(
                                    new ActivationQuantizer(normalized ? 1f / 16 : 0.25f, 0, 0, 31),
                                    new ActivationQuantizer(0.25f, 0, -8, 7),
                                    normalized));
                }
                if (!plan.operator(VitNames.output(0)).isFloat()) {
                    // Codes 1 and steps of 16: GELU(30) = 30 and GELU(40) = 40 become 32 (twice, ties to even).
                    LinearLayer.Float32 layer = state.floatLayer(VitNames.output(0));
                    state.put(new LinearLayer.Quantized(
                            layer.name(),
                            2,
                            2,
                            2,
                            MemorySegment.ofArray(new byte[] {1, 0, 0, 1}),
                            new float[] {1, 1},
                            layer.bias(),
                            new ActivationQuantizer(16f, 0, 0, 3)));
                }
            }

            @Override
            public long memoryBound(Geometry geometry) {
                return 0;
            }
        };
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void equation18ByHand(boolean normalized) {
        VitModel model = handmade();
        QuantizationPlan base = QuantizationPlan.uniform(model.vit(), 2, 2, 8);
        ModuleSensitivity sensitivity = ModuleSensitivity.measure(
                model,
                KERNELS,
                ONES,
                plan -> coarse(plan, normalized),
                base,
                new int[] {2},
                16,
                1,
                SearchListener.SILENT);
        assertThat(sensitivity.modules())
                .extracting(ModuleSensitivity.Module::name)
                .containsExactly("blocks.0.attn", "blocks.0.mlp");
        // The map is [p, 1-p; 1-p, p]; its singular values are 1 and 2p - 1. In quarters p becomes 1 and 1 - p becomes
        // 0;
        // the numerators 1 and 0.059 become 16 and 1 sixteenths, and p becomes 16 / 17.
        double p = 1 / (1 + Math.exp(-4 / Math.sqrt(2)));
        double error = (normalized ? 16.0 / 17 : 1) - p;
        double map = 2 * p * 4 * error * error;
        // Both rows of the MLP's output are (30, 40), one singular value sqrt(2) * 50; errors are 2 and 8 in each row.
        double output = 50 * Math.sqrt(2) * 2 * (2 * 2 + 8 * 8);
        ModuleSensitivity.Width attention =
                sensitivity.modules().getFirst().widths().getFirst();
        ModuleSensitivity.Width mlp = sensitivity.modules().getLast().widths().getFirst();
        assertThat(attention.mapOmega()).isCloseTo(map, within(1e-3 * map));
        assertThat(attention.featureOmega()).isZero(); // the projection is zero
        assertThat(mlp.mapOmega()).isCloseTo(output, within(1e-2));
        assertThat(mlp.featureOmega()).isEqualTo(mlp.mapOmega());
        // Rows of two codes of two bits take a byte: 6 + 2 rows, and 2 + 2.
        assertThat(attention.codeBytes()).isEqualTo(8);
        assertThat(mlp.codeBytes()).isEqualTo(4);
        assertThat(sensitivity.total(Map.of("blocks.0.attn", 2, "blocks.0.mlp", 2), Perturbation.ATTENTION_MAP))
                .isEqualTo(attention.mapOmega() + mlp.mapOmega());
    }

    private static ModuleSensitivity measure(String micro, int images, int[] bits, int threads) {
        VitModel model = Fixtures.micro(micro);
        QuantizationPlan base = QuantizationPlan.uniform(model.vit(), 8, 8, 8);
        return ModuleSensitivity.measure(
                model,
                KERNELS,
                new Fixtures.Noise(model.vit(), 6, 5),
                trivet(model),
                base,
                bits,
                images,
                threads,
                SearchListener.SILENT);
    }

    private static Function<QuantizationPlan, UnitSearch> trivet(VitModel model) {
        TokenGains gains = new TokenGains(model, 1);
        return plan -> new TrivetSearch(plan, TrivetSettings.defaults(0, 1), gains, choice -> {});
    }

    /** What becomes of the logits is what a model with that module alone quantized gives, run from end to end. */
    @ParameterizedTest
    @ValueSource(strings = {"vit_gap_micro", "deit_distilled_micro"})
    void logitsMoveAsInAModelOfItsOwn(String micro) {
        VitModel model = Fixtures.micro(micro);
        QuantizationPlan base = QuantizationPlan.uniform(model.vit(), 8, 8, 8);
        CalibrationImages images = new Fixtures.Noise(model.vit(), 4, 5);
        ModuleSensitivity sensitivity = ModuleSensitivity.measure(
                model, KERNELS, images, trivet(model), base, new int[] {4}, 4, 1, SearchListener.SILENT);
        TrivetSettings settings = new TrivetSettings(false, true, true, true, 0, 1);
        for (BlockModule module : BlockModule.of(model.vit(), base)) {
            VitModel quantized = new Quantization(model, KERNELS, images, module.alone(base, 4), settings)
                    .run(SearchListener.SILENT);
            float[] a = Logits.of(model, images);
            float[] b = Logits.of(quantized, images);
            double expected = 0;
            for (int n = 0; n < a.length; n++) {
                expected += ((double) a[n] - b[n]) * ((double) a[n] - b[n]) / images.size();
            }
            double measured = sensitivity.modules().stream()
                    .filter(m -> m.name().equals(module.name()))
                    .findFirst()
                    .orElseThrow()
                    .widths()
                    .getFirst()
                    .logitsOmega();
            assertThat(measured).as(module.name()).isCloseTo(expected, within(1e-3 * expected));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "deit_distilled_micro"})
    void moreBitsHurtLess(String micro) {
        ModuleSensitivity sensitivity = measure(micro, 4, new int[] {4, 6, 8, 10}, 1);
        assertThat(sensitivity.modules())
                .hasSize(2 * Fixtures.micro(micro).vit().depth());
        for (ModuleSensitivity.Module module : sensitivity.modules()) {
            for (int w = 1; w < module.widths().size(); w++) {
                // Each two bits divide the step by four and the squared error by sixteen.
                assertThat(module.widths().get(w).mapOmega())
                        .as(module.name())
                        .isPositive()
                        .isLessThan(module.widths().get(w - 1).mapOmega() / 4);
                assertThat(module.widths().get(w).featureOmega())
                        .isPositive()
                        .isLessThan(module.widths().get(w - 1).featureOmega() / 4);
            }
        }
    }

    @Test
    void threadsDoNotMatter() {
        assertThat(measure("vit_gap_micro", 5, new int[] {4, 9}, 5))
                .isEqualTo(measure("vit_gap_micro", 5, new int[] {4, 9}, 1));
    }

    @Test
    void aModuleIsMeasuredAlone() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        QuantizationPlan base = QuantizationPlan.uniform(model.vit(), 8, 8, 8);
        List<QuantizationPlan> plans = Collections.synchronizedList(new ArrayList<>());
        List<Long> progress = new ArrayList<>();
        Function<QuantizationPlan, UnitSearch> method = plan -> {
            plans.add(plan);
            return trivet(model).apply(plan);
        };
        Fixtures.Noise images = new Fixtures.Noise(model.vit(), 6, 5);
        ModuleSensitivity.measure(
                model, KERNELS, images, method, base, new int[] {5, 6}, 2, 2, (stage, done, total) -> {
                    assertThat(total).isEqualTo(8);
                    progress.add(done);
                });
        assertThat(progress).containsExactly(1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L);
        assertThat(images.loads.get()).isLessThanOrEqualTo(2 * 2); // float and float again, of two images
        assertThat(plans).hasSize(8).allSatisfy(plan -> {
            List<String> quantized = plan.operators().stream()
                    .filter(o -> !o.isFloat())
                    .map(OperatorPlan::operator)
                    .toList();
            String name = quantized.getFirst();
            String module = name.substring(0, name.lastIndexOf('.'));
            assertThat(quantized)
                    .containsExactlyElementsOf(QuantizationPlan.names(model.vit()).stream()
                            .filter(o -> o.startsWith(module + "."))
                            .toList());
        });
    }

    @Test
    void aModuleLeftInFloatHasNoEntry() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        List<OperatorPlan> operators = new ArrayList<>();
        for (OperatorPlan o : QuantizationPlan.uniform(model.vit(), 8, 8, 8).operators()) {
            boolean excluded = o.operator().startsWith("blocks.0.mlp");
            operators.add(excluded ? new OperatorPlan(o.operator(), 32, 32) : o);
        }
        ModuleSensitivity sensitivity = new Quantization(
                        model,
                        KERNELS,
                        new Fixtures.Noise(model.vit(), 2, 5),
                        new QuantizationPlan(operators),
                        TrivetSettings.defaults(0, 2))
                .sensitivity(new int[] {6}, SearchListener.SILENT);
        assertThat(sensitivity.modules())
                .extracting(ModuleSensitivity.Module::name)
                .containsExactly("blocks.0.attn", "blocks.1.attn", "blocks.1.mlp");
    }

    @Test
    void unusableCandidatesAreRefused() {
        for (int[] bits : new int[][] {{}, {6, 6}, {1}, {11}}) {
            assertThatThrownBy(() -> measure("vit_gap_micro", 1, bits, 1))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("candidate bits");
        }
    }
}
