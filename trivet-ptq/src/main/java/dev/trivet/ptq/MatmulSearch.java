package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Interval search of an attention product: both operands are activations, each with one scale, and eq. (10) of Liu et al. 2021
 * is maximised over them in turn. Queries, keys and values are on the paper's symmetric grid. Attention probabilities are
 * never negative, so they get unsigned codes with zero point 0: the paper's signed grid would waste half of them.
 */
final class MatmulSearch implements OperatorSearch {
    private final String name;
    private final MatmulShape shape;
    private final int heads;
    private final boolean probabilities;
    private final QuantizationSettings settings;
    private final Matmul matmul;
    private final ValueRange leftRange = new ValueRange();
    private final ValueRange rightRange = new ValueRange();

    private int leftChoice;
    private int rightChoice;
    private double similarity;
    private Side side = Side.RIGHT;
    private Scores scores = new Scores(1, 1);
    private AtomicLong images = new AtomicLong();

    /**
     * @param heads products per image
     * @param probabilities whether the left operand is a softmax output
     */
    MatmulSearch(
            String name,
            MatmulShape shape,
            int heads,
            boolean probabilities,
            Kernels kernels,
            QuantizationSettings settings) {
        this.name = name;
        this.shape = shape;
        this.heads = heads;
        this.probabilities = probabilities;
        this.settings = settings;
        matmul = kernels.integerMatmul(shape, signedLeft());
    }

    /** The paper's symmetric setting keeps the signed grid even for probabilities. */
    private boolean signedLeft() {
        return !probabilities || !settings.asymmetric();
    }

    private long leftCount() {
        return (long) heads * shape.m() * shape.k();
    }

    private long rightCount() {
        return (long) heads * shape.n() * shape.k();
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public void observe(MemorySegment left, MemorySegment right) {
        leftRange.add(left, leftCount());
        rightRange.add(right, rightCount());
    }

    @Override
    public void initialize() {
        int unit = 0;
        for (int c = 1; c < settings.candidates(); c++) {
            if (Math.abs(settings.factor(c) - 1) < Math.abs(settings.factor(unit) - 1)) {
                unit = c;
            }
        }
        leftChoice = unit;
        rightChoice = unit;
    }

    private ActivationQuantizer initialLeft() {
        return signedLeft()
                ? leftRange.symmetricSigned(settings.activationBits())
                : leftRange.asymmetric(settings.activationBits());
    }

    private ActivationQuantizer initialRight() {
        return rightRange.symmetricSigned(settings.activationBits());
    }

    private ActivationQuantizer chosen(ActivationQuantizer initial, int choice) {
        return settings.rounds() == 0 ? initial : initial.scaledBy(settings.factor(choice));
    }

    @Override
    public long candidateBytes(Side searched) {
        return 0;
    }

    @Override
    public void open(Side searched) {
        side = searched;
        scores = new Scores(settings.candidates(), 1);
        images = new AtomicLong();
    }

    @Override
    public void score(SearchScratch scratch, MemorySegment left, MemorySegment right, MemorySegment output) {
        Workspace workspace = scratch.workspace();
        int rows = heads * shape.m();
        ErrorSums sums = scratch.sums(rows, shape.n());
        sums.setOutput(output);
        MemorySegment leftCodes = scratch.left(leftCount());
        MemorySegment rightCodes = scratch.right(rightCount());
        MemorySegment out = scratch.out((long) rows * shape.n());
        int[] correction = new int[shape.n()];
        float[] scale = new float[shape.n()];
        boolean leftFixed = side == Side.RIGHT;
        ActivationQuantizer fixed = leftFixed ? chosen(initialLeft(), leftChoice) : chosen(initialRight(), rightChoice);
        ActivationQuantizer searched = leftFixed ? initialRight() : initialLeft();
        encode(workspace, leftFixed, left, right, fixed, leftCodes, rightCodes);
        for (int c = 0; c < settings.candidates(); c++) {
            ActivationQuantizer candidate = searched.scaledBy(settings.factor(c));
            encode(workspace, !leftFixed, left, right, candidate, leftCodes, rightCodes);
            matmul.run(workspace, leftCodes, rightCodes, heads, out);
            java.util.Arrays.fill(scale, fixed.scale() * candidate.scale());
            sums.setQuantized(output, out, correction, scale);
            scores.add(c, 0, sums.pearson());
        }
        images.incrementAndGet();
    }

    private void encode(
            Workspace workspace,
            boolean leftSide,
            MemorySegment left,
            MemorySegment right,
            ActivationQuantizer quantizer,
            MemorySegment leftCodes,
            MemorySegment rightCodes) {
        if (leftSide) {
            workspace.pointwise().encode(left, Math.toIntExact(leftCount()), Operand.of(quantizer), leftCodes);
        } else {
            workspace.pointwise().encode(right, Math.toIntExact(rightCount()), Operand.of(quantizer), rightCodes);
        }
    }

    @Override
    public boolean choose() {
        int best = scores.best(0);
        similarity = scores.mean(best, 0, images.get());
        if (side == Side.RIGHT) {
            boolean changed = best != rightChoice;
            rightChoice = best;
            return changed;
        }
        boolean changed = best != leftChoice;
        leftChoice = best;
        return changed;
    }

    @Override
    public double similarity() {
        return similarity;
    }

    MatmulQuantizers quantizers() {
        return new MatmulQuantizers(chosen(initialLeft(), leftChoice), chosen(initialRight(), rightChoice));
    }
}
