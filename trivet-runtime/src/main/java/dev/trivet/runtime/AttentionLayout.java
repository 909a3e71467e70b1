package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.AttentionShape;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.Product;
import dev.trivet.kernel.ScoreBias;
import dev.trivet.kernel.WindowShape;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitModel;
import dev.trivet.model.WindowPartition;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * How a block's tokens are grouped for attention, and what stands between its products because of that: all tokens of an image
 * in one group (ViT), or one group per window (Swin), with relative position biases, the masks of shifted windows, and padding.
 * Sessions run through it, and so does calibration, so both compute the same attention.
 *
 * <p>Per image the operands of a block's products are {@code [groups, heads, groupTokens, ...]} in both cases. Immutable and safe to
 * share.
 */
public final class AttentionLayout {
    /** Masks of windows that are cut alike: {@code [windows, windowTokens, windowTokens]}. */
    @SuppressWarnings("ArrayRecordComponent") // a table, never compared
    record Mask(MemorySegment values, boolean[] masked) {
        static Mask of(WindowPartition windows, Arena arena) {
            boolean[] masked = new boolean[windows.windows()];
            if (windows.shift() == 0) {
                return new Mask(MemorySegment.NULL, masked);
            }
            float[] values = windows.mask();
            int pairs = values.length / masked.length;
            for (int i = 0; i < values.length; i++) {
                masked[i / pairs] |= values[i] != 0;
            }
            return new Mask(arena.allocateFrom(JAVA_FLOAT, values), masked);
        }
    }

    /**
     * What is computed at once: all of some images, or what one member of a team does of one.
     *
     * @param rows of tokens
     * @param products of queries and keys; there are as many of probabilities and values
     * @param scoreRows rows of those products
     * @param whole filled where all tokens are one group
     * @param windows filled otherwise
     */
    record Extent(
            int rows, int products, int scoreRows, Optional<AttentionShape> whole, Optional<WindowShape> windows) {}

    private final ModelUnit.Block unit;
    /** For each number of images. */
    private final List<Extent> extents;

    private final Optional<ScoreBias> bias;
    /** Which token stands where, {@link WindowPartition#tokens()}; empty for one group of all tokens. */
    private final int[] source;

    private final boolean padded;

    private AttentionLayout(ModelUnit.Block unit, int batch, Optional<ScoreBias> bias) {
        this.unit = unit;
        this.bias = bias;
        source = unit.windows().map(WindowPartition::tokens).orElseGet(() -> new int[0]);
        int tokens = unit.shape().tokens();
        List<Extent> all = new ArrayList<>();
        for (int images = 0; images <= batch; images++) {
            int products = images * products();
            all.add(
                    source.length == 0
                            ? queries(images, tokens)
                            : new Extent(
                                    images * tokens,
                                    products,
                                    products * unit.groupTokens(),
                                    Optional.empty(),
                                    Optional.of(windows(images))));
        }
        extents = List.copyOf(all);
        padded = source.length > tokens;
    }

    /**
     * The layout of a block of a model.
     *
     * @param batch most images at a time
     * @param arena owns biases and masks; outlives the layout
     */
    public static AttentionLayout of(VitModel model, ModelUnit.Block unit, int batch, Arena arena) {
        return unit.windows()
                .map(windows -> of(model, unit, batch, arena, Mask.of(windows, arena)))
                .orElseGet(() -> whole(unit, batch));
    }

    /**
     * One group of all tokens.
     *
     * @param unit a block without windows
     */
    public static AttentionLayout whole(ModelUnit.Block unit, int batch) {
        if (unit.windows().isPresent()) {
            throw new IllegalArgumentException(unit.name() + " attends within windows");
        }
        return new AttentionLayout(unit, batch, Optional.empty());
    }

