package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Product;
import dev.trivet.model.ModelUnit;
import dev.trivet.runtime.AttentionLayout;
import java.lang.foreign.MemorySegment;

/**
 * The ranking term of eq. (12), {@code gamma * L_ranking}, for what an attention map comes from: the product of queries and
 * keys, whose result is the map, and the projections W^Q and W^K before it.
 *
 * <p>A candidate of a projection has no map of its own. Its queries are multiplied with the keys of the scales chosen so far
 * (and its keys with the queries), in float: the products' own quantizers are searched later and would only add their noise
 * here. Only the rows that {@link RankingLoss} looks at are computed.
 *
 * <p>Immutable; a thread's maps lie in its {@link SearchScratch}.
 */
final class AttentionRanking {
    static final double GAMMA = 0.1;

    /** Stands for scores that the model never looks at. */
    private static final float UNSEEN = -1e30f;

    private static final AttentionOperands FLOATS = new AttentionOperands(Operand.FLOAT, Operand.FLOAT, Operand.FLOAT);

    private final RankingLoss loss;
    private final int[] rows;
    private final AttentionLayout layout;
    /** Maps of one image. */
    private final int maps;

    private final int tokens;
    private final int headWidth;
    private final Matmul map;
    private final float scale;

    AttentionRanking(RankingLoss loss, AttentionLayout layout, Kernels kernels) {
        this.loss = loss;
        this.layout = layout;
        maps = layout.products();
        headWidth = layout.unit().headWidth();
        rows = loss.rows();
        tokens = loss.tokens();
        map = kernels.floatMatmul(new MatmulShape(rows.length, tokens, headWidth, true));
        scale = (float) (1 / Math.sqrt(headWidth));
    }

    private MemorySegment queries(SearchScratch scratch, String of) {
        return scratch.buffer(of + " queries", 4L * maps * rows.length * headWidth);
    }

    private MemorySegment keys(SearchScratch scratch, String of) {
        return scratch.buffer(of + " keys", 4L * maps * tokens * headWidth);
    }

    private MemorySegment map(SearchScratch scratch, String of) {
        return scratch.buffer(of + " map", 4L * maps * rows.length * tokens);
    }

    /**
     * Makes a projection's queries (on the sampled rows, over sqrt(head width)) and keys and keeps each under a name.
     *
     * @param raw {@code [tokens, 3 * width]}
     */
    void split(SearchScratch scratch, String queryName, String keyName, MemorySegment raw, Product product) {
        long bytes = 4L * maps * tokens * headWidth;
        MemorySegment all = scratch.buffer("all queries", bytes);
        MemorySegment values = scratch.buffer("unused values", bytes);
        layout.split(scratch.workspace().pointwise(), raw, 1, product, FLOATS, all, keys(scratch, keyName), values);
        MemorySegment queries = queries(scratch, queryName);
        int at = 0;
        for (int h = 0; h < maps; h++) {
            for (int row : rows) {
                long from = ((long) h * tokens + row) * headWidth;
                for (int c = 0; c < headWidth; c++) {
                    queries.setAtIndex(JAVA_FLOAT, at++, all.getAtIndex(JAVA_FLOAT, from + c) * scale);
                }
            }
        }
    }

    /** Makes the map that others are compared with out of kept queries and keys. */
    void reference(SearchScratch scratch, String name) {
        MemorySegment reference = map(scratch, "reference");
        map.run(scratch.workspace(), queries(scratch, name), keys(scratch, name), maps, reference);
        complete(reference);
    }

    /**
     * Turns scaled scores into what the softmax orders: relative position biases are added, and what the model never looks at (masked
     * pairs, padded queries) becomes one constant far below everything else, in the reference and in the candidate alike. Then the order
     * of a masked and an unmasked key is always kept and costs nothing, and two masked keys cost what a tie does, whatever the candidate.
     *
     * @param scores float32 {@code [maps, rows, tokens]}
     */
    private void complete(MemorySegment scores) {
        ModelUnit.Block block = layout.unit();
        if (block.windows().isEmpty()) {
            return;
        }
        int at = 0;
        for (int m = 0; m < maps; m++) {
            int group = m / block.heads();
            int head = m % block.heads();
            for (int row : rows) {
                boolean dropped = layout.isPadding(group, row);
                for (int c = 0; c < tokens; c++, at++) {
                    float score = scores.getAtIndex(JAVA_FLOAT, at) + layout.relative(head, row, c);
                    boolean unseen = dropped || layout.isMasked(group, row, c);
                    scores.setAtIndex(JAVA_FLOAT, at, unseen ? UNSEEN : score);
                }
            }
        }
    }

    /** The term of kept queries with kept keys. */
    double penalty(SearchScratch scratch, String queries, String keys) {
        MemorySegment candidate = map(scratch, "candidate");
        map.run(scratch.workspace(), queries(scratch, queries), keys(scratch, keys), maps, candidate);
        complete(candidate);
        return GAMMA * loss.loss(map(scratch, "reference"), candidate, maps);
    }

    /**
     * Takes the float model's map to compare others with.
     *
     * @param scores float32 {@code [maps, tokens, tokens]}, not scaled yet
     */
    void referenceMap(SearchScratch scratch, MemorySegment scores) {
        MemorySegment to = map(scratch, "reference");
        int at = 0;
        for (int h = 0; h < maps; h++) {
            for (int row : rows) {
                long from = ((long) h * tokens + row) * tokens;
                for (int c = 0; c < tokens; c++) {
                    to.setAtIndex(JAVA_FLOAT, at++, scores.getAtIndex(JAVA_FLOAT, from + c) * scale);
                }
            }
        }
        complete(to);
    }

    /**
     * The term of a quantized map.
     *
     * @param sums int32 {@code [maps, tokens, tokens]}
     * @param step what they are multiplied by to become scores
     */
    double penaltyOfMap(SearchScratch scratch, MemorySegment sums, float step) {
        MemorySegment to = map(scratch, "candidate");
        float factor = step * scale;
        int at = 0;
        for (int h = 0; h < maps; h++) {
            for (int row : rows) {
                long from = ((long) h * tokens + row) * tokens;
                for (int c = 0; c < tokens; c++) {
                    to.setAtIndex(JAVA_FLOAT, at++, sums.getAtIndex(JAVA_INT, from + c) * factor);
                }
            }
        }
        complete(to);
        return GAMMA * loss.loss(map(scratch, "reference"), to, maps);
    }
}
