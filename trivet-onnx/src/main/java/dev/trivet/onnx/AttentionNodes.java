package dev.trivet.onnx;

import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitModel;
import dev.trivet.model.WindowPartition;
import dev.trivet.onnx.OnnxGraph.Attribute;
import dev.trivet.onnx.QuantizedNodes.Codes;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * What stands between the two projections of an attention module, within groups of tokens: all of an image (ViT) or a window each (Swin).
 * Windows are brought together by one {@code Gather} of token numbers in front of the q, k, v projection and taken apart by one behind the
 * products, which does what roll, reshape and transpose do in the published code. Where codes are known, it is codes that are moved.
 */
final class AttentionNodes {
    private static final Attribute TOKENS = Attribute.of("axis", 1L);

    private final OnnxGraph graph;
    private final QuantizedNodes layers;
    private final VitModel model;

    AttentionNodes(OnnxGraph graph, VitModel model) {
        this.graph = graph;
        this.model = model;
        layers = new QuantizedNodes(graph);
    }

    /**
     * From the normalised stream to what is added to it.
     *
     * @param x {@code [batch, tokens, width]}
     * @param wanted of how many tokens, the first ones, the result is wanted; all, where attention is within windows
     */
    String module(ModelUnit.Block block, String x, int wanted) {
        String operand = layers.codes(model.linear(block.qkv()), x)
                .map(codes -> layers.decode(codes.moved(grouped(block, codes.codes(), codes.zeroPoint()))))
                .orElseGet(() -> grouped(block, x, graph.constant("zero", 0f)));
        List<String> qkv = graph.nodes(
                "Split",
                List.of(layers.product(model.linear(block.qkv()), operand)),
                3,
                Attribute.of("axis", 2L),
                Attribute.of("num_outputs", 3L));
        String mixed = products(block, qkv, wanted);
        String joined = layers.codes(model.linear(block.projection()), mixed)
                .map(codes -> layers.decode(codes.moved(apart(block, codes.codes()))))
                .orElseGet(() -> apart(block, mixed));
        return layers.product(model.linear(block.projection()), joined);
    }

    /** Tokens in the order of windows, {@code [batch, groups * groupTokens, width]}; padding is zero. */
    private String grouped(ModelUnit.Block block, String x, String zero) {
        if (block.windows().isEmpty()) {
            return x;
        }
        int tokens = block.shape().tokens();
        int[] source = block.windows().get().tokens();
        String from = x;
        if (source.length > tokens) { // a row of padding behind the tokens
            String ends = graph.longs("one row more", 0, 0, 0, 0, 1, 0);
            from = graph.node("Pad", List.of(x, ends, zero));
        }
        long[] rows = Arrays.stream(source)
                .mapToLong(token -> token == WindowPartition.PADDING ? tokens : token)
                .toArray();
        return graph.node("Gather", List.of(from, graph.longs(block.attention() + ".windows", rows)), TOKENS);
    }

    /** Tokens back in their order. */
    private String apart(ModelUnit.Block block, String x) {
        if (block.windows().isEmpty()) {
            return x;
        }
        int[] source = block.windows().get().tokens();
        long[] places = new long[block.shape().tokens()];
        for (int place = 0; place < source.length; place++) {
            if (source[place] != WindowPartition.PADDING) {
                places[source[place]] = place;
            }
        }
        return graph.node("Gather", List.of(x, graph.longs(block.attention() + ".tokens", places)), TOKENS);
    }

    private String products(ModelUnit.Block block, List<String> qkv, int wanted) {
        boolean all = wanted == block.shape().tokens();
        String queries = all ? qkv.get(0) : graph.tokens(qkv.get(0), 0, wanted);
        int rows = all ? block.groupTokens() : wanted;
        Optional<MatmulQuantizers> scores = Optional.ofNullable(model.matmuls().get(block.scores()));
        Optional<MatmulQuantizers> mixing = Optional.ofNullable(model.matmuls().get(block.mixing()));
        String query = scores.map(q -> headCodes(block, "query", q.left(), queries, rows, true, false))
                .orElseGet(() -> heads(block, queries, rows, false));
        String key = scores.map(q -> headCodes(block, "key", q.right(), qkv.get(1), block.groupTokens(), false, true))
                .orElseGet(() -> heads(block, qkv.get(1), block.groupTokens(), true));
        String value = mixing.map(
                        q -> headCodes(block, "value", q.right(), qkv.get(2), block.groupTokens(), false, false))
                .orElseGet(() -> heads(block, qkv.get(2), block.groupTokens(), false));
        String raw = graph.node("MatMul", List.of(query, key));
        String scale = graph.constant("1/sqrt(" + block.headWidth() + ")", (float) (1 / Math.sqrt(block.headWidth())));
        String logits = biased(block, graph.node("Mul", List.of(raw, scale)));
        String mixed = mixing.map(
                        q -> q.normalized() ? normalized(block, q, logits, value) : mixed(block, q, logits, value))
                .orElseGet(() -> graph.node("MatMul", List.of(softmax(logits), value)));
        // [batch, (groups,) heads, groupTokens, headWidth] to [batch, groups * groupTokens, width]
        boolean whole = block.windows().isEmpty();
        String turned = graph.node(
                "Transpose",
                List.of(mixed),
                whole ? Attribute.of("perm", 0, 2, 1, 3) : Attribute.of("perm", 0, 1, 3, 2, 4));
        return graph.node(
                "Reshape",
                List.of(
                        turned,
                        shape(0, (long) block.groups() * rows, block.shape().width())));
    }

