package dev.trivet.ptq;

import dev.trivet.kernel.DigitProducts;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Operand;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Interval search of an attention product: both operands are activations, each with one scale, and eq. (10) of Liu et al. 2021
 * is maximised over them in turn, for the product of queries and keys eq. (12). The paper's signed grid wastes half of its
 * codes on attention probabilities, which are never negative; with asymmetric activations they get unsigned codes instead.
 */
final class MatmulSearch implements OperatorSearch {
    private final String name;
    private final ProductCorrelation correlation;
    private final MatmulShape shape;
    /** Products per image. */
    private final int products;

    private final int bits;
    private final LiuSettings settings;
    private final Kernels kernels;
    private final @Nullable AttentionRanking ranking;
    private final float[] factors;
    private final ValueRange leftRange = new ValueRange();
    private final ValueRange rightRange = new ValueRange();
    private final SettledSides settled = new SettledSides();
    private int leftChoice;
    private int rightChoice;
    private double objective;
    private Side side = Side.RIGHT;
    private @Nullable Matmul matmul;
    private List<Operand> operands = List.of();
    private List<Float> steps = List.of();
    private Operand fixed = Operand.FLOAT;
    private Scores scores = new Scores(1, 1);
    private final AtomicLong images = new AtomicLong();

    /**
     * @param correlation of this product
     * @param ranking judges the product of queries and keys; absent where nothing is ranked
     */
    MatmulSearch(
            OperatorPlan bits,
            ProductCorrelation correlation,
            Optional<AttentionRanking> ranking,
            Kernels kernels,
            LiuSettings settings) {
        this.name = bits.operator();
        this.bits = bits.activationBits();
        this.correlation = correlation;
        shape = correlation.shape();
        products = correlation.products();
        this.ranking = ranking.orElse(null);
        this.kernels = kernels;
        this.settings = settings;
        factors = settings.factors();
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public long leftElements() {
        return (long) products * shape.m() * shape.k();
    }

    @Override
    public long rightElements() {
        return (long) products * shape.n() * shape.k();
    }

    @Override
    public long outputElements() {
        return (long) products * shape.m() * shape.n();
    }

    @Override
    public void observe(MemorySegment left, MemorySegment right) {
        leftRange.add(left, leftElements());
        rightRange.add(right, rightElements());
    }

    @Override
    public void initialize() {
        leftChoice = Arrays.binarySearch(factors, 1f);
        rightChoice = leftChoice;
        matmul = DigitProducts.matmul(kernels, shape, Operand.of(left(leftChoice)), Operand.of(right(rightChoice)));
    }

    private ActivationQuantizer left(int candidate) {
        ActivationQuantizer initial = correlation.readsProbabilities() && settings.asymmetric()
                ? leftRange.asymmetric(bits)
                : leftRange.symmetricSigned(bits);
        return initial.scaledBy(factors[candidate]);
    }

    private ActivationQuantizer right(int candidate) {
        return rightRange.symmetricSigned(bits).scaledBy(factors[candidate]);
    }

    @Override
    public boolean isSettled(Side searched) {
        return settled.isSettled(searched);
    }

    @Override
    public long candidateBytes(Side searched) {
        return 0;
    }

    @Override
    public void open(Side searched) {
        side = searched;
        images.set(0);
        scores = new Scores(factors.length, 1);
        operands = new ArrayList<>();
        steps = new ArrayList<>();
        ActivationQuantizer other = side == Side.RIGHT ? left(leftChoice) : right(rightChoice);
        fixed = Operand.of(other);
        for (int c = 0; c < factors.length; c++) {
            ActivationQuantizer candidate = side == Side.RIGHT ? right(c) : left(c);
            operands.add(Operand.of(candidate));
            steps.add(other.scale() * candidate.scale());
        }
    }

    @Override
    public void score(SearchScratch scratch, MemorySegment left, MemorySegment right, MemorySegment output) {
        if (matmul == null) {
            throw new IllegalStateException("no range yet");
        }
        correlation.setOutput(scratch, output);
        MemorySegment leftCodes = scratch.buffer("codes", 2L * leftElements());
        MemorySegment rightCodes = scratch.buffer("right codes", 2L * rightElements());
        MemorySegment out = scratch.buffer("sums", 4L * outputElements());
        if (ranking != null) {
            ranking.referenceMap(scratch, output);
        }
        for (int c = 0; c < factors.length; c++) {
            if (side == Side.LEFT || c == 0) {
                encode(scratch, left, leftElements(), side == Side.LEFT ? operands.get(c) : fixed, leftCodes);
            }
            if (side == Side.RIGHT || c == 0) {
                encode(scratch, right, rightElements(), side == Side.RIGHT ? operands.get(c) : fixed, rightCodes);
            }
            matmul.run(scratch.workspace(), leftCodes, rightCodes, products, out);
            double score = correlation.mean(scratch, output, out, steps.get(c));
            if (ranking != null) {
                score -= ranking.penaltyOfMap(scratch, out, steps.get(c));
            }
            scores.add(c, 0, score);
        }
        images.incrementAndGet();
    }

    private static void encode(
            SearchScratch scratch, MemorySegment x, long count, Operand operand, MemorySegment codes) {
        scratch.workspace().pointwise().encode(x, Math.toIntExact(count), operand, codes);
    }

    @Override
    public void choose() {
        int best = scores.best(0);
        objective = scores.mean(best, 0, images.get());
        if (side == Side.RIGHT) {
            settled.searched(side, best != rightChoice);
            rightChoice = best;
        } else {
            settled.searched(side, best != leftChoice);
            leftChoice = best;
        }
    }

    @Override
    public void close() {}

    @Override
    public double objective() {
        return objective;
    }

    @Override
    public void install(SearchState state) {
        state.put(name, quantizers());
    }

    /** What has been chosen so far. */
    MatmulQuantizers quantizers() {
        return new MatmulQuantizers(left(leftChoice), right(rightChoice));
    }
}
