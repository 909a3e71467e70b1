package dev.trivet.onnx;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.onnx.proto.OnnxMl.ModelProto;
import ai.onnx.proto.OnnxMl.NodeProto;
import ai.onnx.proto.OnnxMl.TensorProto;
import dev.trivet.BadInputException;
import dev.trivet.format.ModelFile;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.quant.ActivationQuantizer;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What stands in the file; what it computes is tested where there is a runtime. */
class OnnxExportTest {
    private static final String LAYER = "blocks.1.mlp.fc1";

    private static final VitModel FLOAT = ModelFile.read(
                    Path.of(System.getProperty("trivet.goldens"), "vit_gap_micro"), Optional.empty())
            .model();

    @TempDir
    Path folder;

    private ModelProto exported(VitModel model) throws IOException {
        Path file = folder.resolve("model.onnx");
        OnnxExport.write(model, "test", false, file);
        return ModelProto.parseFrom(Files.readAllBytes(file));
    }

    private static TensorProto constant(ModelProto model, String name) {
        return model.getGraph().getInitializerList().stream()
                .filter(t -> t.getName().equals(name))
                .findFirst()
                .orElseThrow();
    }

    private static VitModel withLayer(ActivationQuantizer input, int bits) {
        LinearLayer layer = FLOAT.linear(LAYER);
        byte[] codes = new byte[layer.outputs() * layer.inputs() * (bits > 8 ? 2 : 1)];
        float[] scales = new float[layer.outputs()];
        for (int n = 0; n < scales.length; n++) {
            scales[n] = 1 + n;
            codes[n * layer.inputs() + 3] = (byte) (n - 64);
        }
        Map<String, LinearLayer> linears = new LinkedHashMap<>(FLOAT.linears());
        linears.put(
                LAYER,
                new LinearLayer.Quantized(
                        LAYER,
                        layer.outputs(),
                        layer.inputs(),
                        bits,
                        MemorySegment.ofArray(codes),
                        scales,
                        layer.bias(),
                        input));
        return new VitModel(FLOAT.config(), linears, Map.of(), FLOAT.floats());
    }

    @Test
    void keepsCodesScalesAndZeroPoints() throws IOException {
        ModelProto model = exported(withLayer(new ActivationQuantizer(0.25f, 7, 0, 255), 8));
        int outputs = FLOAT.linear(LAYER).outputs();
        TensorProto weight = constant(model, LAYER + ".weight");
        assertThat(weight.getDimsList())
                .containsExactly((long) FLOAT.linear(LAYER).inputs(), (long) outputs);
        assertThat(weight.getDataType()).isEqualTo(TensorProto.DataType.INT8_VALUE);
        byte[] codes = weight.getRawData().toByteArray();
        for (int n = 0; n < outputs; n++) {
            assertThat(codes[3 * outputs + n]).isEqualTo((byte) (n - 64));
            assertThat(codes[4 * outputs + n]).isZero();
        }
        assertThat(floats(constant(model, LAYER + ".weight.scale")))
                .startsWith(1f, 2f, 3f)
                .hasSize(outputs);
        assertThat(floats(constant(model, LAYER + ".input.scale"))).containsExactly(0.25f);
        assertThat(constant(model, LAYER + ".input.zero_point").getRawData().toByteArray())
                .containsExactly((byte) 7);
    }

    private static float[] floats(TensorProto tensor) {
        float[] values = new float[tensor.getRawData().size() / 4];
        tensor.getRawData()
                .asReadOnlyByteBuffer()
                .order(ByteOrder.LITTLE_ENDIAN)
                .asFloatBuffer()
                .get(values);
        return values;
    }

    @Test
    void clipsCodesOnlyWhereAByteHoldsMore() throws IOException {
        assertThat(operators(exported(withLayer(new ActivationQuantizer(0.25f, 7, 0, 255), 8))))
                .contains("QuantizeLinear")
                .doesNotContain("Clip");
        ModelProto narrow = exported(withLayer(new ActivationQuantizer(0.25f, 7, 2, 33), 8));
        assertThat(operators(narrow)).contains("Clip");
        assertThat(constant(narrow, LAYER + ".input.highest").getRawData().toByteArray())
                .containsExactly((byte) 33);
    }

    private static List<String> operators(ModelProto model) {
        return model.getGraph().getNodeList().stream().map(NodeProto::getOpType).toList();
    }

    /** Queries and stream are cut once each, where the head reads less than all tokens. */
    @ParameterizedTest
    @CsvSource({"vit_micro, 2", "deit_distilled_micro, 2", "vit_gap_micro, 0", "swin_micro, 0"})
    void trimmedGraphsCutTheLastBlock(String name, int cuts) throws IOException {
        VitModel model = ModelFile.read(Path.of(System.getProperty("trivet.goldens"), name), Optional.empty())
                .model();
        Path file = folder.resolve("trimmed.onnx");
        OnnxExport.write(model, "test", true, file);
        List<String> trimmed = operators(ModelProto.parseFrom(Files.readAllBytes(file)));
        List<String> whole = operators(exported(model));
        assertThat(count(trimmed, "Slice") - count(whole, "Slice")).isEqualTo(cuts);
        assertThat(trimmed).hasSize(whole.size() + cuts);
    }

    private static int count(List<String> operators, String one) {
        return Collections.frequency(operators, one);
    }

    @Test
    void refusesCodesOfMoreThanAByte() {
        Path file = folder.resolve("model.onnx");
        VitModel activations = withLayer(new ActivationQuantizer(0.25f, 7, 0, 1023), 8);
        assertThatThrownBy(() -> OnnxExport.write(activations, "test", false, file))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(LAYER)
                .hasMessageContaining("8 bits");
        VitModel weights = withLayer(new ActivationQuantizer(0.25f, 7, 0, 255), 10);
        assertThatThrownBy(() -> OnnxExport.write(weights, "test", false, file))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(LAYER);
        assertThat(file).doesNotExist();
    }

    @Test
    void refusesMoreThanOneFileHolds() {
        OnnxGraph graph = new OnnxGraph("large", 40);
        graph.constant("fits", new float[10], 10);
        graph.constant("fits", new float[10], 10); // the same, and written once
        assertThatThrownBy(() -> graph.constant("more", 1f))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("2 GB");
    }
}