    /** The same with a mask that other blocks use as well. */
    static AttentionLayout of(VitModel model, ModelUnit.Block unit, int batch, Arena arena, Mask mask) {
        float[] table = model.floats(SwinNames.relativePositions(unit.name()));
        float[] relative = relative(table, unit.windows().orElseThrow().relativePositions(), unit.heads());
        MemorySegment values = arena.allocateFrom(JAVA_FLOAT, relative);
        return new AttentionLayout(unit, batch, Optional.of(new ScoreBias(values, mask.values, mask.masked)));
    }

    /** Rows of {@code [offsets, heads]} to {@code [heads, pairs]}. */
    private static float[] relative(float[] table, int[] positions, int heads) {
        float[] expanded = new float[heads * positions.length];
        for (int head = 0; head < heads; head++) {
            for (int pair = 0; pair < positions.length; pair++) {
                expanded[head * positions.length + pair] = table[positions[pair] * heads + head];
            }
        }
        return expanded;
    }

    private WindowShape windows(int images) {
        return new WindowShape(
                images,
                unit.shape().tokens(),
                unit.heads(),
                unit.headWidth(),
                unit.groups(),
                unit.groupTokens(),
                source);
    }

    /** All of some images. */
    Extent extent(int images) {
        return extents.get(images);
    }

    /** Within windows: what a member of a team does of one image, rows of tokens and products of whole windows. */
    Extent extent(Share rows, Share products) {
        WindowShape part = windows(1).part(rows.first(), rows.end(), products.first(), products.end());
        int scoreRows = products.count() * unit.groupTokens();
        return new Extent(rows.count(), products.count(), scoreRows, Optional.empty(), Optional.of(part));
    }

    /**
     * In one group: what a member of a team does of one image, rows of tokens and their products with all keys.
     *
     * @param keys places for the keys of a head
     */
    Extent extent(Share rows, int keys) {
        AttentionShape part = new AttentionShape(1, rows.count(), keys, unit.heads(), unit.headWidth());
        int heads = rows.count() == 0 ? 0 : unit.heads();
        return new Extent(rows.count(), heads, heads * rows.count(), Optional.of(part), Optional.empty());
    }

    /**
     * In one group: all or some heads of some images, with room for more keys.
     *
     * @param keys places for the keys of a head
     */
    Extent roomy(int images, int heads, int keys) {
        int tokens = unit.shape().tokens();
        int products = images * heads;
        AttentionShape shape = new AttentionShape(images, tokens, keys, heads, unit.headWidth());
        return new Extent(images * tokens, products, products * tokens, Optional.of(shape), Optional.empty());
    }

    /** In one group: the first of some images' tokens as queries. Where these are fewer than all, it is of use behind the split only. */
    Extent queries(int images, int tokens) {
        int products = images * products();
        AttentionShape merged = new AttentionShape(images, tokens, unit.heads(), unit.headWidth());
        return new Extent(images * tokens, products, products * tokens, Optional.of(merged), Optional.empty());
    }

    /** Whether attention is within windows. */
    boolean isWindowed() {
        return bias.isPresent();
    }

    /** The block whose attention this is. */
    public ModelUnit.Block unit() {
        return unit;
    }

    /** Products of one image: groups times heads. */
    public int products() {
        return unit.groups() * unit.heads();
    }

    /** Elements of one image's queries, of its keys and of its values, padding included. */
    public int operandElements() {
        return products() * unit.groupTokens() * unit.headWidth();
    }

    /** Elements of one image's attention maps. */
    public int mapElements() {
        return products() * unit.groupTokens() * unit.groupTokens();
    }

    /** Whether any group holds padding. */
    public boolean isPadded() {
        return padded;
    }

    /**
     * Whether a place of a group is padding. The model computes with its key and its value; its query's results are dropped.
     *
     * @param place of {@code [groupTokens]}
     */
    public boolean isPadding(int group, int place) {
        return padded && source[group * unit.groupTokens() + place] < 0;
    }

    /** Whether any pair of a group's tokens must not see each other. */
    public boolean isMasked(int group) {
        return bias.isPresent() && bias.get().masked()[group];
    }

