package dev.trivet.format;

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
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.function.ToIntFunction;

/** The smallest model with every kind of layer: 4 x 4 pixels, one block, width 4, 3 classes. */
final class SmallModel {
    private SmallModel() {}

    private static final ActivationQuantizer BYTE = new ActivationQuantizer(0.5f, 3, 0, 255);

    /** All layers integer of 8 bits but the first, which stays float; one layer has a single scale. */
    static VitModel quantized() {
        return quantized(name -> 8, name -> BYTE);
    }

    /** Widths of 3, 4, 6, 8 and 10 bits; rows of 3 bits end inside a byte; one input has levels, one is wide. */
    static VitModel mixed() {
        return quantized(
                name -> switch (name) {
                    case "blocks.0.attn.qkv" -> 3;
                    case "blocks.0.attn.proj" -> 10;
                    case "blocks.0.mlp.fc1" -> 4;
                    case "blocks.0.mlp.fc2" -> 6;
                    default -> 8;
                },
                name -> switch (name) {
                    case "blocks.0.attn.proj" -> new ActivationQuantizer(0.25f, 512, 0, 1023);
                    case "blocks.0.mlp.fc2" ->
                        new ActivationQuantizer(0.5f, 16, 0, 255, List.of(0, 12, 15, 16, 18, 24, 80, 255));
                    default -> BYTE;
                });
    }

    /** Block layers ternary, in rows of 4 and 8 codes; one has a single scale, and one scales that half precision lacks. */
    static VitModel ternary() {
        VitModel model = quantized(name -> name.startsWith("blocks.") ? 2 : 8, name -> BYTE);
        Map<String, LinearLayer> linears = new LinkedHashMap<>(model.linears());
        linears.replaceAll((name, layer) ->
                layer instanceof LinearLayer.Quantized q && name.startsWith("blocks.") ? ternary(q) : layer);
        return new VitModel(model.config(), linears, model.matmuls(), model.floats());
    }

    private static LinearLayer ternary(LinearLayer.Quantized q) {
        byte[] codes = q.codes().toArray(ValueLayout.JAVA_BYTE);
        float[] scales = q.scales().clone();
        for (int i = 0; i < codes.length; i++) {
            codes[i] = (byte) Math.max(codes[i], -1);
        }
        for (int n = 0; n < scales.length && !q.name().endsWith("fc2"); n++) {
            scales[n] = TernaryWeights.storedScale(scales[n]);
        }
        MemorySegment stored = MemorySegment.ofArray(codes);
        return new LinearLayer.Quantized(
                q.name(), q.outputs(), q.inputs(), WeightCoding.TERNARY, stored, scales, q.bias(), q.input());
    }

    /** As {@link #quantized}, with attention weights coded as softmax's numerators, in eight levels. */
    static VitModel normalized() {
        VitModel model = quantized();
        Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>(model.matmuls());
        ActivationQuantizer levels =
                new ActivationQuantizer(1 / 255f, 0, 0, 254, List.of(0, 1, 3, 8, 21, 55, 144, 254));
        ActivationQuantizer signedLevels = new ActivationQuantizer(0.5f, 0, -128, 100, List.of(-128, -9, 7, 100));
        matmuls.put(VitNames.mixing(0), new MatmulQuantizers(levels, signedLevels, true));
        return new VitModel(model.config(), model.linears(), matmuls, model.floats());
    }

    /** As {@link #quantized}, with channels of a layer's input equalized. */
    static VitModel equalized(String name, boolean byColour) {
        VitModel model = quantized();
        LinearLayer plain = model.linear(name);
        LinearLayer.Quantized q = plain instanceof LinearLayer.Quantized quantized
                ? quantized
                : new LinearLayer.Quantized(
                        name,
                        plain.outputs(),
                        plain.inputs(),
                        8,
                        MemorySegment.ofArray(new byte[plain.outputs() * plain.inputs()]),
                        new float[] {1},
                        plain.bias(),
                        BYTE);
        float[] factor = new float[q.inputs()];
        float[] offset = new float[q.inputs()];
        for (int c = 0; c < factor.length; c++) {
            int kind = byColour ? c / Math.max(1, factor.length / 3) : c;
            factor[c] = 1f / (1 + kind);
            offset[c] = kind - 2;
        }
        Map<String, LinearLayer> linears = new LinkedHashMap<>(model.linears());
        linears.put(
                name,
                new LinearLayer.Quantized(
                        name,
                        q.outputs(),
                        q.inputs(),
                        q.coding(),
                        q.codes(),
                        q.scales(),
                        q.bias(),
                        q.input(),
                        Optional.of(new ChannelAffine(factor, offset))));
        return new VitModel(model.config(), linears, model.matmuls(), model.floats());
    }

    private static VitModel quantized(ToIntFunction<String> bits, Function<String, ActivationQuantizer> input) {
        VitConfig geometry = new VitConfig(4, 2, 3, 4, 1, 2, 8, 3, Pooling.TOKEN, true, false, false, 1e-6f);
        ModelConfig config = new ModelConfig(
                "vit_tiny_patch16_224",
                geometry,
                new Preprocessing(4, 5, Interpolation.BICUBIC, Preprocessing.HALF, Preprocessing.HALF),
                List.of("a", "b", "c"));
        SplittableRandom random = new SplittableRandom(1);
        VitTensors tensors = VitTensors.of(geometry);
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : tensors.linears()) {
            float[] bias = spec.bias() ? floats(random, spec.outputs()) : new float[spec.outputs()];
            linears.put(
                    spec.name(),
                    spec.name().equals(VitNames.PATCH_EMBEDDING)
                            ? new LinearLayer.Float32(
                                    spec.name(),
                                    spec.outputs(),
                                    spec.inputs(),
                                    floats(random, spec.outputs() * spec.inputs()),
                                    bias)
                            : quantized(spec, bias, random, bits.applyAsInt(spec.name()), input.apply(spec.name())));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        tensors.floats()
                .forEach((name, shape) -> floats.put(
                        name, floats(random, Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact)))));
        ActivationQuantizer signed = new ActivationQuantizer(0.125f, 0, -128, 127);
        Map<String, MatmulQuantizers> matmuls = Map.of(
                VitNames.scores(0), new MatmulQuantizers(signed, signed),
                VitNames.mixing(0), new MatmulQuantizers(new ActivationQuantizer(1 / 255f, 0, 0, 255), signed));
        return new VitModel(config, linears, new java.util.TreeMap<>(matmuls), floats);
    }

    private static LinearLayer quantized(
            VitTensors.Linear spec, float[] bias, SplittableRandom random, int bits, ActivationQuantizer input) {
        MemorySegment codes = MemorySegment.ofArray(new byte[spec.outputs() * spec.inputs() * (bits > 8 ? 2 : 1)]);
        for (int i = 0; i < spec.outputs() * spec.inputs(); i++) {
            int code = random.nextInt(-(1 << (bits - 1)), 1 << (bits - 1));
            if (bits > 8) {
                codes.set(LinearLayer.Quantized.CODE, 2L * i, (short) code);
            } else {
                codes.set(ValueLayout.JAVA_BYTE, i, (byte) code);
            }
        }
        float[] scales = new float[spec.name().endsWith("proj") ? 1 : spec.outputs()];
        for (int i = 0; i < scales.length; i++) {
            scales[i] = 0.001f + random.nextFloat() / 100;
        }
        return new LinearLayer.Quantized(spec.name(), spec.outputs(), spec.inputs(), bits, codes, scales, bias, input);
    }

    private static float[] floats(SplittableRandom random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = random.nextFloat() - 0.5f;
        }
        return values;
    }
}
