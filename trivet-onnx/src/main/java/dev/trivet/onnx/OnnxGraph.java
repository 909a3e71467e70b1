package dev.trivet.onnx;

import ai.onnx.proto.OnnxMl.AttributeProto;
import ai.onnx.proto.OnnxMl.GraphProto;
import ai.onnx.proto.OnnxMl.ModelProto;
import ai.onnx.proto.OnnxMl.NodeProto;
import ai.onnx.proto.OnnxMl.OperatorSetIdProto;
import ai.onnx.proto.OnnxMl.TensorProto;
import ai.onnx.proto.OnnxMl.TensorShapeProto;
import ai.onnx.proto.OnnxMl.TypeProto;
import ai.onnx.proto.OnnxMl.ValueInfoProto;
import com.google.protobuf.ByteString;
import dev.trivet.BadInputException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * An ONNX graph that grows node by node. Every method that adds something returns the name of its output; names are made up where none is
 * given. Constants of equal name are written once.
 */
final class OnnxGraph {
    /** First with {@code Gelu} (20) and with quantization of any block (21); newer ones change nothing that is used here. */
    static final int OPSET = 21;

    private static final int IR_VERSION = 10;
    /** A protobuf message ends at 2 GB; what is not weights is far below 16 MB. */
    private static final long MOST_BYTES = Integer.MAX_VALUE - (16L << 20);

    /** An attribute of a node. */
    record Attribute(AttributeProto proto) {
        static Attribute of(String name, long value) {
            return new Attribute(AttributeProto.newBuilder()
                    .setName(name)
                    .setType(AttributeProto.AttributeType.INT)
                    .setI(value)
                    .build());
        }

        static Attribute of(String name, float value) {
            return new Attribute(AttributeProto.newBuilder()
                    .setName(name)
                    .setType(AttributeProto.AttributeType.FLOAT)
                    .setF(value)
                    .build());
        }

        static Attribute of(String name, long... values) {
            AttributeProto.Builder proto =
                    AttributeProto.newBuilder().setName(name).setType(AttributeProto.AttributeType.INTS);
            Arrays.stream(values).forEach(proto::addInts);
            return new Attribute(proto.build());
        }
    }

    private final GraphProto.Builder graph;
    private final Map<String, TensorProto> constants = new LinkedHashMap<>();
    private final long mostBytes;
    private long bytes;
    private int unnamed;

    OnnxGraph(String name) {
        this(name, MOST_BYTES);
    }

    /** @param mostBytes of all constants */
    OnnxGraph(String name, long mostBytes) {
        graph = GraphProto.newBuilder().setName(name);
        this.mostBytes = mostBytes;
    }

    /** @param batch name of the first dimension, whatever its size; the others follow */
    void input(String name, String batch, long... dimensions) {
        graph.addInput(floats(name, batch, dimensions));
    }

    void output(String name, String batch, long... dimensions) {
        graph.addOutput(floats(name, batch, dimensions));
    }

    private static ValueInfoProto floats(String name, String batch, long... dimensions) {
        TensorShapeProto.Builder shape = TensorShapeProto.newBuilder()
                .addDim(TensorShapeProto.Dimension.newBuilder().setDimParam(batch));
        Arrays.stream(dimensions)
                .forEach(d ->
                        shape.addDim(TensorShapeProto.Dimension.newBuilder().setDimValue(d)));
        return ValueInfoProto.newBuilder()
                .setName(name)
                .setType(TypeProto.newBuilder()
                        .setTensorType(TypeProto.Tensor.newBuilder()
                                .setElemType(TensorProto.DataType.FLOAT_VALUE)
                                .setShape(shape)))
                .build();
    }

    /** A float32 constant; without dimensions a scalar. */
    String constant(String name, float[] values, long... dimensions) {
        return constant(name, TensorProto.DataType.FLOAT, 4L * values.length, dimensions, to -> {
            for (float value : values) {
                to.putFloat(value);
            }
        });
    }

    String constant(String name, float value) {
        return constant(name, new float[] {value});
    }

    /** A constant of signed bytes. */
    String signedBytes(String name, byte[] values, long... dimensions) {
        return constant(name, TensorProto.DataType.INT8, values.length, dimensions, to -> to.put(values));
    }

    String unsignedBytes(String name, byte[] values, long... dimensions) {
        return constant(name, TensorProto.DataType.UINT8, values.length, dimensions, to -> to.put(values));
    }

    /** A constant list of whole numbers, as shapes and indices are given. */
    String longs(String name, long... values) {
        return constant(name, TensorProto.DataType.INT64, 8L * values.length, new long[] {values.length}, to -> {
            for (long value : values) {
                to.putLong(value);
            }
        });
    }

    private interface Content {
        void put(ByteBuffer to);
    }

    private String constant(String name, TensorProto.DataType type, long size, long[] dimensions, Content content) {
        if (constants.containsKey(name)) {
            return name;
        }
        bytes += size;
        if (bytes > mostBytes) {
            throw new BadInputException("the weights take more than the 2 GB that one ONNX file holds; export a smaller"
                    + " model, or quantize it first");
        }
        ByteBuffer buffer = ByteBuffer.allocate((int) size).order(ByteOrder.LITTLE_ENDIAN);
        content.put(buffer);
        TensorProto.Builder tensor = TensorProto.newBuilder()
                .setName(name)
                .setDataType(type.getNumber())
                .setRawData(ByteString.copyFrom(buffer.flip()));
        Arrays.stream(dimensions).forEach(tensor::addDims);
        constants.put(name, tensor.build());
        return name;
    }

    /** A node with one output. */
    String node(String operator, List<String> inputs, Attribute... attributes) {
        return nodes(operator, inputs, 1, attributes).getFirst();
    }

    /** A node with several outputs. */
    List<String> nodes(String operator, List<String> inputs, int outputs, Attribute... attributes) {
        String name = operator + "_" + unnamed++;
        List<String> names = new ArrayList<>();
        for (int i = 0; i < outputs; i++) {
            names.add(outputs == 1 ? name : name + "_" + i);
        }
        NodeProto.Builder node = NodeProto.newBuilder().setName(name).setOpType(operator);
        node.addAllInput(inputs).addAllOutput(names);
        Arrays.stream(attributes).forEach(a -> node.addAttribute(a.proto()));
        graph.addNode(node);
        return names;
    }

    /** Some tokens of {@code [batch, tokens, width]}. */
    String tokens(String x, int first, int end) {
        return node(
                "Slice",
                List.of(x, longs("from token " + first, first), longs("to token " + end, end), longs("token axis", 1)));
    }

    /** Gives what has been computed its name as an output, and its shape. */
    void finish(String from, String shape, String name) {
        graph.addNode(NodeProto.newBuilder()
                .setName(name)
                .setOpType("Reshape")
                .addInput(from)
                .addInput(shape)
                .addOutput(name));
    }

    ModelProto model(String version) {
        graph.addAllInitializer(constants.values());
        return ModelProto.newBuilder()
                .setIrVersion(IR_VERSION)
                .setProducerName("trivet")
                .setProducerVersion(version)
                .addOpsetImport(OperatorSetIdProto.newBuilder().setDomain("").setVersion(OPSET))
                .setGraph(graph)
                .build();
    }
}
