package dev.trivet.onnxruntime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.format.ModelFile;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.onnx.OnnxExport;
import dev.trivet.onnx.OnnxRuntime;
import dev.trivet.onnx.OnnxSession;
import dev.trivet.ptq.RangeQuantization;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import dev.trivet.tensor.SafetensorsFile;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Exported models, run by ONNX Runtime. */
class ExportedModelTest {
    /**
     * Least signal over difference between a quantized model here and there, decibels. The two round a few sums differently; now and then that
     * moves a value to the neighbouring code, one step of an 8-bit grid, and what follows with it. A wrong zero point, scale, order or
     * operand leaves next to nothing of the signal.
     */
    private static final double SAME_CODES_DB = 35;

    @TempDir
    Path folder;

    /** A recorded run: {@code [images, channels, size, size]} and {@code [images, classes]}. */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Recorded(VitModel model, int images, float[] pixels, float[] logits) {
        static Recorded of(String name) {
            Path golden = Path.of(System.getProperty("trivet.goldens"), name);
            VitModel model = ModelFile.read(golden, Optional.empty()).model();
            try (SafetensorsFile file = SafetensorsFile.open(golden.resolve("golden.safetensors"))) {
                float[] logits = file.find("logits")
                        .or(() -> file.find("output"))
                        .orElseThrow()
                        .toFloats();
                float[] pixels = file.find("input").orElseThrow().toFloats();
                return new Recorded(model, logits.length / model.geometry().classes(), pixels, logits);
            }
        }
    }

    private float[] onnx(VitModel model, Recorded recorded) {
        return onnx(model, recorded, false);
    }

    private float[] onnx(VitModel model, Recorded recorded, boolean trimmed) {
        Path file = folder.resolve("model.onnx");
        OnnxExport.write(model, "test", trimmed, file);
        OnnxRuntime runtime = OnnxRuntime.find().orElseThrow();
        try (OnnxSession session = runtime.open(file, recorded.images, 1)) {
            session.input().put(0, recorded.pixels);
            session.run();
            float[] logits = new float[session.logits().capacity()];
            session.logits().get(0, logits);
            return logits;
        }
    }

    private static float[] trivet(VitModel model, Recorded recorded) {
        try (ModelExecutor executor =
                        ModelExecutor.compile(model, KernelSelection.get().kernels(), recorded.images);
                ModelSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment out = session.allocateLogits();
            MemorySegment.copy(recorded.pixels, 0, in, JAVA_FLOAT, 0, recorded.pixels.length);
            session.run(in, recorded.images, out);
            return out.toArray(JAVA_FLOAT);
        }
    }

    private static double sqnr(float[] signal, float[] other) {
        double energy = 0;
        double noise = 0;
        for (int i = 0; i < signal.length; i++) {
            energy += (double) signal[i] * signal[i];
            noise += Math.pow((double) signal[i] - other[i], 2);
        }
        return 10 * Math.log10(energy / noise);
    }

