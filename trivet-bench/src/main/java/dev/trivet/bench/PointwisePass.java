package dev.trivet.bench;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.AttentionShape;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.Product;
import dev.trivet.kernel.Requantization;
import dev.trivet.kernel.ScoreBias;
import dev.trivet.kernel.WindowShape;
import dev.trivet.model.WindowPartition;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.ChannelAffine;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * A pass of {@link Pointwise} with its operands, over one image of a {@link Stage}.
 *
 * @param run the pass
 * @param out what it writes
 * @param bytes that it reads and writes, constants of a row's length left out
 */
public record PointwisePass(Consumer<Pointwise> run, MemorySegment out, long bytes) {
    /** What stands between two products of a model. */
    public enum Kind {
        /** LayerNorm to the operand of qkv or fc1. */
        LAYER_NORM(true),
        /** fc1's sums to fc2's operand. */
        GELU(true),
        /** The same from values, where a product ends with them. */
        GELU_OF_VALUES(false),
        /** A linear's sums added to the residual stream. */
        ADD_TO_STREAM(true),
        /** qkv's sums to queries, keys and values, head by head, window by window. */
        SPLIT(true),
        /** qkv's sums to signed bytes, where a product does not end with them. */
        REQUANTIZE(false),
        /** Such bytes to queries, keys and values. */
        SPLIT_CODES(false),
        /** Scores to probabilities. */
        SOFTMAX(true),
        /** Scores to numerators that are codes, and a factor for each row. */
        SOFTMAX_NUMERATORS(false),
        /** Mixed values back to tokens. */
        MERGE(true),
        /** The same with a factor for each row. */
        MERGE_NORMALIZED(false),
        /** Floats to codes. */
        ENCODE(false),
        /** The same, channels equalized. */
        ENCODE_EQUALIZED(false),
        /** A linear's sums to floats. */
        DECODE(true),
        /** The mean of all tokens. */
        MEAN_ROWS(true);

        private final boolean ofFloats;

        Kind(boolean ofFloats) {
            this.ofFloats = ofFloats;
        }

        /** Whether a float32 model has this pass. */
        boolean ofFloats() {
            return ofFloats;
        }

        String text() {
            return name().toLowerCase(Locale.ROOT).replace('_', ' ');
        }
    }

    private static final Operand UNSIGNED = Operand.of(new ActivationQuantizer(0.03f, 117, 0, 255));
    private static final Operand SIGNED = Operand.of(new ActivationQuantizer(0.03f, 0, -128, 127));
    private static final Operand PROBABILITY = Operand.of(new ActivationQuantizer(1f / 255, 0, 0, 255));
    private static final float EPSILON = 1e-6f;

    void run(Pointwise pointwise) {
        run.accept(pointwise);
    }

    /**
     * A pass with made-up operands.
     *
     * @param integer whether the model is an integer one: sums are int32 and operands bytes, else all of it is float32
     * @param arena owns the operands
     */
    static PointwisePass of(Kind kind, Stage stage, boolean integer, Arena arena) {
        return new Maker(stage, integer, arena).make(kind);
    }

    /** {@link #bytes} of such a pass. */
    static long bytes(Kind kind, Stage stage, boolean integer) {
        try (Arena arena = Arena.ofConfined()) {
            return of(kind, stage, integer, arena).bytes();
        }
    }

    /** Operands of one stage. */
    private static final class Maker {
        final Stage stage;
        final boolean integer;
        final RandomMemory memory;
        final int tokens;
        final int width;
        /** Bytes of an element of an operand. */
        final long size;

        Maker(Stage stage, boolean integer, Arena arena) {
            this.stage = stage;
            this.integer = integer;
            memory = new RandomMemory(arena);
            tokens = stage.tokens();
            width = stage.width();
            size = integer ? 1 : Float.BYTES;
        }

