package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Interval search of a linear layer, Liu et al. 2021, section 3.1, eq. (10): maximise the Pearson correlation between the float
 * output and the output of the integer kernel, over the weight scale and the input scale in turn.
 *
 * <p>Differences from the paper: with one scale per output channel the correlation is taken per channel as well, so each
 * channel picks its own candidate from the same integer products. Where an image gives fewer than {@value #FEW_ROWS} rows
 * (the head sees one token), a correlation within a column says nothing, and all channels share one factor chosen by the
 * correlation over the whole output. Inputs may be asymmetric; the paper's symmetric grid is an option.
 */
final class LinearSearch implements OperatorSearch {
    /** Below this a per-channel correlation is too noisy to choose by. */
    static final int FEW_ROWS = 16;

    private final LinearLayer.Float32 layer;
    private final Kernels kernels;
    private final QuantizationSettings settings;
    private final int rows;
    private final boolean choicePerChannel;
    private final ValueRange range = new ValueRange();
    private final boolean signedInput;

    private float[] initialScales = new float[0];
    private int[] weightChoice = new int[0];
    private int inputChoice;
    private double similarity;
    private boolean initialized;

    private Side side = Side.RIGHT;
    private List<Candidate> candidates = List.of();
    private Scores scores = new Scores(1, 1);
    private AtomicLong images = new AtomicLong();

    /** A packed weight candidate: integer kernel, zero-point correction, scale of the sums. */
    private record Candidate(Linear linear, int[] rowSums, float[] weightScales) {}

    /** @param rows rows that one image gives */
    LinearSearch(LinearLayer.Float32 layer, int rows, Kernels kernels, QuantizationSettings settings) {
        this.layer = layer;
        this.rows = rows;
        this.kernels = kernels;
        this.settings = settings;
        choicePerChannel = settings.perChannel() && rows >= FEW_ROWS;
        signedInput = !settings.asymmetric();
    }

    @Override
    public String name() {
        return layer.name();
    }

    @Override
    public void observe(MemorySegment left, MemorySegment right) {
        range.add(left, (long) rows * layer.inputs());
    }

    @Override
    public void initialize() {
        initialScales = WeightCodes.initialScales(
                layer.weight(), layer.outputs(), layer.inputs(), settings.weightBits(), settings.perChannel());
        weightChoice = new int[choicePerChannel ? layer.outputs() : 1];
        java.util.Arrays.fill(weightChoice, settings.unitCandidate());
        inputChoice = settings.unitCandidate();
        initialized = true;
    }

    private float weightFactor(int channel) {
        return settings.rounds() == 0 ? 1 : settings.factor(weightChoice[choicePerChannel ? channel : 0]);
    }

    /** The scales chosen so far. */
    private float[] weightScales() {
        float[] scales = initialScales.clone();
        for (int s = 0; s < scales.length; s++) {
            scales[s] *= weightFactor(s);
        }
        return scales;
    }

    private ActivationQuantizer initialInput() {
        return signedInput
                ? range.symmetricUnsigned(settings.activationBits())
                : range.asymmetric(settings.activationBits());
    }

    private ActivationQuantizer input() {
        return settings.rounds() == 0 ? initialInput() : initialInput().scaledBy(settings.factor(inputChoice));
    }

    @Override
    public long candidateBytes(Side searched) {
        long weights = kernels.packedBytes(layer.outputs(), layer.inputs());
        return searched == Side.RIGHT ? weights * settings.candidates() : weights;
    }

    @Override
    public void open(Side searched) {
        if (!initialized) {
            throw new IllegalStateException("no range yet");
        }
        side = searched;
        images = new AtomicLong();
        List<Candidate> made = new ArrayList<>();
        if (side == Side.RIGHT) {
            for (int c = 0; c < settings.candidates(); c++) {
                float[] scales = initialScales.clone();
                for (int s = 0; s < scales.length; s++) {
                    scales[s] *= settings.factor(c);
                }
                made.add(pack(scales));
            }
            scores = new Scores(settings.candidates(), weightChoice.length);
        } else {
            made.add(pack(weightScales()));
            scores = new Scores(settings.candidates(), 1);
        }
        candidates = made;
    }

    private Candidate pack(float[] scales) {
        try (Arena scratch = Arena.ofConfined()) {
            MemorySegment codes = encode(scales, scratch);
            return new Candidate(
                    kernels.integerLinear(codes, layer.outputs(), layer.inputs(), rows),
                    WeightCodes.rowSums(codes, layer.outputs(), layer.inputs()),
                    scales);
        }
    }

    private MemorySegment encode(float[] scales, Arena arena) {
        MemorySegment codes = arena.allocate((long) layer.outputs() * layer.inputs(), 64);
        WeightCodes.encode(layer.weight(), layer.outputs(), layer.inputs(), scales, settings.weightBits(), codes);
        return codes;
    }

    @Override
    public void score(SearchScratch scratch, MemorySegment left, MemorySegment right, MemorySegment output) {
        ErrorSums sums = scratch.sums(rows, layer.outputs());
        sums.setOutput(output);
        MemorySegment codes = scratch.left((long) rows * layer.inputs());
        MemorySegment out = scratch.out((long) rows * layer.outputs());
        if (side == Side.RIGHT) {
            ActivationQuantizer quantizer = input();
            encode(scratch.workspace(), left, quantizer, codes);
            for (int c = 0; c < candidates.size(); c++) {
                product(scratch, candidates.get(c), quantizer, codes, output, out, sums);
                for (int choice = 0; choice < weightChoice.length; choice++) {
                    scores.add(c, choice, choicePerChannel ? sums.pearson(choice) : sums.pearson());
                }
            }
        } else {
            ActivationQuantizer initial = initialInput();
            for (int c = 0; c < settings.candidates(); c++) {
                ActivationQuantizer quantizer = initial.scaledBy(settings.factor(c));
                encode(scratch.workspace(), left, quantizer, codes);
                product(scratch, candidates.getFirst(), quantizer, codes, output, out, sums);
                scores.add(c, 0, sums.pearson());
            }
        }
        images.incrementAndGet();
    }

    private void encode(Workspace workspace, MemorySegment x, ActivationQuantizer quantizer, MemorySegment codes) {
        workspace.pointwise().encode(x, rows * layer.inputs(), Operand.of(quantizer), codes);
    }

    private void product(
            SearchScratch scratch,
            Candidate candidate,
            ActivationQuantizer quantizer,
            MemorySegment codes,
            MemorySegment output,
            MemorySegment out,
            ErrorSums sums) {
        candidate.linear.run(scratch.workspace(), codes, rows, out);
        int[] correction = new int[layer.outputs()];
        float[] scale = new float[layer.outputs()];
        for (int n = 0; n < layer.outputs(); n++) {
            correction[n] = quantizer.zeroPoint() * candidate.rowSums[n];
            scale[n] = quantizer.scale() * candidate.weightScales[candidate.weightScales.length == 1 ? 0 : n];
        }
        sums.setQuantized(output, out, correction, scale);
    }

    @Override
    public boolean choose() {
        boolean changed = false;
        if (side == Side.RIGHT) {
            for (int choice = 0; choice < weightChoice.length; choice++) {
                int best = scores.best(choice);
                changed |= best != weightChoice[choice];
                weightChoice[choice] = best;
            }
            similarity = meanSimilarity();
        } else {
            int best = scores.best(0);
            changed = best != inputChoice;
            inputChoice = best;
            similarity = scores.mean(best, 0, images.get());
        }
        candidates.forEach(c -> c.linear.close());
        candidates = List.of();
        return changed;
    }

    private double meanSimilarity() {
        double sum = 0;
        for (int choice = 0; choice < weightChoice.length; choice++) {
            sum += scores.mean(weightChoice[choice], choice, images.get());
        }
        return sum / weightChoice.length;
    }

    @Override
    public double similarity() {
        return similarity;
    }

    /** The layer with the scales chosen so far. */
    LinearLayer.Quantized quantized() {
        float[] scales = weightScales();
        MemorySegment codes = MemorySegment.ofArray(new byte[Math.multiplyExact(layer.outputs(), layer.inputs())]);
        WeightCodes.encode(layer.weight(), layer.outputs(), layer.inputs(), scales, settings.weightBits(), codes);
        return new LinearLayer.Quantized(
                layer.name(),
                layer.outputs(),
                layer.inputs(),
                settings.weightBits(),
                codes,
                scales,
                layer.bias(),
                input());
    }
}