    private static VitModel quantized(Recorded recorded) {
        Kernels kernels = KernelSelection.get().kernels();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment pixels = arena.allocateFrom(
                    JAVA_FLOAT, Arrays.copyOf(recorded.pixels, recorded.pixels.length / recorded.images));
            return RangeQuantization.of(recorded.model, kernels, pixels);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "vit_micro",
                "vit_gap_micro",
                "vit_norm_gap_micro",
                "vit_registers_micro",
                "vit_pre_logits_micro",
                "deit_distilled_micro",
                "swin_micro",
                "swin_micro_window4",
                "swin_padded_micro",
                "hf_swin_positions_micro"
            })
    void floatModelsGiveTheRecordedLogits(String name) {
        Recorded recorded = Recorded.of(name);
        for (boolean trimmed : new boolean[] {false, true}) {
            compare(name, onnx(recorded.model, recorded, trimmed), recorded);
        }
    }

    private static void compare(String name, float[] logits, Recorded recorded) {
        assertThat(logits).hasSameSizeAs(recorded.logits);
        for (int i = 0; i < logits.length; i++) {
            assertThat(logits[i])
                    .as(name + ", logit " + i)
                    .isCloseTo(recorded.logits[i], within(1e-4f + 1e-3f * Math.abs(recorded.logits[i])));
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"vit_micro", "vit_gap_micro", "deit_distilled_micro", "swin_micro_window4", "swin_padded_micro"})
    void quantizedModelsGiveTrivetsLogits(String name) {
        Recorded recorded = Recorded.of(name);
        VitModel model = quantized(recorded);
        for (boolean trimmed : new boolean[] {false, true}) {
            assertThat(sqnr(trivet(model, recorded), onnx(model, recorded, trimmed)))
                    .as(name)
                    .isGreaterThan(SAME_CODES_DB);
        }
    }

    /** Narrow ranges, picked levels of unsigned and signed operands, softmax codes that are not normalized, equalized pixels, a float layer. */
    @Test
    void everyKindOfQuantizerGivesTrivetsLogits() {
        Recorded recorded = Recorded.of("vit_micro");
        VitModel plain = quantized(recorded);
        Map<String, LinearLayer> linears = new LinkedHashMap<>(plain.linears());
        linears.computeIfPresent("blocks.0.attn.qkv", (_, l) -> with(l, input -> narrowed(input, 2)));
        linears.computeIfPresent("blocks.0.mlp.fc1", (_, l) -> with(l, ExportedModelTest::everyThird));
        linears.put("blocks.1.mlp.fc1", recorded.model.linear("blocks.1.mlp.fc1"));
        linears.computeIfPresent(VitNames.PATCH_EMBEDDING, (_, l) -> equalized((LinearLayer.Quantized) l));
        Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>(plain.matmuls());
        matmuls.computeIfPresent(
                "blocks.0.attn.qk", (_, q) -> new MatmulQuantizers(everyThird(q.left()), narrowed(q.right(), 1)));
        matmuls.computeIfPresent(
                "blocks.0.attn.av", (_, q) -> new MatmulQuantizers(q.left(), everyThird(q.right()), false));
        matmuls.remove("blocks.1.attn.qk");
        VitModel model = new VitModel(plain.config(), linears, matmuls, plain.floats());
        float[] ours = trivet(model, recorded);
        assertThat(sqnr(ours, trivet(plain, recorded))).isLessThan(30); // the changes do something
        assertThat(sqnr(ours, onnx(model, recorded))).isGreaterThan(SAME_CODES_DB);
    }

    private static LinearLayer with(LinearLayer layer, UnaryOperator<ActivationQuantizer> change) {
        LinearLayer.Quantized q = (LinearLayer.Quantized) layer;
        return new LinearLayer.Quantized(
                q.name(), q.outputs(), q.inputs(), q.bits(), q.codes(), q.scales(), q.bias(), change.apply(q.input()));
    }

    /** Half of the range with the same step: values beyond are clipped. */
    private static ActivationQuantizer narrowed(ActivationQuantizer q, int each) {
        int zero = q.zeroPoint();
        return new ActivationQuantizer(
                q.scale(), zero, zero - (zero - q.lowest()) / 2 - each, zero + (q.highest() - zero) / 2);
    }

    private static ActivationQuantizer everyThird(ActivationQuantizer q) {
        List<Integer> levels = IntStream.rangeClosed(q.lowest(), q.highest())
                .filter(code -> (code - q.lowest()) % 3 == 0)
                .boxed()
                .toList();
        return new ActivationQuantizer(q.scale(), q.zeroPoint(), q.lowest(), levels.getLast(), levels);
    }

    private static LinearLayer equalized(LinearLayer.Quantized q) {
        float[] factors = new float[q.inputs()];
        float[] offsets = new float[q.inputs()];
        for (int k = 0; k < factors.length; k++) {
            factors[k] = 1 + k % 3 / 8f;
            offsets[k] = k % 5 / 16f;
        }
        return new LinearLayer.Quantized(
                q.name(),
                q.outputs(),
                q.inputs(),
                q.coding(),
                q.codes(),
                q.scales(),
                q.bias(),
                q.input(),
                Optional.of(new ChannelAffine(factors, offsets)));
    }
}