        PointwisePass make(Kind kind) {
            long values = (long) tokens * width;
            return switch (kind) {
                case LAYER_NORM -> {
                    MemorySegment x = memory.floats(values, 8);
                    MemorySegment gamma = memory.floats(width, 2);
                    MemorySegment beta = memory.floats(width, 2);
                    Operand form = operand(UNSIGNED);
                    MemorySegment out = memory.empty(values);
                    yield pass(
                            p -> p.layerNorm(x, tokens, width, gamma, beta, EPSILON, form, out), out, 4 + size, values);
                }
                case GELU -> {
                    Product product = product(stage.hidden());
                    MemorySegment raw = raw(tokens * (long) stage.hidden());
                    Operand form = operand(UNSIGNED);
                    MemorySegment out = memory.empty(tokens * (long) stage.hidden());
                    yield pass(p -> p.gelu(raw, tokens, product, form, out), out, 4 + size, 4 * values);
                }
                case GELU_OF_VALUES -> {
                    long count = tokens * (long) stage.hidden();
                    MemorySegment x = memory.floats(count, 8);
                    MemorySegment out = memory.empty(count);
                    yield pass(p -> p.gelu(x, Math.toIntExact(count), UNSIGNED, out), out, 5, count);
                }
                case REQUANTIZE -> {
                    Product product = product(3 * width);
                    Requantization codes = new Requantization(3 * width, product.scale(), product.offset());
                    MemorySegment raw = raw(3 * values);
                    MemorySegment out = memory.empty(3 * values);
                    yield pass(p -> p.requantize(raw, tokens, codes, out), out, 5, 3 * values);
                }
                case SPLIT_CODES -> splitCodes(values);
                case ADD_TO_STREAM -> {
                    Product product = product(width);
                    MemorySegment raw = raw(values);
                    MemorySegment stream = memory.floats(values, 1);
                    yield pass(p -> p.addTo(raw, tokens, product, stream), stream, 12, values);
                }
                case SPLIT -> split(values);
                case SOFTMAX -> softmax(false);
                case SOFTMAX_NUMERATORS -> softmax(true);
                case MERGE -> merge(values, false);
                case MERGE_NORMALIZED -> merge(values, true);
                case ENCODE -> encode(values, UNSIGNED);
                case ENCODE_EQUALIZED ->
                    encode(
                            values,
                            Operand.of(
                                    UNSIGNED.quantizer().orElseThrow(),
                                    new ChannelAffine(
                                            positive(memory.floats(width, 2)),
                                            memory.floats(width, 2).toArray(JAVA_FLOAT))));
                case DECODE -> {
                    Product product = product(width);
                    MemorySegment raw = raw(values);
                    MemorySegment out = memory.empty(values);
                    yield pass(p -> p.decode(raw, tokens, product, out), out, 8, values);
                }
                case MEAN_ROWS -> {
                    MemorySegment x = memory.floats(values, 8);
                    MemorySegment out = memory.empty(width);
                    yield pass(p -> p.meanRows(x, tokens, width, out), out, 4, values);
                }
            };
        }

        private static PointwisePass pass(Consumer<Pointwise> run, MemorySegment out, long bytesOfOne, long count) {
            return new PointwisePass(run, out, bytesOfOne * count);
        }

        private Operand operand(Operand codes) {
            return integer ? codes : Operand.FLOAT;
        }

        /** Sums of a product. */
        private MemorySegment raw(long count) {
            return integer ? memory.integers(count, 50_000) : memory.floats(count, 8);
        }

        private Product product(int columns) {
            return new Product(
                    integer,
                    columns,
                    memory.floats(columns, 2e-4),
                    memory.floats(columns, 1),
                    memory.floats(columns, 1));
        }

        private static float[] positive(MemorySegment factors) {
            float[] values = factors.toArray(JAVA_FLOAT);
            for (int i = 0; i < values.length; i++) {
                values[i] = Math.abs(values[i]) + 0.1f;
            }
            return values;
        }

        private PointwisePass encode(long values, Operand operand) {
            MemorySegment x = memory.floats(values, 8);
            MemorySegment out = memory.empty(values);
            return pass(p -> p.encode(x, Math.toIntExact(values), operand, out), out, 5, values);
        }

        private AttentionShape whole() {
            return new AttentionShape(1, tokens, stage.heads(), stage.headWidth());
        }

        private WindowShape windows(WindowPartition partition) {
            return new WindowShape(
                    1,
                    tokens,
                    stage.heads(),
                    stage.headWidth(),
                    partition.windows(),
                    partition.windowTokens(),
                    partition.tokens());
        }

