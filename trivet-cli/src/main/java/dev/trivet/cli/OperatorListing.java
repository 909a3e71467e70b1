package dev.trivet.cli;

import com.fasterxml.jackson.annotation.JsonIgnore;
import dev.trivet.format.ModelFile;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.WeightCoding;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Every operator of a model: bits, grids, kernel and bytes.
 *
 * @param floatBytes of tokens, positions and LayerNorm parameters
 */
record OperatorListing(List<Operator> operators, long floatBytes) {

    /**
     * One linear layer or attention product.
     *
     * @param shape {@code outputs x inputs} of a linear layer
     * @param weights empty for products and float layers
     * @param operands quantizers of what comes in: one for a linear layer, two for a product, none in float
     * @param bytes of weights, scales and bias
     */
    record Operator(
            String name,
            String kind,
            String shape,
            Optional<Weights> weights,
            List<Operand> operands,
            long bytes,
            long biasBytes,
            String kernel) {

        String weightText() {
            return weights.map(w -> w.coding.label() + " per " + w.granularity
                            + (w.scales > 1 ? ", " + w.scales + " scales" : ""))
                    .orElse(kind.equals(LINEAR) ? FLOAT : "");
        }

        String operandText() {
            return operands.isEmpty()
                    ? FLOAT
                    : String.join(" x ", operands.stream().map(Operand::text).toList());
        }
    }

    /**
     * Integer weights.
     *
     * @param bits a number, or {@code "ternary"}
     * @param granularity what shares a scale: channel, matrix (one of query, key and value) or tensor
     * @param scales different ones among those
     * @param codeBytes on disk, without scales
     */
    record Weights(
            @JsonIgnore WeightCoding coding,
            Object bits,
            String granularity,
            long scales,
            long codeBytes,
            long scaleBytes) {}

    /** Quantizer of an operand; {@code grid} is {@code asymmetric}, {@code symmetric} or such as {@code 16 levels}. */
    record Operand(int bits, String grid, float step, int zeroPoint, int lowest, int highest, List<Integer> levels) {
        static Operand of(ActivationQuantizer q) {
            // 0 in the middle: code 128 of 0..255, 0 of -128..127 and of -127..127.
            boolean symmetric = q.zeroPoint() == Math.floorDiv(q.lowest() + q.highest() + 1, 2);
            String grid = q.levels().isEmpty()
                    ? (symmetric ? "symmetric" : "asymmetric")
                    : q.levels().size() + " levels";
            return new Operand(q.bits(), grid, q.scale(), q.zeroPoint(), q.lowest(), q.highest(), q.levels());
        }

        String text() {
            return bits + " bit " + grid;
        }
    }

    /**
     * Where a quantized file's bytes are.
     *
     * @param header names, plans, labels, provenance
     */
    record Sizes(
            long codes,
            long weightScales,
            long biases,
            long floatWeights,
            long tokensPositionsNorms,
            long header,
            long total) {}

    private static final String LINEAR = "linear";
    private static final String FLOAT = "float32";

    static OperatorListing of(ModelFile file, String kernel) {
        VitModel vit = file.model();
        List<Operator> operators = new ArrayList<>();
        for (VitTensors.Linear spec : VitTensors.of(vit.geometry()).linears()) {
            long bias = spec.bias() || hasBias(vit.linear(spec.name())) ? 4L * spec.outputs() : 0;
            operators.add(
                    switch (vit.linear(spec.name())) {
                        case LinearLayer.Float32 l -> linear(l, bias, kernel);
                        case LinearLayer.Quantized l ->
                            linear(l, bias, file.version().orElse(QuantizedModelFile.VERSION), kernel);
                    });
        }
        vit.matmuls().forEach((name, q) -> operators.add(product(name, q, kernel)));
        long floats =
                vit.floats().values().stream().mapToLong(v -> 4L * v.length).sum();
        return new OperatorListing(operators, floats);
    }

    /** Quantizing may give a bias to a layer that had none; a file holds it where it is not zero. */
    private static boolean hasBias(LinearLayer layer) {
        for (float b : layer.bias()) {
            if (b != 0) {
                return true;
            }
        }
        return false;
    }

    private static Operator linear(LinearLayer.Float32 l, long bias, String kernel) {
        long bytes = 4L * l.outputs() * l.inputs() + bias;
        return new Operator(l.name(), LINEAR, shape(l), Optional.empty(), List.of(), bytes, bias, kernel + " f32");
    }

    private static Operator linear(LinearLayer.Quantized l, long bias, int version, String kernel) {
        long codes = QuantizedModelFile.codeBytes(l, version);
        long scales = QuantizedModelFile.scaleBytes(l);
        Weights weights =
                new Weights(l.coding(), PlanFile.bits(l.coding()), granularity(l), distinct(l.scales()), codes, scales);
        return new Operator(
                l.name(),
                LINEAR,
                shape(l),
                Optional.of(weights),
                List.of(Operand.of(l.input())),
                codes + scales + bias,
                bias,
                kernel + " u8s8" + digits(l.input().wide(), l.wide()));
    }

    private static Operator product(String name, MatmulQuantizers q, String kernel) {
        return new Operator(
                name,
                "matmul",
                "",
                Optional.empty(),
                List.of(Operand.of(q.left()), Operand.of(q.right())),
                0,
                0,
                kernel
                        + (q.left().signed() ? " s8s8" : " u8s8")
                        + digits(q.left().wide(), q.right().wide()));
    }

    private static String shape(LinearLayer l) {
        return l.outputs() + " x " + l.inputs();
    }

    /** Operands beyond a byte are two digits, multiplied one by one. */
    private static String digits(boolean left, boolean right) {
        int products = (left ? 2 : 1) * (right ? 2 : 1);
        return products == 1 ? "" : " x " + products + " (two digits)";
    }

    private static String granularity(LinearLayer.Quantized l) {
        float[] scales = l.scales();
        if (distinct(scales) == 1) {
            return "tensor";
        }
        int third = scales.length / 3;
        boolean matrices = l.name().endsWith(".qkv");
        for (int m = 0; matrices && m < 3; m++) {
            matrices = distinct(Arrays.copyOfRange(scales, m * third, (m + 1) * third)) == 1;
        }
        return matrices ? "matrix" : "channel";
    }

    private static long distinct(float[] scales) {
        float[] sorted = scales.clone();
        Arrays.sort(sorted);
        long count = 1;
        for (int i = 1; i < sorted.length; i++) {
            count += sorted[i] == sorted[i - 1] ? 0 : 1;
        }
        return count;
    }

    /** @param fileBytes size of the quantized file */
    Sizes sizes(long fileBytes) {
        long codes = 0;
        long scales = 0;
        long biases = 0;
        long floatWeights = 0;
        for (Operator o : operators) {
            biases += o.biasBytes;
            if (o.weights.isPresent()) {
                codes += o.weights.get().codeBytes;
                scales += o.weights.get().scaleBytes;
            } else {
                floatWeights += o.bytes - o.biasBytes;
            }
        }
        long header = fileBytes - codes - scales - biases - floatWeights - floatBytes;
        return new Sizes(codes, scales, biases, floatWeights, floatBytes, header, fileBytes);
    }
}
