package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A quantized model gives the same bits on every provider: operands, integer sums, activations and logits of every layer. */
class LayerBitIdentityTest {
    /** Operators per block: 4 linears of two recorded buffers, 2 products of three, and the block's output. */
    private static final int PER_BLOCK = 4 * 2 + 2 * 3 + 1;

    @ParameterizedTest
    @CsvSource({"vit_micro, 3, 1", "deit_distilled_micro, 2, 2", "vit_gap_micro, 2, 1"})
    void microModels(String name, int depth, int heads) {
        Path folder = Fixtures.golden(name);
        float[] image = firstInput(folder);
        VitModel model = MaxScaling.quantize(Fixtures.load(folder), image);
        Recording expected = compare(model, image);
        // The patch embedding (two buffers, one activation), the blocks, the norm, the heads, the logits.
        assertThat(expected.names()).hasSize(3 + depth * PER_BLOCK + 1 + 2 * heads + 1);
    }

    /** Widths that take two bytes, widths below a byte, and activations that use some codes only. */
    @ParameterizedTest
    @CsvSource({"10, false", "9, false", "4, false", "3, false", "8, true", "6, true"})
    void otherWidths(int bits, boolean levels) {
        Path folder = Fixtures.golden("vit_micro");
        float[] image = firstInput(folder);
        compare(MaxScaling.quantize(Fixtures.load(folder), image, bits, levels), image);
    }

    /** Attention rows normalized by their codes; at 8 bits and more the result stays near the float model's. */
    @ParameterizedTest
    @CsvSource({
        "vit_micro, 8, false",
        "vit_micro, 4, true",
        "vit_micro, 10, false",
        "vit_micro, 2, false",
        "deit_distilled_micro, 8, true",
        "deit_distilled_micro, 10, false",
        "vit_gap_micro, 4, true",
        "vit_gap_micro, 9, false"
    })
    void normalizedRows(String name, int bits, boolean levels) {
        Path folder = Fixtures.golden(name);
        float[] image = firstInput(folder);
        VitModel model = Fixtures.load(folder);
        VitModel quantized = MaxScaling.quantize(model, image, bits, levels, true);
        assertThat(quantized.matmuls().values())
                .filteredOn(q -> q.normalized())
                .hasSize(model.vit().depth());
        Recording expected = compare(quantized, image);
        if (bits >= 8 && !levels) {
            float[] wanted = floatLogits(model, image);
            assertThat(sqnrDb(wanted, expected.logits())).isGreaterThan(20);
        }
    }

    /** As above; a patch merging has two buffers and an activation. */
    @ParameterizedTest
    @CsvSource({"swin_micro, 4, 1", "swin_micro_window4, 6, 2", "swin_padded_micro, 6, 2"})
    void microSwins(String name, int blocks, int mergings) {
        Path folder = Fixtures.golden(name);
        float[] image = firstInput(folder);
        VitModel model = MaxScaling.quantize(Fixtures.load(folder), image);
        Recording expected = compare(model, image);
        assertThat(expected.names()).hasSize(3 + blocks * PER_BLOCK + 3 * mergings + 1 + 2 + 1);
    }

    @ParameterizedTest
    @CsvSource({"10, false", "4, true"})
    void otherWidthsOfASwin(int bits, boolean levels) {
        Path folder = Fixtures.golden("swin_padded_micro");
        float[] image = firstInput(folder);
        compare(MaxScaling.quantize(Fixtures.load(folder), image, bits, levels), image);
    }

    @Test
    @Tag("shared")
    void deitTiny() {
        Path folder = Fixtures.shared("data/deit_tiny_patch16_224");
        float[] image = firstInput(folder);
        VitModel model = MaxScaling.quantize(Fixtures.load(folder), image);
        Recording expected = compare(model, image);
        assertThat(expected.names()).hasSize(3 + 12 * PER_BLOCK + 1 + 2 + 1);
    }

    /** Codes of -1, 0 and 1 are codes like any others. */
    @ParameterizedTest
    @CsvSource({"vit_micro, false", "vit_gap_micro, true", "swin_padded_micro, true"})
    void ternaryWeights(String name, boolean perChannel) {
        Path folder = Fixtures.golden(name);
        float[] image = firstInput(folder);
        VitModel model = Fixtures.load(folder);
        VitModel quantized = MaxScaling.ternary(model, MaxScaling.quantize(model, image), perChannel);
        assertThat(quantized.linears().values())
                .allSatisfy(layer ->
                        assertThat(((LinearLayer.Quantized) layer).isTernary()).isTrue());
        compare(quantized, image);
    }

    private static float[] floatLogits(VitModel model, float[] image) {
        try (ModelExecutor executor = ModelExecutor.compile(model, new ReferenceKernels(), 1);
                ModelSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment.copy(image, 0, in, JAVA_FLOAT, 0, image.length);
            MemorySegment logits = session.allocateLogits();
            session.run(in, 1, logits, Optional.empty());
            return logits.toArray(JAVA_FLOAT);
        }
    }

    private static double sqnrDb(float[] wanted, byte[] bytes) {
        float[] actual = MemorySegment.ofArray(bytes).toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
        double signal = 0;
        double noise = 0;
        for (int i = 0; i < wanted.length; i++) {
            signal += (double) wanted[i] * wanted[i];
            noise += (double) (wanted[i] - actual[i]) * (wanted[i] - actual[i]);
        }
        return 10 * Math.log10(signal / noise);
    }

    private static Recording compare(VitModel model, float[] image) {
        Recording expected = Recording.of(model, new ReferenceKernels(), image, 1);
        List<Kernels> providers = Fixtures.providers();
        assertThat(providers).extracting(Kernels::name).contains("vector");
        for (Kernels kernels : providers) {
            if (!kernels.name().equals("reference")) {
                Recording.of(model, kernels, image, 1).assertSameAs(expected, kernels.name());
            }
        }
        return expected;
    }

    private static float[] firstInput(Path folder) {
        try (SafetensorsFile golden = SafetensorsFile.open(folder.resolve("golden.safetensors"))) {
            float[] all = golden.find("input").orElseThrow().toFloats();
            int images =
                    Math.toIntExact(golden.find("input").orElseThrow().shape().getFirst());
            return Arrays.copyOf(all, all.length / images);
        }
    }
}
