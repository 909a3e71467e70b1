package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.AttentionShape;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Product;
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

    private static final AttentionOperands FLOATS = new AttentionOperands(Operand.FLOAT, Operand.FLOAT, Operand.FLOAT);

    private final RankingLoss loss;
    private final int[] rows;
    private final AttentionShape shape;
    private final int heads;
    private final int tokens;
    private final int headWidth;
    private final Matmul map;
    private final float scale;

    AttentionRanking(RankingLoss loss, int heads, int headWidth, Kernels kernels) {
        this.loss = loss;
        this.heads = heads;
        this.headWidth = headWidth;
        rows = loss.rows();
        tokens = loss.tokens();
        shape = new AttentionShape(1, tokens, heads, headWidth);
        map = kernels.floatMatmul(new MatmulShape(rows.length, tokens, headWidth, true));
        scale = (float) (1 / Math.sqrt(headWidth));
    }

    private MemorySegment queries(SearchScratch scratch, String of) {
        return scratch.buffer(of + " queries", 4L * heads * rows.length * headWidth);
    }

    private MemorySegment keys(SearchScratch scratch, String of) {
        return scratch.buffer(of + " keys", 4L * heads * tokens * headWidth);
    }

    private MemorySegment map(SearchScratch scratch, String of) {
        return scratch.buffer(of + " map", 4L * heads * rows.length * tokens);
    }

    /**
     * Makes a projection's queries (on the sampled rows, over sqrt(head width)) and keys and keeps each under a name.
     *
     * @param raw {@code [tokens, 3 * heads * headWidth]}
     */
    void split(SearchScratch scratch, String queryName, String keyName, MemorySegment raw, Product product) {
        long bytes = 4L * heads * tokens * headWidth;
        MemorySegment all = scratch.buffer("all queries", bytes);
        MemorySegment values = scratch.buffer("unused values", bytes);
        scratch.workspace().pointwise().splitHeads(raw, shape, product, FLOATS, all, keys(scratch, keyName), values);
        MemorySegment queries = queries(scratch, queryName);
        int at = 0;
        for (int h = 0; h < heads; h++) {
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
        map.run(scratch.workspace(), queries(scratch, name), keys(scratch, name), heads, map(scratch, "reference"));
    }

    /** The term of kept queries with kept keys. */
    double penalty(SearchScratch scratch, String queries, String keys) {
        MemorySegment candidate = map(scratch, "candidate");
        map.run(scratch.workspace(), queries(scratch, queries), keys(scratch, keys), heads, candidate);
        return GAMMA * loss.loss(map(scratch, "reference"), candidate, heads);
    }

    /**
     * Takes the float model's map to compare others with.
     *
     * @param scores float32 {@code [heads, tokens, tokens]}, not scaled yet
     */
    void referenceMap(SearchScratch scratch, MemorySegment scores) {
        MemorySegment to = map(scratch, "reference");
        int at = 0;
        for (int h = 0; h < heads; h++) {
            for (int row : rows) {
                long from = ((long) h * tokens + row) * tokens;
                for (int c = 0; c < tokens; c++) {
                    to.setAtIndex(JAVA_FLOAT, at++, scores.getAtIndex(JAVA_FLOAT, from + c) * scale);
                }
            }
        }
    }

    /**
     * The term of a quantized map.
     *
     * @param sums int32 {@code [heads, tokens, tokens]}
     * @param step what they are multiplied by to become scores
     */
    double penaltyOfMap(SearchScratch scratch, MemorySegment sums, float step) {
        MemorySegment to = map(scratch, "candidate");
        float factor = step * scale;
        int at = 0;
        for (int h = 0; h < heads; h++) {
            for (int row : rows) {
                long from = ((long) h * tokens + row) * tokens;
                for (int c = 0; c < tokens; c++) {
                    to.setAtIndex(JAVA_FLOAT, at++, sums.getAtIndex(JAVA_INT, from + c) * factor);
                }
            }
        }
        return GAMMA * loss.loss(map(scratch, "reference"), to, heads);
    }
}
