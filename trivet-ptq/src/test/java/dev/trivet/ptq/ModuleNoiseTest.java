package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ModuleNoiseTest {
    private static final List<String> MODULES = List.of(
            "patch_embed",
            "blocks.0.attn",
            "blocks.0.mlp",
            "blocks.1.attn",
            "blocks.1.mlp",
            "blocks.2.attn",
            "blocks.2.mlp",
            "head");

    private static ModuleNoise measure(VitModel a, VitModel b) {
        return ModuleNoise.measure(a, b, new VectorKernels(), new Fixtures.Noise(a.vit(), 6, 3), 4);
    }

    /** Weights rounded to {@code bits} by the largest magnitude; the input to 8 bits of a range that holds it. */
    static VitModel rounded(VitModel model, String name, int bits) {
        LinearLayer.Float32 layer = (LinearLayer.Float32) model.linear(name);
        float largest = 0;
        for (float w : layer.weight()) {
            largest = Math.max(largest, Math.abs(w));
        }
        int most = (1 << (bits - 1)) - 1;
        float step = largest / most;
        byte[] codes = new byte[layer.weight().length];
        for (int i = 0; i < codes.length; i++) {
            codes[i] = (byte) Math.rint(layer.weight()[i] / step);
        }
        Map<String, LinearLayer> linears = new LinkedHashMap<>(model.linears());
        linears.put(
                name,
                new LinearLayer.Quantized(
                        name,
                        layer.outputs(),
                        layer.inputs(),
                        bits,
                        MemorySegment.ofArray(codes),
                        new float[] {step},
                        layer.bias(),
                        new ActivationQuantizer(8f / 255, 128, 0, 255)));
        return new VitModel(model.config(), linears, model.matmuls(), model.floats());
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "vit_gap_micro", "deit_distilled_micro"})
    void aModelDoesNotDifferFromItself(String name) {
        VitModel model = Fixtures.micro(name);
        ModuleNoise noise = measure(model, model);
        assertThat(noise.basis().relation()).isEqualTo(StreamBasis.Relation.SAME);
        assertThat(noise.modules())
                .isNotEmpty()
                .allSatisfy(m -> assertThat(m.sqnrDb()).isEqualTo(Double.POSITIVE_INFINITY));
        assertThat(noise.worst()).isEmpty();
    }

    @Test
    void modulesAreThePartsOfTheModel() {
        VitModel model = Fixtures.micro("vit_micro");
        assertThat(measure(model, model).modules())
                .extracting(ModuleNoise.Module::module)
                .containsExactlyElementsOf(MODULES);
    }

    /** One layer of one module is rounded, and nothing else has noise. */
    @ParameterizedTest
    @CsvSource({
        "patch_embed.proj, patch_embed",
        "blocks.0.attn.proj, blocks.0.attn",
        "blocks.1.attn.qkv, blocks.1.attn",
        "blocks.1.mlp.fc1, blocks.1.mlp",
        "blocks.2.mlp.fc2, blocks.2.mlp",
        "head, head"
    })
    void noiseStaysWithItsModule(String operator, String module) {
        VitModel model = Fixtures.micro("vit_micro");
        ModuleNoise noise = measure(model, rounded(model, operator, 4));
        assertThat(noise.worst()).hasSize(1);
        ModuleNoise.Module worst = noise.worst().getFirst();
        assertThat(worst.module()).isEqualTo(module);
        assertThat(worst.weightBits()).isEqualTo(4);
        assertThat(worst.activationBits()).isEqualTo(8);
        assertThat(worst.sqnrDb()).isBetween(3.0, 35.0);
        assertThat(noise.modules())
                .filteredOn(m -> !m.module().equals(module))
                .allSatisfy(m -> assertThat(m.weightBits()).isEqualTo(32));
    }

    /** A rotated model computes the same; all that is left is float32 rounding. */
    @ParameterizedTest
    @CsvSource({"vit_micro, 11", "vit_micro, 0", "vit_gap_micro, 11", "deit_distilled_micro, 11"})
    void aRotationIsNoNoise(String name, long seed) {
        VitModel model = Fixtures.micro(name);
        ModuleNoise noise = measure(model, ResidualRotation.apply(model, seed));
        assertThat(noise.basis().relation()).isEqualTo(StreamBasis.Relation.ROTATED);
        assertThat(noise.modules())
                .isNotEmpty()
                .allSatisfy(m -> assertThat(m.sqnrDb()).as(m.module()).isGreaterThan(80));
    }

    /** The rotation is found through a rounded embedding, and the coarse module is named all the same. */
    @Test
    void theCoarsestModuleOfARotatedModelIsNamed() {
        VitModel model = Fixtures.micro("vit_micro");
        VitModel rotated = ResidualRotation.apply(model, 5);
        VitModel quantized = rounded(rounded(rotated, "patch_embed.proj", 8), "blocks.1.mlp.fc2", 3);
        ModuleNoise noise = measure(model, quantized);
        assertThat(noise.basis().relation()).isEqualTo(StreamBasis.Relation.ROTATED);
        ModuleNoise.Module worst = noise.worst().getFirst();
        assertThat(worst.module()).isEqualTo("blocks.1.mlp");
        // The same rounding in a model whose rotation needs no finding.
        double expected = measure(rotated, quantized).worst().getFirst().sqnrDb();
        assertThat(worst.sqnrDb()).isCloseTo(expected, org.assertj.core.api.Assertions.within(0.5));
    }

    @Test
    void modelsThatHaveNothingInCommonAreSaidToHaveNothingInCommon() {
        VitModel model = Fixtures.micro("vit_micro");
        Map<String, float[]> floats = new LinkedHashMap<>(model.floats());
        float[] positions = new float[model.floats("pos_embed").length];
        java.util.Random random = new java.util.Random(1);
        for (int i = 0; i < positions.length; i++) {
            positions[i] = (float) random.nextGaussian();
        }
        floats.put("pos_embed", positions);
        VitModel other = new VitModel(model.config(), model.linears(), model.matmuls(), floats);
        ModuleNoise noise = measure(model, other);
        assertThat(noise.basis().relation()).isEqualTo(StreamBasis.Relation.UNRELATED);
        assertThat(noise.basis().description()).contains("cannot be given the same input");
        assertThat(noise.modules()).isEmpty();
    }

    @Test
    void geometriesMustBeEqual() {
        VitModel model = Fixtures.micro("vit_micro");
        VitModel other = Fixtures.micro("vit_gap_micro");
        assertThatThrownBy(() -> measure(model, other)).isInstanceOf(IllegalArgumentException.class);
    }
}
