package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.trivet.kernel.MatmulShape;
import dev.trivet.model.ModelUnit;
import dev.trivet.runtime.AttentionLayout;
import java.lang.foreign.MemorySegment;

/**
 * The Pearson correlation, eq. (11) of Liu et al. 2021, of an attention product's float output with that of the integer kernel. It is
 * taken over all heads of one group of tokens (an image of a ViT, a window of a Swin) and averaged over the groups.
 *
 * <p>What the model never looks at does not count: pairs that the mask of a shifted window keeps apart, and rows of padded queries. Most
 * windows have neither and are summed in SIMD by {@link ErrorSums}; the others are summed element by element in double, over the error for
 * the same reason as there.
 *
 * <p>Immutable; a thread's sums lie in its {@link SearchScratch}.
 */
final class ProductCorrelation {
    private final AttentionLayout layout;
    private final ModelUnit.Block block;
    private final boolean map;
    private final MatmulShape shape;
    /** A product has no row sums to correct by, one scale and no bias. */
    private final int[] noRowSums;

    private final float[] ones;
    private final float[] noBias;

    /** @param map whether the product is the one of queries and keys, and not of probabilities and values */
    ProductCorrelation(AttentionLayout layout, boolean map) {
        this.layout = layout;
        this.map = map;
        block = layout.unit();
        int n = block.groupTokens();
        shape = map ? new MatmulShape(n, n, block.headWidth(), true) : new MatmulShape(n, block.headWidth(), n, false);
        noRowSums = new int[shape.n()];
        ones = new float[shape.n()];
        java.util.Arrays.fill(ones, 1f);
        noBias = new float[shape.n()];
    }

    /** Shape of each head's product. */
    MatmulShape shape() {
        return shape;
    }

    /** Products of one image. */
    int products() {
        return layout.products();
    }

    /** Whether the left operand is a softmax output. */
    boolean readsProbabilities() {
        return !map;
    }

    private int rows() {
        return block.heads() * shape.m();
    }

    private MemorySegment group(MemorySegment values, int group) {
        long bytes = 4L * rows() * shape.n();
        return values.asSlice(group * bytes, bytes);
    }

    private ErrorSums sums(SearchScratch scratch, int group) {
        return scratch.sums(rows(), shape.n(), group);
    }

    /** Whether every element of a group counts. */
    private boolean isWhole(int group) {
        if (map && layout.isMasked(group)) {
            return false;
        }
        for (int place = 0; layout.isPadded() && place < shape.m(); place++) {
            if (layout.isPadding(group, place)) {
                return false;
            }
        }
        return true;
    }

    /** Takes one image's float output, before the candidates of that image. */
    void setOutput(SearchScratch scratch, MemorySegment output) {
        for (int group = 0; group < block.groups(); group++) {
            if (isWhole(group)) {
                sums(scratch, group).setOutput(group(output, group));
            }
        }
    }

    /**
     * @param output float32 {@code [groups, heads, m, n]}, the same as {@link #setOutput} was given
     * @param sums int32, shaped alike: what the integer kernel gave
     * @param step what they are multiplied by
     */
    double mean(SearchScratch scratch, MemorySegment output, MemorySegment sums, float step) {
        double total = 0;
        for (int group = 0; group < block.groups(); group++) {
            MemorySegment o = group(output, group);
            MemorySegment s = group(sums, group);
            if (isWhole(group)) {
                ErrorSums errors = sums(scratch, group);
                errors.setQuantized(o, s, noRowSums, 0, ones, step);
                total += errors.pearson(0, shape.n(), noBias);
            } else {
                total += partial(group, o, s, step);
            }
        }
        return total / block.groups();
    }

    /** Correlation over what counts of one group. */
    private double partial(int group, MemorySegment output, MemorySegment sums, float step) {
        double count = 0;
        double originO = 0;
        double originE = 0;
        double o = 0;
        double oo = 0;
        double e = 0;
        double ee = 0;
        double oe = 0;
        for (int row = 0; row < rows(); row++) {
            int query = row % shape.m();
            if (layout.isPadding(group, query)) {
                continue;
            }
            for (int column = 0; column < shape.n(); column++) {
                if (map && layout.isMasked(group, query, column)) {
                    continue;
                }
                long i = (long) row * shape.n() + column;
                double value = output.getAtIndex(JAVA_FLOAT, i);
                double error = (double) sums.getAtIndex(JAVA_INT, i) * step - value;
                if (count++ == 0) {
                    originO = value;
                    originE = error;
                }
                double dO = value - originO;
                double dE = error - originE;
                o += dO;
                oo += dO * dO;
                e += dE;
                ee += dE * dE;
                oe += dO * dE;
            }
        }
        return ErrorSums.pearson(count, o, oo, e, ee, oe, ee == 0 && originE == 0);
    }
}
