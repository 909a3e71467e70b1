package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.OnednnKernels;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Consumer;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a user does with a checkpoint, for every golden model: quantize, write, read, run anywhere, stop and go on. */
class GoldenQuantizationTest {
    private static final Provenance NONE = new Provenance(Map.of(), Optional.empty(), Optional.empty());

    @TempDir
    Path folder;

    /** The paper's method with fewer candidates and rounds than its defaults, which take a Swin's many windows a minute. */
    private static MethodSettings method(String name, long seed, int threads) {
        return name.equals("trivet")
                ? TrivetSettings.defaults(seed, threads)
                : new LiuSettings(true, true, RankReduction.MEAN, false, false, false, 11, 3, seed, threads);
    }

    private static Quantization quantization(VitModel model, MethodSettings settings, int bits) {
        return quantization(model, settings, bits, 8);
    }

    private static Quantization quantization(VitModel model, MethodSettings settings, int bits, int count) {
        CalibrationImages images = new Fixtures.Noise(model.geometry(), count, 1);
        QuantizationPlan plan = QuantizationPlan.uniform(model.geometry(), bits, bits, 8);
        return new Quantization(model, new VectorKernels(), images, plan, settings);
    }

    private Path write(VitModel model) {
        Path file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, model, NONE);
        return file;
    }

    private VitModel throughAFile(VitModel model) {
        try (SafetensorsFile source = SafetensorsFile.open(write(model))) {
            return QuantizedModelFile.read(source).model();
        }
    }

    /** Runs something on every provider that loads here. */
    private static void onEach(Consumer<Kernels> use) {
        List<Kernels> providers = new ArrayList<>(List.of(new ReferenceKernels(), new VectorKernels()));
        try {
            providers.add(new OnednnKernels());
        } catch (UnsatisfiedLinkError | UnsupportedOperationException e) {
            System.err.println("oneDNN is not tested on this machine: " + e.getMessage());
        }
        for (Kernels kernels : providers) {
            try (kernels) {
                use.accept(kernels);
            }
        }
    }

    /** Logits of images that the search has not seen agree to 20 dB, and are the same bits whatever computes them. */
    @ParameterizedTest
    @CsvSource({
        "vit_micro, trivet",
        "vit_micro, liu2021",
        "vit_gap_micro, trivet",
        "vit_gap_micro, liu2021",
        "deit_distilled_micro, trivet",
        "deit_distilled_micro, liu2021",
        "pth_vit_micro/state_dict.pth, trivet",
        "pth_vit_micro/state_dict.pth, liu2021",
        "pth_vit_micro/checkpoint_with_model_key.pth, trivet",
        "pth_vit_micro/checkpoint_with_model_key.pth, liu2021",
        "pth_vit_micro/state_dict_fp16.pth, trivet",
        "pth_vit_micro/state_dict_fp16.pth, liu2021",
        "pth_vit_micro/state_dict_bf16.pth, trivet",
        "pth_vit_micro/state_dict_bf16.pth, liu2021",
        "hf_vit_micro, trivet",
        "hf_vit_micro, liu2021",
        "hf_deit_micro, trivet",
        "hf_deit_micro, liu2021",
        "hf_deit_teacher_micro, trivet",
        "hf_deit_teacher_micro, liu2021",
        "swin_micro, trivet",
        "swin_micro, liu2021",
        "swin_micro_window4, trivet",
        "swin_micro_window4, liu2021",
        "hf_swin_micro, trivet",
        "hf_swin_micro, liu2021",
        "swin_padded_micro, trivet",
        "swin_padded_micro, liu2021",
        "swin_padded_first_micro, trivet",
        "swin_padded_first_micro, liu2021",
        "deit3_micro, trivet",
        "deit3_micro, liu2021"
    })
    void eightBitsKeepTheLogitsOnEveryProvider(String name, String method) {
        VitModel model = Fixtures.micro(name);
        VitModel quantized =
                throughAFile(quantization(model, method(method, 0, 2), 8).run(SearchListener.SILENT));
        CalibrationImages unseen = new Fixtures.Noise(model.geometry(), 6, 99);
        Map<String, float[]> logits = new LinkedHashMap<>();
        onEach(kernels -> logits.put(kernels.name(), Logits.of(quantized, kernels, unseen)));
        float[] defined = Objects.requireNonNull(logits.get("reference"));
        logits.forEach((provider, values) -> assertThat(values).as(provider).isEqualTo(defined));
        double sqnr = Logits.sqnrDb(Logits.of(model, unseen), defined);
        System.out.printf("%s, %s, 8 bits: logits SQNR %.1f dB%n", name, method, sqnr);
        assertThat(sqnr).isGreaterThanOrEqualTo(20);
    }

    /** The same seed gives the same bytes on any number of threads, and from wherever a run was broken off. */
    @ParameterizedTest
    @CsvSource({
        "swin_micro, trivet, 4",
        "swin_micro_window4, liu2021, 6",
        "swin_padded_micro, trivet, 6",
        "swin_padded_first_micro, liu2021, 8"
    })
    void aSwinThatIsTakenUpAgainHasTheSameBytes(String name, String method, int bits) throws IOException {
        VitModel model = Fixtures.micro(name);
        int images = 3;
        Quantization quantization = quantization(model, method(method, 3, 2), bits, images);
        List<VitModel> reached = new ArrayList<>();
        VitModel expected = quantization.run(
                quantization.start(), SearchListener.SILENT, choice -> {}, (units, state) -> reached.add(state));
        assertThat(reached).hasSize(model.geometry().units().size());
        byte[] bytes = Files.readAllBytes(write(expected));
        Quantization oneThread = quantization(model, method(method, 3, 1), bits, images);
        assertThat(Files.readAllBytes(write(oneThread.run(SearchListener.SILENT))))
                .isEqualTo(bytes);
        for (int units : new int[] {1, 3, reached.size() - 1}) {
            VitModel left = throughAFile(reached.get(units - 1));
            VitModel resumed = quantization.run(
                    new Quantization.Begun(left, units), SearchListener.SILENT, choice -> {}, SearchCheckpoint.NONE);
            assertThat(Files.readAllBytes(write(resumed)))
                    .as("after %d units", units)
                    .isEqualTo(bytes);
        }
    }

    /** Modules of a Swin, patch mergings among them, are measured one by one, and the plan names them all. */
    @ParameterizedTest
    @CsvSource({"swin_micro_window4, trivet", "swin_micro_window4, liu2021"})
    void noiseIsNamedByModule(String name, String method) {
        VitModel model = Fixtures.micro(name);
        Quantization quantization = quantization(model, method(method, 0, 2), 8);
        VitModel quantized = quantization.run(SearchListener.SILENT);
        assertThat(quantized.linears().keySet()).contains("layers.1.downsample.reduction");
        assertThat(quantization.plan().operator("layers.1.downsample.reduction").weightBits())
                .isEqualTo(8);
        assertThat(quantization.plan().operators()).hasSize(2 + 2 + 6 * 6);
        CalibrationImages images = new Fixtures.Noise(model.geometry(), 3, 5);
        ModuleNoise noise = ModuleNoise.measure(model, quantized, new VectorKernels(), images, 3);
        assertThat(noise.modules())
                .extracting(ModuleNoise.Module::module)
                .containsSubsequence(
                        "patch_embed",
                        "layers.0.blocks.0.attn",
                        "layers.0.blocks.0.mlp",
                        "layers.0.blocks.1.attn",
                        "layers.1.downsample",
                        "layers.1.blocks.0.attn",
                        "layers.2.downsample",
                        "head")
                .hasSize(2 + 2 + 2 * 6);
        assertThat(noise.modules()).allSatisfy(module -> {
            assertThat(module.sqnrDb()).isBetween(20.0, 80.0);
            assertThat(module.weightBits()).isEqualTo(8);
        });
    }
}