    private String shape(long... dimensions) {
        return graph.longs("shape " + Arrays.toString(dimensions), dimensions);
    }

    private String softmax(String logits) {
        return graph.node("Softmax", List.of(logits), Attribute.of("axis", -1L));
    }

    /** {@code [batch, tokens, width]} to {@code [batch, (groups,) heads, rows, headWidth]}, the last two swapped for keys. */
    private String heads(ModelUnit.Block block, String x, int rows, boolean turned) {
        if (block.windows().isEmpty()) {
            String split = graph.node("Reshape", List.of(x, shape(0, rows, block.heads(), block.headWidth())));
            return graph.node(
                    "Transpose",
                    List.of(split),
                    turned ? Attribute.of("perm", 0, 2, 3, 1) : Attribute.of("perm", 0, 2, 1, 3));
        }
        String split =
                graph.node("Reshape", List.of(x, shape(0, block.groups(), rows, block.heads(), block.headWidth())));
        return graph.node(
                "Transpose",
                List.of(split),
                turned ? Attribute.of("perm", 0, 1, 3, 4, 2) : Attribute.of("perm", 0, 1, 3, 2, 4));
    }

    private String headCodes(
            ModelUnit.Block block,
            String which,
            dev.trivet.quant.ActivationQuantizer quantizer,
            String x,
            int rows,
            boolean left,
            boolean turned) {
        Codes codes = layers.encode(block.attention() + "." + which, quantizer, x, left);
        return layers.decode(codes.moved(heads(block, codes.codes(), rows, turned)));
    }

    /** Softmax's numerators as codes, and the product's rows divided by the sum of their codes. */
    private String normalized(ModelUnit.Block block, MatmulQuantizers quantizers, String logits, String value) {
        String last = graph.longs("last axis", -1);
        String highest = graph.node("ReduceMax", List.of(logits, last));
        String numerators = graph.node("Exp", List.of(graph.node("Sub", List.of(logits, highest))));
        Codes codes = layers.encode(block.mixing() + ".left", quantizers.left(), numerators, true);
        String weights = layers.decode(codes);
        String sums = graph.node("ReduceSum", List.of(layers.decode(codes), last));
        return graph.node("Div", List.of(graph.node("MatMul", List.of(weights, value)), sums));
    }

    private String mixed(ModelUnit.Block block, MatmulQuantizers quantizers, String logits, String value) {
        Codes codes = layers.encode(block.mixing() + ".left", quantizers.left(), softmax(logits), true);
        return graph.node("MatMul", List.of(layers.decode(codes), value));
    }

    /** Relative positions and, in shifted windows, the mask; one addition. */
    private String biased(ModelUnit.Block block, String scores) {
        if (block.windows().isEmpty()) {
            return scores;
        }
        WindowPartition windows = block.windows().get();
        float[] table = model.floats(SwinNames.relativePositions(block.name()));
        int[] positions = windows.relativePositions();
        int heads = block.heads();
        int pairs = positions.length;
        float[] mask = windows.mask();
        int groups = windows.shift() == 0 ? 1 : block.groups();
        float[] bias = new float[groups * heads * pairs];
        for (int group = 0; group < groups; group++) {
            for (int head = 0; head < heads; head++) {
                for (int pair = 0; pair < pairs; pair++) {
                    bias[(group * heads + head) * pairs + pair] =
                            table[positions[pair] * heads + head] + mask[group * pairs + pair];
                }
            }
        }
        int n = block.groupTokens();
        return graph.node(
                "Add", List.of(scores, graph.constant(block.attention() + ".bias", bias, groups, heads, n, n)));
    }
}
