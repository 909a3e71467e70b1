package dev.trivet.onnx;

import ai.onnx.proto.OnnxMl.ModelProto;
import dev.trivet.AtomicOutput;
import dev.trivet.model.Geometry;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.onnx.OnnxGraph.Attribute;
import dev.trivet.onnx.QuantizedNodes.Codes;
import dev.trivet.quant.ChannelAffine;
import java.io.BufferedOutputStream;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Writes a model as an ONNX file: a float model in float32, a quantized one with its own codes and scales ({@link QuantizedNodes} says
 * how and what differs). One input, {@value #INPUT} {@code [batch, channels, imageSize, imageSize]}, preprocessed; one output,
 * {@value #OUTPUT} {@code [batch, classes]}. The walk over the units is that of the executors, so whatever they run can be exported.
 */
public final class OnnxExport {
    /** Name of the input, float32 {@code [batch, channels, imageSize, imageSize]}. */
    public static final String INPUT = "pixels";
    /** Name of the output, float32 {@code [batch, classes]}. */
    public static final String OUTPUT = "logits";
    /** Name of the first dimension of both. */
    public static final String BATCH = "batch";

    private final OnnxGraph graph;
    private final QuantizedNodes layers;
    private final AttentionNodes attention;
    private final VitModel model;
    /** How many of the last block's tokens are computed to the end. */
    private final int lastTokens;

    private OnnxExport(VitModel model, boolean trimmed) {
        this.model = model;
        lastTokens = trimmed
                ? model.geometry().headTokens()
                : model.geometry().units().getLast().input().tokens();
        graph = new OnnxGraph(model.config().architecture());
        layers = new QuantizedNodes(graph);
        attention = new AttentionNodes(graph, model);
    }

    /**
     * Writes {@code file}.
     *
     * @param version of the tool, for the file's metadata
     * @param trimmed whether of the last block only that is computed which the head reads ({@link Geometry#headTokens}); the logits are the same
     * @throws dev.trivet.BadInputException if the file cannot be written, has more weights than one file holds, or codes wider than a
     *     byte
     */
    public static void write(VitModel model, String version, boolean trimmed, Path file) {
        ModelProto proto = new OnnxExport(model, trimmed).build(version);
        AtomicOutput.write(file, channel -> {
            OutputStream out = new BufferedOutputStream(Channels.newOutputStream(channel), 1 << 20);
            proto.writeTo(out);
            out.flush();
        });
    }

    private ModelProto build(String version) {
        Geometry geometry = model.geometry();
        long side = geometry.imageSize();
        graph.input(INPUT, BATCH, geometry.channels(), side, side);
        graph.output(OUTPUT, BATCH, geometry.classes());
        String x = INPUT;
        List<ModelUnit> units = geometry.units();
        ModelUnit last = units.get(units.size() - 2);
        for (ModelUnit unit : units) {
            x = switch (unit) {
                case ModelUnit.Embedding _ -> embed(x);
                case ModelUnit.Block block ->
                    block(
                            block,
                            x,
                            block.equals(last) ? lastTokens : block.shape().tokens());
                case ModelUnit.Merging merging -> merge(merging, x);
                case ModelUnit.Head head -> classify(head, x);
            };
        }
        graph.finish(x, graph.longs("logits shape", 0, geometry.classes()), OUTPUT);
        return graph.model(version);
    }

    private String embed(String pixels) {
        return switch (model.geometry()) {
            case VitConfig c -> withPrefix(c, patches(pixels, c.grid(), c.patchSize(), c.channels()));
            case SwinConfig c -> {
                String patches = patches(pixels, c.side(0), c.patchSize(), c.channels());
                String x = norm(SwinNames.PATCH_EMBEDDING_NORM, patches);
                yield c.absolutePositions()
                        ? graph.node(
                                "Add",
                                List.of(
                                        x,
                                        graph.constant(
                                                SwinNames.POSITIONS,
                                                model.floats(SwinNames.POSITIONS),
                                                1,
                                                c.patches(),
                                                c.width())))
                        : x;
            }
        };
    }

    /** The embedded patches, {@code [batch, patches, width]}: a convolution in float, a product of codes otherwise. */
    private String patches(String pixels, int grid, int patch, int channels) {
        return switch (model.linear(VitNames.PATCH_EMBEDDING)) {
            case LinearLayer.Float32 f -> {
                String map = graph.node(
                        "Conv",
                        List.of(
                                pixels,
                                graph.constant(f.name() + ".weight", f.weight(), f.outputs(), channels, patch, patch),
                                graph.constant(f.name() + ".bias", f.bias(), f.outputs())),
                        Attribute.of("kernel_shape", patch, patch),
                        Attribute.of("strides", patch, patch));
                String flat = graph.node("Reshape", List.of(map, graph.longs("flat map", 0, f.outputs(), -1)));
                yield graph.node("Transpose", List.of(flat), Attribute.of("perm", 0, 2, 1));
            }
            case LinearLayer.Quantized q -> {
                String cut = graph.node(
                        "Reshape", List.of(pixels, graph.longs("patch grid", 0, channels, grid, patch, grid, patch)));
                Codes codes = layers.encode(q.name() + ".input", q.input(), equalized(q, channels, patch, cut), true);
                String turned = graph.node("Transpose", List.of(codes.codes()), Attribute.of("perm", 0, 2, 4, 1, 3, 5));
                String rows = graph.node(
                        "Reshape", List.of(turned, graph.longs("patch rows", 0, (long) grid * grid, q.inputs())));
                yield layers.product(q, layers.decode(codes.moved(rows)));
            }
        };
    }

    /** @param cut {@code [batch, channels, grid, patch, grid, patch]} */
    private String equalized(LinearLayer.Quantized layer, int channels, int patch, String cut) {
        Optional<ChannelAffine> change = layer.equalization();
        if (change.isEmpty()) {
            return cut;
        }
        ChannelAffine perColour = change.get().grouped(channels);
        int side = perColour.channels() == channels ? 1 : patch;
        String name = layer.name() + ".equalization";
        String scaled = graph.node(
                "Mul", List.of(cut, graph.constant(name + ".factor", perColour.factor(), channels, 1, side, 1, side)));
        return graph.node(
                "Add",
                List.of(scaled, graph.constant(name + ".offset", perColour.offset(), channels, 1, side, 1, side)));
    }

    /** Positions added, class, distillation and register tokens in front. */
    private String withPrefix(VitConfig c, String patches) {
        float[] positions = model.floats(VitNames.POSITIONS);
        int width = c.width();
        int prefix = c.prefixTokens();
        String x = graph.node(
                "Add",
                List.of(
                        patches,
                        graph.constant(
                                VitNames.POSITIONS,
                                Arrays.copyOfRange(positions, prefix * width, positions.length),
                                1,
                                c.patches(),
                                width)));
        if (prefix == 0) {
            return x;
        }
        float[] rows = Arrays.copyOf(positions, prefix * width);
        int row = 0;
        if (c.classToken()) {
            add(rows, row++, model.floats(VitNames.CLASS_TOKEN));
        }
        if (c.distilled()) {
            add(rows, row, model.floats(VitNames.DISTILLATION_TOKEN));
        }
        String batch = graph.node("Shape", List.of(INPUT), Attribute.of("start", 0L), Attribute.of("end", 1L));
        String shape = graph.node("Concat", List.of(batch, graph.longs("one each", 1, 1)), Attribute.of("axis", 0L));
        String tokens = graph.node("Expand", List.of(graph.constant("prefix", rows, 1, prefix, width), shape));
        return graph.node("Concat", List.of(tokens, x), Attribute.of("axis", 1L));
    }

    private static void add(float[] rows, int row, float[] token) {
        for (int c = 0; c < token.length; c++) {
            rows[row * token.length + c] += token[c];
        }
    }

    /** @param wanted how many tokens, the first ones, the block gives */
    private String block(ModelUnit.Block block, String x, int wanted) {
        String change = attention.module(block, norm(block.attentionNorm(), x), wanted);
        String stream = wanted < block.shape().tokens() ? graph.tokens(x, 0, wanted) : x;
        String attended = graph.node("Add", List.of(stream, change));
        String hidden = layers.linear(model.linear(block.hidden()), norm(block.mlpNorm(), attended));
        String output = layers.linear(model.linear(block.mlpOutput()), graph.node("Gelu", List.of(hidden)));
        return graph.node("Add", List.of(attended, output));
    }

    private String norm(String name, String x) {
        float[] gamma = model.floats(name + ".weight");
        float epsilon = switch (model.geometry()) {
            case VitConfig c -> c.layerNormEpsilon();
            case SwinConfig c -> c.layerNormEpsilon();
        };
        return graph.node(
                "LayerNormalization",
                List.of(
                        x,
                        graph.constant(name + ".weight", gamma, gamma.length),
                        graph.constant(name + ".bias", model.floats(name + ".bias"), gamma.length)),
                Attribute.of("axis", -1L),
                Attribute.of("epsilon", epsilon));
    }

    /** Four neighbours side by side: upper left, lower left, upper right, lower right; an odd map gets a row and a column of zeros. */
    private String merge(ModelUnit.Merging merging, String x) {
        int side = merging.side();
        int half = Math.ceilDiv(side, 2);
        int width = merging.input().width();
        int tokens = side * side;
        String from = x;
        if (side % 2 != 0) {
            from = graph.node(
                    "Pad", List.of(x, graph.longs("one row more", 0, 0, 0, 0, 1, 0), graph.constant("zero", 0f)));
        }
        long[] source = new long[4 * half * half];
        for (int i = 0; i < source.length; i++) {
            int row = i / 4 / half * 2 + i % 2;
            int column = i / 4 % half * 2 + i % 4 / 2;
            source[i] = row < side && column < side ? (long) row * side + column : tokens;
        }
        String gathered = graph.node(
                "Gather", List.of(from, graph.longs(merging.name() + ".tokens", source)), Attribute.of("axis", 1L));
        String merged = graph.node(
                "Reshape",
                List.of(gathered, graph.longs(merging.name() + ".shape", 0, (long) half * half, 4L * width)));
        return layers.linear(model.linear(merging.reduction()), norm(merging.norm(), merged));
    }

    private String classify(ModelUnit.Head head, String x) {
        if (!(model.geometry() instanceof VitConfig c)) {
            return layers.linear(model.linear(SwinNames.HEAD), mean(norm(head.norm(), x)));
        }
        String pooled = switch (c.pooling()) {
            case TOKEN -> norm(head.norm(), token(x, 0));
            case AVERAGE -> norm(head.norm(), mean(patchTokens(c, x)));
            case NORMALIZED_AVERAGE -> mean(patchTokens(c, norm(head.norm(), x)));
        };
        if (c.preLogits() > 0) {
            pooled = graph.node("Tanh", List.of(layers.linear(model.linear(VitNames.PRE_LOGITS), pooled)));
        }
        String logits = layers.linear(model.linear(VitNames.HEAD), pooled);
        if (!c.distilled()) {
            return logits;
        }
        String second = layers.linear(model.linear(VitNames.DISTILLATION_HEAD), norm(head.norm(), token(x, 1)));
        return graph.node("Mul", List.of(graph.node("Add", List.of(logits, second)), graph.constant("half", 0.5f)));
    }

    /** One token as {@code [batch, 1, width]}. */
    private String token(String x, int token) {
        return graph.node("Gather", List.of(x, graph.longs("token " + token, token)), Attribute.of("axis", 1L));
    }

    private String patchTokens(VitConfig c, String x) {
        return c.prefixTokens() == 0 ? x : graph.tokens(x, c.prefixTokens(), c.tokens());
    }

    /** The mean token, {@code [batch, 1, width]}. */
    private String mean(String x) {
        return graph.node("ReduceMean", List.of(x, graph.longs("token axis", 1)));
    }
}
