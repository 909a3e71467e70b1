package dev.trivet.format;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import dev.trivet.tensor.DType;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class QuantizedModelFileTest {
    private static final Provenance ORIGIN = new Provenance(Map.of("seed", "7", "source", "abc"));

    @TempDir
    Path folder;

    private Path file = Path.of("");

    @BeforeEach
    void write() {
        file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, SmallModel.quantized(), ORIGIN);
    }

    private static QuantizedModelFile.Contents read(Path file) {
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            return QuantizedModelFile.read(source);
        }
    }

    /** Writes a copy with some tensors or metadata changed. */
    private Path changed(Consumer<Map<String, Tensor>> tensors, Consumer<Map<String, String>> metadata) {
        Path copy = folder.resolve("changed.safetensors");
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            Map<String, Tensor> all = new LinkedHashMap<>();
            source.names().forEach(name -> all.put(name, source.find(name).orElseThrow()));
            Map<String, String> facts = new LinkedHashMap<>(source.metadata());
            tensors.accept(all);
            metadata.accept(facts);
            SafetensorsWriter.write(copy, all.values(), facts);
        }
        return copy;
    }

    private void refused(Path damaged, String problem) {
        assertThatThrownBy(() -> read(damaged))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(damaged + ": ")
                .hasMessageContaining(problem)
                .hasMessageNotContaining("\n");
    }

    @Test
    void whatIsWrittenIsRead() {
        isRead(SmallModel.quantized());
        isRead(SmallModel.mixed());
        isRead(SmallModel.normalized());
        isRead(SmallModel.equalized(VitNames.PATCH_EMBEDDING, true));
        isRead(SmallModel.equalized(VitNames.PATCH_EMBEDDING, false));
    }

    @Test
    void ternaryLayersAreRead() {
        isRead(SmallModel.ternary(), 3);
        QuantizedModelFile.Contents contents = read(file);
        LinearLayer.Quantized layer = (LinearLayer.Quantized) contents.model().linear("blocks.0.mlp.fc1");
        assertThat(layer.isTernary()).isTrue();
        assertThat(layer.codes().toArray(JAVA_BYTE)).containsOnly(-1, 0, 1);
    }

    /** Rows of 4 codes take 1 byte, of 8 codes 2. The scales of fc2 are the ones that half precision does not have. */
    @Test
    void ternaryCodesAreFiveToAByte() {
        QuantizedModelFile.write(file, SmallModel.ternary(), ORIGIN);
        Map<String, List<Long>> shapes = Map.of(
                "blocks.0.attn.qkv", List.of(12L, 1L),
                "blocks.0.attn.proj", List.of(4L, 1L),
                "blocks.0.mlp.fc1", List.of(8L, 1L),
                "blocks.0.mlp.fc2", List.of(4L, 2L));
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            assertThat(source.metadata().get("trivet.plan"))
                    .contains("{\"name\":\"blocks.0.attn.qkv\",\"weightBits\":\"ternary\",\"input\":{");
            shapes.forEach((name, shape) -> {
                Tensor codes = source.find(name + ".weight").orElseThrow();
                assertThat(codes.dtype()).isEqualTo(DType.U8);
                assertThat(codes.shape()).isEqualTo(shape);
                LinearLayer.Quantized layer =
                        (LinearLayer.Quantized) SmallModel.ternary().linear(name);
                assertThat(QuantizedModelFile.codeBytes(layer, 3)).isEqualTo(shape.get(0) * shape.get(1));
                Tensor scales = source.find(name + ".weight_scale").orElseThrow();
                assertThat(scales.dtype()).isEqualTo(name.endsWith("fc2") ? DType.F32 : DType.F16);
                assertThat(QuantizedModelFile.scaleBytes(layer))
                        .isEqualTo(scales.data().byteSize());
            });
            assertThat(source.find("head.weight_scale").orElseThrow().dtype()).isEqualTo(DType.F32);
        }
    }

    @Test
    void ternaryCodesAreChecked() {
        QuantizedModelFile.write(file, SmallModel.ternary(), ORIGIN);
        String name = "blocks.0.mlp.fc2.weight";
        for (int second : new int[] {27, 243}) {
            byte[] codes = {0, 0, 0, (byte) second, 0, 0, 0, 0};
            refused(
                    changed(t -> t.put(name, Tensor.ofBytes(name, DType.U8, codes, 4, 2)), m -> {}),
                    "tensor " + name + ": row 1 "
                            + (second == 27
                                    ? "has codes behind its last"
                                    : "holds the byte 243, which is no five ternary codes"));
        }
        refused(
                changed(t -> t.put(name, Tensor.ofBytes(name, DType.U8, new byte[8], 8, 1)), m -> {}),
                "tensor " + name + " is U8 [8, 1], not U8 [4, 2]");
        refused(
                changed(t -> {}, m -> m.put("trivet.format", "2")),
                "blocks.0.attn.qkv has ternary weights, which version 2 does not know");
        Tensor halves = Tensor.ofHalves("head.weight_scale", new float[] {1, 1, 1}, 3);
        refused(changed(t -> t.put(halves.name(), halves), m -> {}), "tensor head.weight_scale is F16 [3], not F32");
        for (String bits : new String[] {"\"binary\"", "\"8\"", "1.58", "[]", "true"}) {
            refused(
                    changed(
                            t -> {},
                            m -> m.compute(
                                    "trivet.plan", (k, v) -> replaceFirst(String.valueOf(v), "\"ternary\"", bits))),
                    "weightBits of blocks.0.attn.qkv is " + bits + ", neither a width nor \"ternary\"");
        }
    }

    /** A file without ternary layers stays what readers of version 2 know. */
    @Test
    void otherCodesAreStillVersion2() throws IOException {
        assertThat(QuantizedModelFile.version(SmallModel.mixed())).isEqualTo(2);
        assertThat(QuantizedModelFile.version(SmallModel.ternary())).isEqualTo(3);
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            assertThat(source.metadata()).containsEntry("trivet.format", "2");
        }
        QuantizedModelFile.write(file, SmallModel.ternary(), ORIGIN);
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            assertThat(source.metadata()).containsEntry("trivet.format", "3");
        }
        Path again = folder.resolve("again.safetensors");
        QuantizedModelFile.write(again, read(file).model(), ORIGIN);
        assertThat(Files.readAllBytes(again)).isEqualTo(Files.readAllBytes(file));
    }

    /** An input that something before the layer could equalize has no run-time means for it. */
    @Test
    void onlySomeInputsAreEqualized() {
        assertThatThrownBy(() -> SmallModel.equalized("blocks.0.attn.qkv", true))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("blocks.0.attn.qkv cannot be equalized");
        Tensor factor = Tensor.ofFloats("blocks.0.attn.qkv.input_factor", new float[] {1, 1}, 2);
        Tensor offset = Tensor.ofFloats("blocks.0.attn.qkv.input_offset", new float[] {0, 1}, 2);
        refused(
                changed(
                        t -> {
                            t.put(factor.name(), factor);
                            t.put(offset.name(), offset);
                        },
                        m -> {}),
                "blocks.0.attn.qkv cannot be equalized");
    }

    @Test
    void damagedFactorsAreNamed() {
        QuantizedModelFile.write(file, SmallModel.equalized(VitNames.PATCH_EMBEDDING, true), ORIGIN);
        String name = "patch_embed.proj.input_factor";
        Tensor zeros = Tensor.ofFloats(name, new float[3], 3);
        refused(changed(t -> t.put(name, zeros), m -> {}), "channel 0 becomes x * 0.0");
        Tensor odd = Tensor.ofFloats(name, new float[] {1, 1, 1, 1, 1}, 5);
        refused(changed(t -> t.put(name, odd), m -> {}), name + " has 5 values for 12 inputs");
        Tensor few = Tensor.ofFloats(name, new float[] {1}, 1);
        refused(changed(t -> t.put(name, few), m -> {}), "1 factors with 3 offsets");
        refused(changed(t -> t.remove(name), m -> {}), name + " is missing");
    }

    /** The field stands only where it is true; a file without it, as all were before, means false. */
    @Test
    void normalizedRowsStandInThePlan() {
        QuantizedModelFile.write(file, SmallModel.normalized(), ORIGIN);
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            assertThat(source.metadata().get("trivet.plan"))
                    .contains("\"levels\":[0,1,3,8,21,55,144,254]}")
                    .contains("\"levels\":[-128,-9,7,100]},\"normalized\":true}")
                    .doesNotContain("\"normalized\":false");
        }
        Map<String, MatmulQuantizers> products = read(file).model().matmuls();
        assertThat(products.values()).extracting(MatmulQuantizers::normalized).containsExactly(true, false);
        Path without = changed(
                t -> {},
                m -> m.compute(
                        "trivet.plan", (key, plan) -> replaceFirst(String.valueOf(plan), ",\"normalized\":true", "")));
        Map<String, MatmulQuantizers> plain = read(without).model().matmuls();
        assertThat(plain.values()).extracting(MatmulQuantizers::normalized).containsExactly(false, false);
        assertThat(plain.get("blocks.0.attn.av"))
                .extracting(
                        q -> q.left().levels().size(), q -> q.right().levels().size())
                .containsExactly(8, 4);
        for (String text : new String[] {"null", "\"yes\"", "[]"}) {
            refused(
                    changed(
                            t -> {},
                            m -> m.compute(
                                    "trivet.plan",
                                    (key, plan) -> replaceFirst(
                                            String.valueOf(plan), "\"normalized\":true", "\"normalized\":" + text))),
                    "is not a sound quantized model");
        }
        // Queries are signed: their rows have no sum to be divided by.
        refused(
                changed(
                        t -> {},
                        m -> m.compute(
                                "trivet.plan",
                                (key, plan) -> replaceFirst(
                                        String.valueOf(plan),
                                        "{\"name\":\"blocks.0.attn.qk\",",
                                        "{\"name\":\"blocks.0.attn.qk\",\"normalized\":true,"))),
                "rows of signed codes cannot be normalized");
    }

    private void isRead(VitModel written) {
        isRead(written, 2);
    }

    private void isRead(VitModel written, int version) {
        QuantizedModelFile.write(file, written, ORIGIN);
        QuantizedModelFile.Contents contents = read(file);
        VitModel model = contents.model();
        assertThat(contents.version()).isEqualTo(version);
        assertThat(contents.provenance()).isEqualTo(ORIGIN);
        assertThat(model.config()).isEqualTo(written.config());
        assertThat(model.matmuls()).isEqualTo(written.matmuls());
        assertThat(model.floats().keySet()).isEqualTo(written.floats().keySet());
        written.floats()
                .forEach((name, values) -> assertThat(model.floats(name)).isEqualTo(values));
        assertThat(model.linears().keySet()).isEqualTo(written.linears().keySet());
        written.linears().forEach((name, layer) -> same(model.linear(name), layer));
        assertThat(model.isQuantized()).isTrue();
    }

    private static void same(LinearLayer actual, LinearLayer expected) {
        assertThat(actual.bias()).isEqualTo(expected.bias());
        switch (expected) {
            case LinearLayer.Float32 e ->
                assertThat(((LinearLayer.Float32) actual).weight()).isEqualTo(e.weight());
            case LinearLayer.Quantized e -> {
                LinearLayer.Quantized a = (LinearLayer.Quantized) actual;
                assertThat(a.codes().toArray(JAVA_BYTE)).isEqualTo(e.codes().toArray(JAVA_BYTE));
                assertThat(a.scales()).isEqualTo(e.scales());
                assertThat(a.input()).isEqualTo(e.input());
                assertThat(a.coding()).isEqualTo(e.coding());
                assertThat(a.equalization().map(ChannelAffine::factor))
                        .usingRecursiveComparison()
                        .isEqualTo(e.equalization().map(ChannelAffine::factor));
                assertThat(a.equalization().map(ChannelAffine::offset))
                        .usingRecursiveComparison()
                        .isEqualTo(e.equalization().map(ChannelAffine::offset));
            }
        }
    }

    /** Rows of 4 codes of 3 bits take 2 bytes, of 10 bits 5, of 4 bits 2; of 8 codes of 6 bits, 6. */
    @Test
    void codesTakeTheirWidth() {
        QuantizedModelFile.write(file, SmallModel.mixed(), ORIGIN);
        Map<String, List<Long>> shapes = Map.of(
                "blocks.0.attn.qkv", List.of(12L, 2L),
                "blocks.0.attn.proj", List.of(4L, 5L),
                "blocks.0.mlp.fc1", List.of(8L, 2L),
                "blocks.0.mlp.fc2", List.of(4L, 6L));
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            shapes.forEach((name, shape) -> {
                Tensor codes = source.find(name + ".weight").orElseThrow();
                assertThat(codes.dtype()).isEqualTo(DType.U8);
                assertThat(codes.shape()).isEqualTo(shape);
                LinearLayer.Quantized layer =
                        (LinearLayer.Quantized) SmallModel.mixed().linear(name);
                assertThat(QuantizedModelFile.codeBytes(layer, 2)).isEqualTo(shape.get(0) * shape.get(1));
            });
            Tensor head = source.find("head.weight").orElseThrow();
            assertThat(head.dtype()).isEqualTo(DType.I8);
            assertThat(head.shape()).containsExactly(3L, 4L);
        }
    }

    @Test
    void packedCodesAreChecked() {
        QuantizedModelFile.write(file, SmallModel.mixed(), ORIGIN);
        String name = "blocks.0.attn.qkv.weight";
        byte[] codes = new byte[24];
        codes[5] = 0x10; // 4 codes of 3 bits end at bit 11
        refused(
                changed(t -> t.put(name, Tensor.ofBytes(name, DType.U8, codes, 12, 2)), m -> {}),
                "tensor " + name + ": row 2 has bits behind its last code");
        for (long[] shape : new long[][] {{24}, {2, 12}, {24, 1}, {12, 2, 1}}) {
            refused(
                    changed(t -> t.put(name, Tensor.ofBytes(name, DType.U8, new byte[24], shape)), m -> {}),
                    ", not U8 [12, 2]");
        }
        refused(
                changed(t -> t.put(name, Tensor.ofBytes(name, DType.I8, new byte[48], 12, 4)), m -> {}),
                "tensor " + name + " is I8 [12, 4], not U8 [12, 2]");
        // A width that the bytes are not of.
        refused(
                changed(
                        t -> {},
                        m -> m.compute(
                                "trivet.plan",
                                (k, v) -> replaceFirst(String.valueOf(v), "\"weightBits\":3", "\"weightBits\":5"))),
                "tensor " + name + " is U8 [12, 2], not U8 [12, 3]");
    }

    /** Version 1 had a byte for each code, whatever its width, and knew no levels. */
    @Test
    void version1HasABytePerCode() {
        byte[] codes = {0, 1, -1, 7, -8, 2, 3, 4, 5, 6, -7, -6};
        Path old = changed(t -> t.put("head.weight", Tensor.ofBytes("head.weight", DType.I8, codes, 3, 4)), m -> {
            m.put("trivet.format", "1");
            m.compute("trivet.plan", (key, plan) -> headBits(String.valueOf(plan), 4));
        });
        LinearLayer.Quantized head = (LinearLayer.Quantized) read(old).model().linear("head");
        assertThat(head.bits()).isEqualTo(4);
        assertThat(head.codes().toArray(JAVA_BYTE)).isEqualTo(codes);
        assertThat(QuantizedModelFile.codeBytes(head, 1)).isEqualTo(12);
        codes[5] = 8;
        Path damaged = changed(t -> t.put("head.weight", Tensor.ofBytes("head.weight", DType.I8, codes, 3, 4)), m -> {
            m.put("trivet.format", "1");
            m.compute("trivet.plan", (key, plan) -> headBits(String.valueOf(plan), 4));
        });
        refused(damaged, "tensor head.weight holds the code 8, which 4 bits cannot");
        refused(
                changed(t -> {}, m -> {
                    m.put("trivet.format", "1");
                    m.compute("trivet.plan", (key, plan) -> headBits(String.valueOf(plan), 9));
                }),
                "head has weights of 9 bits");
    }

    @Test
    void documentsAreKeptToTheLetter() {
        String plan = "{ \"method\" : \"search\",\n  \"bits\": {\"head\": 8.0}}";
        String report = "{\"layers\":[{\"name\":\"head\",\"loss\":1.50e-3}],\"\u00e4\":null}";
        Provenance origin = new Provenance(Map.of("seed", "7"), Optional.of(plan), Optional.of(report));
        QuantizedModelFile.write(file, SmallModel.quantized(), origin);
        assertThat(read(file).provenance()).isEqualTo(origin);
        for (String text : new String[] {"", "{", "7", "[]", "null", "{\"a\":NaN}", "{} {}", "[".repeat(3000)}) {
            for (String key : new String[] {"plan", "report"}) {
                refused(
                        changed(t -> {}, m -> m.put("trivet.provenance." + key, text)),
                        "the provenance's " + key + " is no JSON");
            }
            assertThatThrownBy(() -> new Provenance(Map.of(), Optional.of(text), Optional.empty()))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }

    /** Uniform quantizers look as in version 1; the others list their levels. */
    @Test
    void levelsStandInThePlan() {
        QuantizedModelFile.write(file, SmallModel.mixed(), ORIGIN);
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            assertThat(source.metadata().get("trivet.plan"))
                    .contains("{\"name\":\"head\",\"weightBits\":8,\"input\":"
                            + "{\"scale\":0.5,\"zeroPoint\":3,\"lowest\":0,\"highest\":255}}")
                    .contains("\"highest\":255,\"levels\":[0,12,15,16,18,24,80,255]}");
        }
        for (String levels :
                new String[] {"[0,12]", "[0,16,12,255]", "[0,255,256]", "null", "[0,null,255]", "{}", "7"}) {
            refused(
                    changed(
                            t -> {},
                            m -> m.compute(
                                    "trivet.plan",
                                    (key, plan) ->
                                            replaceFirst(String.valueOf(plan), "[0,12,15,16,18,24,80,255]", levels))),
                    "is not a sound quantized model");
        }
    }

    @Test
    void theSameModelGivesTheSameBytes() throws IOException {
        Path again = folder.resolve("again.safetensors");
        QuantizedModelFile.write(again, read(file).model(), ORIGIN);
        assertThat(Files.readAllBytes(again)).isEqualTo(Files.readAllBytes(file));
    }

    @Test
    void aModelFileKnowsItsKind() throws IOException {
        ModelFile quantized = ModelFile.read(file, Optional.empty());
        assertThat(quantized.provenance()).contains(ORIGIN);
        assertThat(quantized.bytes()).isEqualTo(Files.size(file));
        Path golden = Path.of(System.getProperty("trivet.goldens"), "vit_gap_micro");
        ModelFile checkpoint = ModelFile.read(golden, Optional.empty());
        assertThat(checkpoint.provenance()).isEmpty();
        assertThat(checkpoint.file()).isEqualTo(golden.resolve("model.safetensors"));
        assertThat(checkpoint.bytes()).isEqualTo(Files.size(golden.resolve("model.safetensors")));
        assertThat(checkpoint.model().isQuantized()).isFalse();
        Path absent = folder.resolve("absent");
        assertThatThrownBy(() -> ModelFile.read(absent, Optional.empty()))
                .isInstanceOf(BadInputException.class)
                .hasMessage(absent + ": no such model; check the path");
    }

    @ParameterizedTest
    @ValueSource(strings = {"4", "0", "", "1.0", "next"})
    void otherVersionsAreRefused(String version) {
        refused(
                changed(t -> {}, m -> m.put("trivet.format", version)),
                "has format version " + version + " where this Trivet reads 1 to 3");
    }

    @Test
    void missingTensorsAreNamed() {
        refused(changed(t -> t.remove("head.weight"), m -> {}), "tensor head.weight is missing");
        refused(changed(t -> t.remove("head.weight_scale"), m -> {}), "tensor head.weight_scale is missing");
        refused(changed(t -> t.remove("blocks.0.norm1.bias"), m -> {}), "tensor blocks.0.norm1.bias is missing");
    }

    @Test
    void unknownTensorsAreNamed() {
        refused(
                changed(t -> t.put("spare", Tensor.ofFloats("spare", new float[1], 1)), m -> {}),
                "unknown tensor spare");
    }

    @Test
    void wrongShapesAndTypesAreNamed() {
        refused(
                changed(t -> t.put("norm.bias", Tensor.ofFloats("norm.bias", new float[5], 5)), m -> {}),
                "tensor norm.bias is F32 [5], not F32 [4]");
        refused(
                changed(t -> t.put("head.weight", Tensor.ofFloats("head.weight", new float[12], 3, 4)), m -> {}),
                "tensor head.weight is F32 [3, 4], not I8 [3, 4]");
        refused(
                changed(
                        t -> t.put("head.weight_scale", Tensor.ofFloats("head.weight_scale", new float[] {1, 1}, 2)),
                        m -> {}),
                "2 scales for 3 channels");
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, 0f, -0.5f})
    void scalesMustBePositiveNumbers(float scale) {
        Tensor scales = Tensor.ofFloats("head.weight_scale", new float[] {1, scale, 1}, 3);
        refused(changed(t -> t.put(scales.name(), scales), m -> {}), "tensor head.weight_scale holds " + scale);
    }

    @Test
    void parametersMustBeFinite() {
        Tensor bias = Tensor.ofFloats("head.bias", new float[] {0, Float.NaN, 0}, 3);
        refused(changed(t -> t.put(bias.name(), bias), m -> {}), "tensor head.bias holds NaN");
    }

    private static String headBits(String plan, int bits) {
        return plan.replace("{\"name\":\"head\",\"weightBits\":8", "{\"name\":\"head\",\"weightBits\":" + bits);
    }

    /** Each replaces one piece of the plan. */
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "{\"name\":\"head\"             | {\"name\":\"tail\"                | head.weight is I8 [3, 4], not F32 [3, 4]",
                "\"linears\":[                  | \"linears\":[null,                | null",
                "\"matmuls\":[                  | \"matmuls\":[null,                | null",
                "\"weightBits\":8               | \"weightBits\":11                 | weights of 11 bits",
                "\"weightBits\":8               | \"weightBits\":9                  | is I8 [12, 4], not U8 [12, 5]",
                "\"weightBits\":8               | \"weightBits\":1                  | weights of 1 bits",
                "\"weightBits\":8               | \"weightBits\":null               | weightBits of blocks.0.attn.qkv is null, neither a width nor \"ternary\"",
                "\"weightBits\":8               | \"bits\":8                        | weightBits",
                "{\"name\":\"blocks.0.attn.qk\" | {\"name\":\"blocks.1.attn.qk\"    | unknown or repeated product blocks.1.attn.qk",
                "{\"name\":\"blocks.0.attn.qk\" | {\"name\":\"blocks.0.attn.av\"    | unknown or repeated product blocks.0.attn.av",
                "\"scale\":                     | \"scale\":-                       | is not a positive number",
                "\"zeroPoint\":3                | \"zeroPoint\":300                 | zero point 300 is outside 0..255",
                "\"lowest\":0                   | \"lowest\":-1000                  | do not fit 10 bits",
                "\"lowest\":0                   | \"lowest\":null                   | lowest of a quantizer of blocks.0.attn.qkv must be a whole number, not null",
                "\"lowest\":0                   | \"lowest\":0,\"levels\":[0,null] | levels of a quantizer of blocks.0.attn.qkv must be whole numbers, not null",
                "\"lowest\":0                   | \"lowest\":0,\"step\":1          | unknown field step",
                "\"linears\":[                  | \"more\":1,\"linears\":[         | the plan has the unknown field more",
                "\"linears\":                   | \"linears\":7,\"lines\":          | not a sound quantized model",
                "}                              | ]                                 | not a sound quantized model",
            })
    void contradictingPlansAreRefused(String from, String to, String problem) {
        Path damaged = changed(
                t -> {}, m -> m.compute("trivet.plan", (key, plan) -> replaceFirst(String.valueOf(plan), from, to)));
        refused(damaged, problem);
    }

    private static String replaceFirst(String text, String from, String to) {
        assertThat(text).contains(from);
        return text.replaceFirst(java.util.regex.Pattern.quote(from), java.util.regex.Matcher.quoteReplacement(to));
    }

    @Test
    void repeatedAndUnknownLayersAreRefused() {
        String layer = "{\"name\":\"NAME\",\"weightBits\":8,\"input\":"
                + "{\"scale\":0.5,\"zeroPoint\":3,\"lowest\":0,\"highest\":255}},";
        for (String name : new String[] {"head", "shoulder"}) {
            String plan = "\"linears\":[" + layer.replace("NAME", name);
            Path damaged = changed(
                    t -> {},
                    m -> m.compute("trivet.plan", (k, v) -> replaceFirst(String.valueOf(v), "\"linears\":[", plan)));
            refused(damaged, name.equals("head") ? "two plans for head" : "a plan for the unknown layer shoulder");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"trivet.model", "trivet.plan", "trivet.provenance"})
    void damagedOrMissingMetadataIsRefused(String key) {
        refused(changed(t -> {}, m -> m.remove(key)), "no " + key);
        for (String text :
                new String[] {"", "{", "null", "7", "[]", "{\"a\":{\"b\":[]}}", "\u0000", "[".repeat(3000)}) {
            refused(changed(t -> {}, m -> m.put(key, text)), "is not a sound quantized model");
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "\"classes\":3        | \"classes\":4         | 3 labels for 4 classes",
                "\"depth\":1          | \"depth\":2           | is missing",
                "\"depth\":1          | \"depth\":1000000     | depth must be in",
                "\"heads\":2          | \"heads\":3           | 3 heads do not divide width 4",
                "\"width\":4          | \"width\":8           | not",
                "\"pooling\":\"TOKEN\"| \"pooling\":\"MAX\"   | pooling of the geometry must be one of [TOKEN, AVERAGE, NORMALIZED_AVERAGE], not \"MAX\"",
                "\"depth\":1          | \"depth\":1,\"extra\":2 | the geometry has the unknown field extra",
                "\"depth\":1          | \"depth\":1,\"depth\":1 | Duplicate",
                "\"depth\":1          | \"depth\":1.5         | depth of the geometry must be a whole number, not 1.5",
                "\"depth\":1          | \"depth\":99999999999 | depth of the geometry must be a whole number, not 99999999999",
                "\"depth\":1          | \"length\":1          | the geometry has no depth",
                "\"classToken\":true  | \"classToken\":1      | classToken of the geometry must be true or false, not 1",
                "[\"a\",\"b\",\"c\"]  | [\"a\",\"b\"]         | 2 labels for 3 classes",
                "[\"a\",\"b\",\"c\"]  | [\"a\",null,\"c\"]    | not a sound quantized model",
                "\"patchSize\":2      | \"patchSize\":3       | does not divide",
                "\"mean\":[0.5        | \"mean\":[null        | not a sound quantized model",
            })
    void contradictingGeometryIsRefused(String from, String to, String problem) {
        refused(
                changed(
                        t -> {},
                        m -> m.compute("trivet.model", (key, text) -> replaceFirst(String.valueOf(text), from, to))),
                problem);
    }

    /** A file says of which kind its geometry is only where it is not a ViT, as files did before there was another. */
    @Test
    void aSwinIsWrittenAndRead() {
        VitModel swin;
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(
                Path.of(System.getProperty("trivet.goldens"), "swin_micro_window4"), Optional.empty())) {
            swin = VitModel.read(checkpoint);
        }
        ActivationQuantizer signed = new ActivationQuantizer(0.125f, 0, -128, 127);
        String product = "layers.1.blocks.0.attn.qk";
        VitModel written = new VitModel(
                swin.config(), swin.linears(), Map.of(product, new MatmulQuantizers(signed, signed)), swin.floats());
        assertThat(metadata(file)).doesNotContain("\"kind\"");
        QuantizedModelFile.write(file, written, ORIGIN);
        assertThat(metadata(file)).contains("\"geometry\":{\"kind\":\"swin\",");
        VitModel model = read(file).model();
        assertThat(model.config()).isEqualTo(swin.config());
        assertThat(model.matmuls()).isEqualTo(written.matmuls());
        assertThat(model.floats(SwinNames.relativePositions("layers.2.blocks.1")))
                .isEqualTo(swin.floats(SwinNames.relativePositions("layers.2.blocks.1")));
        refused(
                changed(t -> {}, m -> m.compute("trivet.model", (k, v) -> v.replace("\"swin\"", "\"mixer\""))),
                "the geometry is of the unknown kind \"mixer\"");
        refused(
                changed(t -> {}, m -> m.compute("trivet.model", (k, v) -> v.replace("\"kind\":\"swin\",", ""))),
                "is not a sound quantized model");
    }

    private static String metadata(Path file) {
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            return source.metadata().getOrDefault("trivet.model", "");
        }
    }
}
