package dev.trivet.onnx;

import dev.trivet.BadInputException;
import dev.trivet.model.LinearLayer;
import dev.trivet.onnx.OnnxGraph.Attribute;
import dev.trivet.quant.ActivationQuantizer;
import java.util.List;
import java.util.Optional;

/**
 * Linear layers and operands of products in a graph. Integer products are written as ONNX wants them: codes by {@code QuantizeLinear}, and
 * {@code DequantizeLinear} in front of an ordinary {@code MatMul}; a runtime that multiplies integers recognises the group, any other
 * computes the same in float.
 *
 * <p>Codes, scales and zero points are the model's own. Two things differ: {@code QuantizeLinear} divides by the scale where Trivet multiplies
 * by its reciprocal, so a value at the edge of two codes can get the other one; and scale and bias are applied in two roundings.
 * Signed left operands become unsigned ones with zero point 128, because u8 x s8 is the product that runtimes have kernels for.
 */
final class QuantizedNodes {
    private static final int SIGNED_OFFSET = 128;

    private final OnnxGraph graph;

    QuantizedNodes(OnnxGraph graph) {
        this.graph = graph;
    }

    /**
     * Codes in a graph and what gives them their values.
     *
     * @param codes unsigned or signed bytes
     * @param scale of one step
     * @param zeroPoint a scalar of the codes' type
     */
    record Codes(String codes, String scale, String zeroPoint) {
        /** The same after a node that moves codes around. */
        Codes moved(String to) {
            return new Codes(to, scale, zeroPoint);
        }
    }

    /**
     * The codes of {@code x}.
     *
     * @param name of the constants
     * @param left whether signed codes become unsigned ones
     */
    Codes encode(String name, ActivationQuantizer quantizer, String x, boolean left) {
        if (quantizer.wide()) {
            throw new BadInputException(
                    name + " has codes of more than 8 bits, which ONNX has no products for; export a"
                            + " model of at most 8 bits");
        }
        boolean signed = quantizer.signed() && !left;
        int offset = quantizer.signed() && left ? SIGNED_OFFSET : 0;
        String scale = graph.constant(name + ".scale", quantizer.scale());
        String zeroPoint = bytes(name + ".zero_point", signed, quantizer.zeroPoint() + offset);
        String codes = graph.node("QuantizeLinear", List.of(x, scale, zeroPoint));
        int lowest = quantizer.lowest() + offset;
        int highest = quantizer.highest() + offset;
        if (highest - lowest < 255) {
            codes = graph.node(
                    "Clip",
                    List.of(codes, bytes(name + ".lowest", signed, lowest), bytes(name + ".highest", signed, highest)));
        }
        if (!quantizer.levels().isEmpty()) {
            codes = picked(name, quantizer, codes, signed, offset);
        }
        return new Codes(codes, scale, zeroPoint);
    }

    /** Each code's level by a table; a negative code counts from the table's end. */
    private String picked(String name, ActivationQuantizer quantizer, String codes, boolean signed, int offset) {
        byte[] table = new byte[256];
        for (int code = quantizer.lowest(); code <= quantizer.highest(); code++) {
            table[code + offset & 0xff] = (byte) (quantizer.level(code) + offset);
        }
        String levels = signed
                ? graph.signedBytes(name + ".levels", table, table.length)
                : graph.unsignedBytes(name + ".levels", table, table.length);
        String index = graph.node("Cast", List.of(codes), Attribute.of("to", 6L)); // int32
        return graph.node("Gather", List.of(levels, index));
    }

    private String bytes(String name, boolean signed, int value) {
        byte[] bytes = {(byte) value};
        return signed ? graph.signedBytes(name, bytes) : graph.unsignedBytes(name, bytes);
    }

    String decode(Codes codes) {
        return graph.node("DequantizeLinear", List.of(codes.codes(), codes.scale(), codes.zeroPoint()));
    }

    /** What a layer reads: the codes of {@code x} as float values, or {@code x} itself. */
    String operand(LinearLayer layer, String x) {
        return codes(layer, x).map(this::decode).orElse(x);
    }

    /** The codes of what a layer reads, where they are integers. */
    Optional<Codes> codes(LinearLayer layer, String x) {
        return layer instanceof LinearLayer.Quantized q
                ? Optional.of(encode(q.name() + ".input", q.input(), x, true))
                : Optional.empty();
    }

    /** A linear layer of {@code [batch, rows, inputs]}. */
    String linear(LinearLayer layer, String x) {
        return product(layer, operand(layer, x));
    }

    /** The same of what {@link #operand} gave. */
    String product(LinearLayer layer, String operand) {
        String weight = switch (layer) {
            case LinearLayer.Float32 f ->
                graph.constant(
                        f.name() + ".weight", transposed(f.weight(), f.outputs(), f.inputs()), f.inputs(), f.outputs());
            case LinearLayer.Quantized q -> weight(q);
        };
        String product = graph.node("MatMul", List.of(operand, weight));
        for (float b : layer.bias()) {
            if (b != 0) {
                return graph.node("Add", List.of(product, bias(layer)));
            }
        }
        return product;
    }

    /**
     * A bias of one dimension would make ONNX Runtime join it and the product to a {@code Gemm}, which it does not run on integers; so that of
     * an integer product has three.
     */
    private String bias(LinearLayer layer) {
        return layer instanceof LinearLayer.Quantized
                ? graph.constant(layer.name() + ".bias", layer.bias(), 1, 1, layer.outputs())
                : graph.constant(layer.name() + ".bias", layer.bias(), layer.outputs());
    }

    private String weight(LinearLayer.Quantized layer) {
        if (layer.wide()) {
            throw new BadInputException(
                    layer.name() + " has weights of more than 8 bits, which ONNX has no products for;"
                            + " export a model of at most 8 bits");
        }
        int outputs = layer.outputs();
        byte[] codes = new byte[outputs * layer.inputs()];
        for (int n = 0; n < outputs; n++) {
            for (int k = 0; k < layer.inputs(); k++) {
                codes[k * outputs + n] = (byte) layer.code((long) n * layer.inputs() + k);
            }
        }
        float[] scales = new float[outputs];
        for (int n = 0; n < outputs; n++) {
            scales[n] = layer.scale(n);
        }
        return graph.node(
                "DequantizeLinear",
                List.of(
                        graph.signedBytes(layer.name() + ".weight", codes, layer.inputs(), outputs),
                        graph.constant(layer.name() + ".weight.scale", scales, outputs),
                        graph.signedBytes(layer.name() + ".weight.zero_point", new byte[outputs], outputs)),
                Attribute.of("axis", 1L));
    }

    private static float[] transposed(float[] weight, int outputs, int inputs) {
        float[] turned = new float[weight.length];
        for (int n = 0; n < outputs; n++) {
            for (int k = 0; k < inputs; k++) {
                turned[k * outputs + n] = weight[n * inputs + k];
            }
        }
        return turned;
    }
}