    /** Whether two places of a group must not see each other. */
    public boolean isMasked(int group, int query, int key) {
        return isMasked(group) && bias.orElseThrow().mask().getAtIndex(JAVA_FLOAT, pair(group, query, key)) != 0;
    }

    /** What is added to the scaled score of a pair, without the mask. */
    public float relative(int head, int query, int key) {
        return bias.isEmpty() ? 0 : bias.get().relative().getAtIndex(JAVA_FLOAT, pair(head, query, key));
    }

    private long pair(int map, int row, int column) {
        return ((long) map * unit.groupTokens() + row) * unit.groupTokens() + column;
    }

    /** Splits the raw q, k, v projection into groups and heads; see {@link Pointwise#splitWindows}. */
    public void split(
            Pointwise pointwise,
            MemorySegment raw,
            int images,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        split(pointwise, raw, extents.get(images), product, operands, query, key, value);
    }

    void split(
            Pointwise pointwise,
            MemorySegment raw,
            Extent extent,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        if (isWindowed()) {
            pointwise.splitWindows(raw, extent.windows().orElseThrow(), product, operands, query, key, value);
        } else {
            pointwise.splitHeads(raw, extent.whole().orElseThrow(), product, operands, query, key, value);
        }
    }

    /** Splits codes of queries, keys and values. */
    void splitCodes(
            Pointwise pointwise,
            MemorySegment codes,
            Extent extent,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        if (isWindowed()) {
            pointwise.splitWindowCodes(codes, extent.windows().orElseThrow(), product, operands, query, key, value);
        } else {
            pointwise.splitHeads(codes, extent.whole().orElseThrow(), query, key, value);
        }
    }

    /**
     * Raw scores to attention probabilities, or to numerators with a factor for each row.
     *
     * @param factors float32 {@code [images, groups, heads, groupTokens]}; {@link MemorySegment#NULL} asks for probabilities
     */
    public void softmax(
            Pointwise pointwise,
            MemorySegment raw,
            boolean integer,
            int images,
            float scale,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        softmax(pointwise, raw, integer, extents.get(images), unit.groupTokens(), scale, operand, out, factors);
    }

    /** @param stride scores of a row that there is room for; within windows {@code groupTokens} */
    void softmax(
            Pointwise pointwise,
            MemorySegment raw,
            boolean integer,
            Extent extent,
            int stride,
            float scale,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        int n = unit.groupTokens();
        int rows = extent.scoreRows();
        if (bias.isPresent()) {
            WindowShape shape = extent.windows().orElseThrow();
            pointwise.softmaxWindows(raw, integer, shape, scale, bias.get(), operand, out, factors);
        } else if (factors.equals(MemorySegment.NULL)) {
            pointwise.softmax(raw, integer, rows, n, stride, scale, operand, out);
        } else {
            pointwise.softmaxNumerators(raw, integer, rows, n, stride, scale, operand, out, factors);
        }
    }

    /**
     * Raw mixed values back to tokens.
     *
     * @param factors what {@link #softmax} gave, or {@link MemorySegment#NULL}
     */
    public void merge(
            Pointwise pointwise,
            MemorySegment raw,
            boolean integer,
            int images,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        merge(pointwise, raw, integer, extents.get(images), scale, factors, operand, out);
    }

    void merge(
            Pointwise pointwise,
            MemorySegment raw,
            boolean integer,
            Extent extent,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        if (isWindowed()) {
            WindowShape shape = extent.windows().orElseThrow();
            pointwise.mergeWindows(raw, integer, shape, scale, factors, operand, out);
        } else if (factors.equals(MemorySegment.NULL)) {
            pointwise.mergeHeads(raw, integer, extent.whole().orElseThrow(), scale, operand, out);
        } else {
            pointwise.mergeNormalizedHeads(raw, extent.whole().orElseThrow(), scale, factors, operand, out);
        }
    }
}
