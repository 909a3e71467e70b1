package dev.trivet.train;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.model.Geometry;
import dev.trivet.model.Interpolation;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import dev.trivet.train.TrainingSettings.Quantization;
import java.lang.foreign.MemorySegment;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;

class QuantizedStartTest {
    private static final VitConfig VIT =
            new VitConfig(4, 2, 1, 8, 1, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);
    private static final Preprocessing PREPROCESSING = preprocessing(4);
    private static final ActivationQuantizer PIXELS = new ActivationQuantizer(1, 0, 0, 255);

    private static Preprocessing preprocessing(int side) {
        return new Preprocessing(side, side, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f));
    }

    private static TrainingSettings settings(Recipe recipe, Quantization quantization) {
        TrainingSettings small = SmallTraining.settings(
                recipe,
                2,
                new TrainingSettings.Steps(16, 1, 3e-3, 0.05, 1, 1, 0.9, UpdateRule.ADAMW),
                false,
                0,
                7,
                Precision.FP32,
                1);
        return new TrainingSettings(
                recipe,
                2,
                small.steps(),
                small.variation(),
                0.1,
                0,
                small.distillation(),
                quantization,
                7,
                Precision.FP32,
                Device.CPU,
                1);
    }

    private static TrainingSettings ternary() {
        return settings(Recipe.TERNARY, SmallTraining.TERNARY);
    }

    /** Random codes and scales, ternary between the edges and 8 bits there; pixels are scaled by 51 and moved by 102. */
    private static VitModel quantized(Geometry geometry, float bias) {
        Random random = new Random(3);
        Map<String, LinearLayer> linears = new HashMap<>();
        for (VitTensors.Linear spec : VitTensors.of(geometry).linears()) {
            boolean patches = spec.name().equals(VitNames.PATCH_EMBEDDING);
            boolean edge = patches || spec.name().startsWith("head");
            byte[] codes = new byte[spec.outputs() * spec.inputs()];
            for (int i = 0; i < codes.length; i++) {
                codes[i] = (byte) (edge ? random.nextInt(255) - 127 : random.nextInt(3) - 1);
            }
            float[] scales = new float[spec.outputs()];
            for (int n = 0; n < scales.length; n++) {
                scales[n] = TernaryWeights.storedScale(0.01 + random.nextDouble());
                // Every row has its largest code, so that 8 bits are found again.
                codes[n * spec.inputs()] = (byte) (edge ? 127 : 1);
            }
            float[] biases = new float[spec.outputs()];
            Arrays.fill(biases, bias);
            linears.put(
                    spec.name(),
                    new LinearLayer.Quantized(
                            spec.name(),
                            spec.outputs(),
                            spec.inputs(),
                            edge ? WeightCoding.BITS_8 : WeightCoding.TERNARY,
                            MemorySegment.ofArray(codes),
                            scales,
                            biases,
                            PIXELS,
                            patches
                                    ? Optional.of(new ChannelAffine(new float[] {51}, new float[] {102})
                                            .repeated(spec.inputs()))
                                    : Optional.empty()));
        }
        Map<String, float[]> floats = new HashMap<>();
        VitTensors.of(geometry).floats().forEach((name, shape) -> {
            float[] values = new float[Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact))];
            Arrays.fill(values, 0.5f);
            floats.put(name, values);
        });
        ModelConfig config = new ModelConfig("micro", geometry, preprocessing(geometry.imageSize()), List.of());
        return new VitModel(config, linears, Map.of(), floats);
    }

    /** The property that the start rests on: what training makes of these latent weights is the file. */
    @Test
    void trainingMakesTheFilesOwnLayersOfIt() {
        VitModel file = quantized(VIT, 0.25f);
        VitModel latent = QuantizedStart.of(file, ternary());
        ParameterLayout layout = ParameterLayout.of(VIT);
        FloatBuffer values = FloatBuffer.allocate(layout.total());
        Map<String, float[]> biases = new HashMap<>();
        for (ParameterLayout.Slot slot : layout.slots()) {
            String name = slot.name();
            String layer = name.substring(0, Math.max(0, name.lastIndexOf('.')));
            if (latent.linears().containsKey(layer)) {
                LinearLayer.Float32 linear = (LinearLayer.Float32) latent.linear(layer);
                values.put(slot.offset(), name.endsWith(".bias") ? linear.bias() : linear.weight());
                biases.put(layer + ".bias", linear.bias());
            }
        }
        Map<String, ActivationQuantizer> inputs = new HashMap<>();
        latent.linears().keySet().forEach(name -> inputs.put(name, PIXELS));
        Map<String, LinearLayer> made = new QuantizedWeights(
                        layout,
                        VIT,
                        PREPROCESSING,
                        new WeightQuantizer.Ternary(true, TernaryWeights.Scale.SURVIVORS, 2.5f),
                        new WeightQuantizer.EightBit())
                .layers(values, biases, inputs);
        for (String name : file.linears().keySet()) {
            LinearLayer.Quantized wanted = (LinearLayer.Quantized) file.linear(name);
            LinearLayer.Quantized found = (LinearLayer.Quantized) Objects.requireNonNull(made.get(name));
            assertThat(found.codes().toArray(JAVA_BYTE))
                    .as(name)
                    .isEqualTo(wanted.codes().toArray(JAVA_BYTE));
            for (int n = 0; n < wanted.outputs(); n++) {
                // 8-bit scales come back through a division.
                assertThat(found.scale(n)).as(name).isCloseTo(wanted.scale(n), within(1e-6f * wanted.scale(n)));
                assertThat(!wanted.isTernary() || found.scale(n) == wanted.scale(n))
                        .as(name)
                        .isTrue();
                assertThat(found.bias()[n]).as(name).isCloseTo(0.25f, within(0.05f));
            }
        }
        assertThat(latent.floats()).isEqualTo(file.floats());
    }

    /** Code 127 with scale s for 51 x + 102 is the weight 127 * 51 s for x, and adds 102 times the row's sum to the bias. */
    @Test
    void readsNormalisedValuesInPlaceOfPixels() {
        VitModel file = quantized(VIT, 0.25f);
        LinearLayer.Quantized pixels = (LinearLayer.Quantized) file.linear(VitNames.PATCH_EMBEDDING);
        LinearLayer.Float32 made =
                (LinearLayer.Float32) QuantizedStart.of(file, ternary()).linear(VitNames.PATCH_EMBEDDING);
        float scale = pixels.scale(0);
        int sum = 0;
        for (int k = 0; k < 4; k++) {
            sum += pixels.code(k);
        }
        assertThat(made.weight()[0]).isCloseTo(127 * 51 * scale, within(1e-2f));
        assertThat(made.bias()[0]).isCloseTo(0.25f + 102 * scale * sum, within(1e-2f));
    }

    @Test
    void refusesWhatWouldNotGiveTheFileBack() {
        VitModel file = quantized(VIT, 0);
        Quantization t = SmallTraining.TERNARY;
        assertThatThrownBy(() -> QuantizedStart.of(file, settings(Recipe.W8A8, t)))
                .hasMessage("only recipe ternary starts from a ternary file");
        assertThatThrownBy(() -> QuantizedStart.of(
                        file, settings(Recipe.TERNARY, new Quantization(1, false, t.scale(), 2.5, false))))
                .hasMessage("blocks.0.attn.qkv has a scale per channel");
        assertThatThrownBy(() -> QuantizedStart.of(
                        file,
                        settings(
                                Recipe.TERNARY,
                                new Quantization(1, true, TernaryWeights.Scale.ABSOLUTE_MEAN, 2.5, false))))
                .hasMessage("the scales of a ternary file are not those of absmean");
        assertThatThrownBy(() -> QuantizedStart.of(
                        file, settings(Recipe.TERNARY, new Quantization(1, true, t.scale(), 2.5, true))))
                .hasMessageEndingWith(" is not ternary");
        VitModel latent = QuantizedStart.of(file, ternary());
        assertThatThrownBy(() -> QuantizedStart.of(latent, ternary())).hasMessage("blocks.0.attn.qkv is not ternary");
    }

    /** A patch merging has no bias of its own; post-training quantization gives it one. */
    @Test
    void refusesABiasThatTrainingWouldDrop() {
        SwinConfig swin = ModelProbe.SMALL_SWIN;
        assertThatThrownBy(() -> QuantizedStart.of(quantized(swin, 0.5f), ternary()))
                .hasMessageEndingWith("downsample.reduction has a bias, which training has no place for");
        assertThat(QuantizedStart.of(quantized(swin, 0), ternary()).isQuantized())
                .isFalse();
    }
}