        private PointwisePass split(long values) {
            Product product = product(3 * width);
            MemorySegment raw = raw(3 * values);
            Operand form = operand(SIGNED);
            AttentionOperands forms = new AttentionOperands(form, form, form);
            MemorySegment query = memory.empty(values);
            MemorySegment key = memory.empty(values);
            MemorySegment value = memory.empty(values);
            Optional<WindowShape> windows = stage.windows().map(this::windows);
            AttentionShape whole = whole();
            return pass(
                    windows.<Consumer<Pointwise>>map(
                                    shape -> p -> p.splitWindows(raw, shape, product, forms, query, key, value))
                            .orElse(p -> p.splitHeads(raw, whole, product, forms, query, key, value)),
                    value,
                    4 + size,
                    3 * values);
        }

        private PointwisePass splitCodes(long values) {
            Product product = product(3 * width);
            MemorySegment codes = memory.bytes(3 * values);
            AttentionOperands forms = new AttentionOperands(SIGNED, SIGNED, SIGNED);
            MemorySegment query = memory.empty(values);
            MemorySegment key = memory.empty(values);
            MemorySegment value = memory.empty(values);
            AttentionShape whole = whole();
            Optional<Consumer<Pointwise>> windowed = stage.windows().map(partition -> {
                WindowShape shape = windows(partition);
                return p -> p.splitWindowCodes(codes, shape, product, forms, query, key, value);
            });
            return pass(windowed.orElse(p -> p.splitHeads(codes, whole, query, key, value)), value, 2, 3 * values);
        }

        private PointwisePass softmax(boolean numerators) {
            int n = stage.groupTokens();
            int rows = stage.groups() * stage.heads() * n;
            MemorySegment raw = raw((long) rows * n);
            MemorySegment out = memory.empty((long) rows * n);
            MemorySegment factors = numerators ? memory.empty(rows) : MemorySegment.NULL;
            float scale = integer ? 5e-5f : 0.7f;
            Operand form = operand(PROBABILITY);
            Optional<Consumer<Pointwise>> windowed = stage.windows().map(partition -> {
                WindowShape shape = windows(partition);
                ScoreBias bias = bias(partition);
                return p -> p.softmaxWindows(raw, integer, shape, scale, bias, form, out, factors);
            });
            Consumer<Pointwise> whole = numerators
                    ? p -> p.softmaxNumerators(raw, integer, rows, n, scale, form, out, factors)
                    : p -> p.softmax(raw, integer, rows, n, scale, form, out);
            return pass(windowed.orElse(whole), out, 4 + size, (long) rows * n);
        }

        private ScoreBias bias(WindowPartition partition) {
            int n = partition.windowTokens();
            float[] mask = partition.mask();
            boolean[] masked = new boolean[partition.windows()];
            for (int i = 0; i < mask.length; i++) {
                masked[i / (n * n)] |= mask[i] != 0;
            }
            MemorySegment values = memory.empty(mask.length);
            MemorySegment.copy(mask, 0, values, JAVA_FLOAT, 0, mask.length);
            return new ScoreBias(memory.floats((long) stage.heads() * n * n, 1), values, masked);
        }

        private PointwisePass merge(long values, boolean normalized) {
            MemorySegment raw = raw(values);
            MemorySegment out = memory.empty(values);
            MemorySegment factors = normalized ? memory.floats((long) tokens * stage.heads(), 1) : MemorySegment.NULL;
            float scale = integer ? 5e-5f : 0.7f;
            Operand form = operand(UNSIGNED);
            AttentionShape shape = whole();
            Consumer<Pointwise> whole = normalized
                    ? p -> p.mergeNormalizedHeads(raw, shape, scale, factors, form, out)
                    : p -> p.mergeHeads(raw, integer, shape, scale, form, out);
            Optional<Consumer<Pointwise>> windowed = stage.windows().map(partition -> {
                WindowShape cut = windows(partition);
                return p -> p.mergeWindows(raw, integer, cut, scale, factors, form, out);
            });
            return pass(windowed.orElse(whole), out, 4 + size, values);
        }
    }
}
