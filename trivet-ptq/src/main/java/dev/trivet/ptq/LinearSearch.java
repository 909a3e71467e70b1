package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.DigitProducts;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Product;
import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.quant.TernaryWeights;
import dev.trivet.quant.WeightCoding;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Interval search of a linear layer, Liu et al. 2021, section 3.1, eq. (10): maximise the Pearson correlation between the float
 * output and the output of the integer kernel, over the weight scale and the input scale in turn. A layer may consist of
 * several matrices that share an input (W^Q, W^K, W^V); each has a weight scale, and the input's scale is chosen by the mean of
 * their objectives. W^Q and W^K are also judged by the order of the attention scores, eq. (12), see {@link AttentionRanking}.
 *
 * <p>Bias correction, eq. (16): the three error terms add up to {@code E[quantized O] - E[O]}, the column means of the error
 * that scoring an input candidate sums up anyway. So the chosen candidate's means are taken from the original bias after each
 * round, and the next round's scores see the bias. In sequential calibration the float output is that of the float model, and
 * what earlier operators have shifted goes with it.
 *
 * <p>Differences from the paper: with one scale per output channel (an option) the correlation is taken per channel as well,
 * so each channel picks its own candidate from the same integer products; a ranking loss cannot be laid to one channel and
 * then only judges the input's scale. Where an image gives fewer than {@value #FEW_ROWS} rows (the head sees one token), a
 * correlation within a column says nothing, and all channels share one factor chosen by the correlation over the whole output.
 * Inputs may be asymmetric; the paper's symmetric grid is an option.
 */
final class LinearSearch implements OperatorSearch {
    /** Below this a per-channel correlation is too noisy to choose by. */
    static final int FEW_ROWS = 16;

    private final LinearLayer.Float32 layer;
    private final int rows;
    private final OperatorPlan bits;
    private final LiuSettings settings;
    private final Kernels kernels;
    private final @Nullable AttentionRanking ranking;
    private final float[] factors;
    /** Matrices that the input's scale is chosen for. */
    private final int parts;

    private final boolean choicePerChannel;
    private final ValueRange range = new ValueRange();
    private final SettledSides settled = new SettledSides();
    /** {@code [outputs]}: what the bias has been changed by. */
    private final float[] biasChange;
    /** How the float model's raw output becomes values. */
    private final Product floatProduct;

    /** Per channel, or per part. */
    private float[] initialScales = new float[0];
    /** Per channel or per part, or one. */
    private final int[] weightChoice;

    private int inputChoice;
    private double objective;

    private Side side = Side.RIGHT;
    private Arena arena = Arena.ofAuto();
    private List<Weights> weights = List.of();
    private List<ActivationQuantizer> inputs = List.of();
    private List<Operand> operands = List.of();
    /** Per candidate how its sums become values; only where a ranking needs them. */
    private List<Product> products = List.of();

    private Scores scores = new Scores(1, 1);
    private List<MeanError> errors = List.of();
    private final AtomicLong images = new AtomicLong();

    /**
     * Packed weight codes.
     *
     * @param rowSums {@code [outputs]}: sums over the inputs
     * @param scales {@code [outputs]}
     */
    @SuppressWarnings("ArrayRecordComponent") // parameters, never compared
    private record Weights(Linear linear, int[] rowSums, float[] scales) {}

    /**
     * @param rows rows that one image gives
     * @param matrices how many matrices of equal size are stacked in the layer
     * @param ranking judges the first two of three matrices, queries and keys; absent where nothing is ranked
     */
    LinearSearch(
            LinearLayer.Float32 layer,
            int rows,
            int matrices,
            OperatorPlan bits,
            Optional<AttentionRanking> ranking,
            Kernels kernels,
            LiuSettings settings) {
        this.layer = layer;
        this.rows = rows;
        this.bits = bits;
        this.ranking = ranking.orElse(null);
        this.kernels = kernels;
        this.settings = settings;
        factors = settings.factors();
        parts = settings.perChannel() ? 1 : matrices;
        choicePerChannel = settings.perChannel() && rows >= FEW_ROWS;
        weightChoice = new int[choicePerChannel ? layer.outputs() : parts];
        biasChange = new float[layer.outputs()];
        floatProduct = Product.ofFloats(layer.outputs(), Arena.ofAuto().allocateFrom(JAVA_FLOAT, layer.bias()));
    }

    @Override
    public String name() {
        return layer.name();
    }

    @Override
    public long leftElements() {
        return (long) rows * layer.inputs();
    }

    @Override
    public long rightElements() {
        return 0;
    }

    @Override
    public long outputElements() {
        return (long) rows * layer.outputs();
    }

    @Override
    public void observe(MemorySegment left, MemorySegment right) {
        range.add(left, leftElements());
    }

    @Override
    public void initialize() {
        int groups = settings.perChannel() ? layer.outputs() : parts;
        initialScales =
                WeightCodes.initialScales(layer.weight(), layer.outputs(), layer.inputs(), bits.coding(), groups);
        int one = Arrays.binarySearch(factors, 1f);
        Arrays.fill(weightChoice, one);
        inputChoice = one;
    }

    private int outputsPerPart() {
        return layer.outputs() / parts;
    }

    /** {@code [outputs]}: the weight scales when every choice is the given one, or those chosen so far. */
    private float[] weightScales(int candidate) {
        float[] scales = new float[layer.outputs()];
        for (int n = 0; n < scales.length; n++) {
            int chosen = weightChoice[choicePerChannel ? n : n / outputsPerPart()];
            float factor = factors[candidate < 0 ? chosen : candidate];
            float scale = initialScales[n / (layer.outputs() / initialScales.length)] * factor;
            scales[n] = bits.coding() == WeightCoding.TERNARY ? TernaryWeights.storedScale(scale) : scale;
        }
        return scales;
    }

    private float[] chosenScales() {
        return weightScales(-1);
    }

    private ActivationQuantizer input(int candidate) {
        ActivationQuantizer initial = settings.asymmetric()
                ? range.asymmetric(bits.activationBits())
                : range.symmetricUnsigned(bits.activationBits());
        return initial.scaledBy(factors[candidate]);
    }

    @Override
    public boolean isSettled(Side searched) {
        return settled.isSettled(searched);
    }

    @Override
    public long candidateBytes(Side searched) {
        long bytes = kernels.packedBytes(layer.outputs(), layer.inputs()) * WeightCodes.bytes(bits.coding());
        return searched == Side.RIGHT ? bytes * factors.length : bytes;
    }

    @Override
    public void open(Side searched) {
        if (initialScales.length == 0) {
            throw new IllegalStateException("no range yet");
        }
        side = searched;
        images.set(0);
        arena = Arena.ofShared();
        weights = new ArrayList<>();
        inputs = new ArrayList<>();
        operands = new ArrayList<>();
        products = new ArrayList<>();
        errors = new ArrayList<>();
        boolean right = side == Side.RIGHT;
        scores = new Scores(factors.length, right ? weightChoice.length : 1);
        for (int c = 0; c < (right ? factors.length : 1); c++) {
            weights.add(pack(right ? weightScales(c) : chosenScales()));
        }
        for (int c = 0; c < (right ? 1 : factors.length); c++) {
            inputs.add(input(right ? inputChoice : c));
            operands.add(Operand.of(inputs.getLast()));
        }
        for (int c = 0; c < factors.length; c++) {
            if (ranking != null) {
                products.add(product(weights(c), input(c, inputs)));
            }
            if (!right) {
                errors.add(new MeanError(layer.outputs()));
            }
        }
    }

    private Weights weights(int candidate) {
        return weights.get(side == Side.RIGHT ? candidate : 0);
    }

    private <T> T input(int candidate, List<T> of) {
        return of.get(side == Side.RIGHT ? 0 : candidate);
    }

    private Weights pack(float[] scales) {
        boolean wide = bits.coding().wide();
        int[] rowSums = new int[layer.outputs()];
        try (Arena scratch = Arena.ofConfined()) {
            MemorySegment codes = encode(scales, rowSums, scratch);
            Linear linear = DigitProducts.linear(
                    kernels, codes, wide, layer.outputs(), layer.inputs(), rows, bits.activationBits() > 8);
            return new Weights(linear, rowSums, scales);
        }
    }

    private MemorySegment encode(float[] scales, int[] rowSums, Arena to) {
        long count = (long) layer.outputs() * layer.inputs();
        MemorySegment codes = to.allocate(count * WeightCodes.bytes(bits.coding()), 64);
        WeightCodes.encode(layer.weight(), layer.outputs(), layer.inputs(), scales, bits.coding(), codes, rowSums);
        return codes;
    }

    private Product product(Weights packed, ActivationQuantizer input) {
        float[] scale = new float[layer.outputs()];
        for (int n = 0; n < scale.length; n++) {
            scale[n] = input.scale() * packed.scales[n];
        }
        return Product.ofIntegers(input.zeroPoint(), packed.rowSums, scale, bias(), arena);
    }

    private float[] bias() {
        float[] bias = layer.bias().clone();
        for (int n = 0; n < bias.length; n++) {
            bias[n] += biasChange[n];
        }
        return bias;
    }

    @Override
    public void score(SearchScratch scratch, MemorySegment left, MemorySegment right, MemorySegment output) {
        ErrorSums sums = scratch.sums(rows, layer.outputs(), 0);
        sums.setOutput(output);
        MemorySegment codes = scratch.buffer("codes", 2L * leftElements());
        MemorySegment out = scratch.buffer("sums", 4L * outputElements());
        if (ranking != null) {
            ranking.split(scratch, "candidate", "candidate", output, floatProduct);
            ranking.reference(scratch, "candidate");
        }
        for (int c = 0; c < factors.length; c++) {
            if (c == 0 || side == Side.LEFT) {
                encode(scratch, left, input(c, operands), codes);
            }
            if (c == 0 && side == Side.RIGHT && ranking != null && ranksWeights()) {
                splitChosen(scratch, ranking, codes, out);
            }
            Weights packed = weights(c);
            ActivationQuantizer input = input(c, inputs);
            packed.linear.run(scratch.workspace(), codes, rows, out);
            sums.setQuantized(output, out, packed.rowSums, input.zeroPoint(), packed.scales, input.scale());
            if (side == Side.RIGHT) {
                scoreWeights(scratch, c, sums, out);
            } else {
                scoreInput(scratch, c, sums, out);
            }
        }
        images.incrementAndGet();
    }

    private void encode(SearchScratch scratch, MemorySegment x, Operand operand, MemorySegment codes) {
        scratch.workspace().pointwise().encode(x, Math.toIntExact(leftElements()), operand, codes);
    }

    private boolean ranksWeights() {
        return !settings.perChannel() && parts == 3;
    }

    /** Keeps the queries and keys of the scales chosen so far. */
    private void splitChosen(SearchScratch scratch, AttentionRanking maps, MemorySegment codes, MemorySegment out) {
        int queries = weightChoice[0];
        int keys = weightChoice[1];
        weights(queries).linear.run(scratch.workspace(), codes, rows, out);
        maps.split(scratch, "chosen", keys == queries ? "chosen" : "unused", out, products.get(queries));
        if (keys != queries) {
            weights(keys).linear.run(scratch.workspace(), codes, rows, out);
            maps.split(scratch, "unused", "chosen", out, products.get(keys));
        }
    }

    private void scoreWeights(SearchScratch scratch, int c, ErrorSums sums, MemorySegment out) {
        int columns = layer.outputs() / weightChoice.length;
        AttentionRanking maps = ranksWeights() ? ranking : null;
        if (maps != null) {
            maps.split(scratch, "candidate", "candidate", out, products.get(c));
        }
        for (int choice = 0; choice < weightChoice.length; choice++) {
            double score = sums.pearson(choice * columns, (choice + 1) * columns, biasChange);
            if (maps != null && choice == 0) {
                score -= maps.penalty(scratch, "candidate", "chosen");
            } else if (maps != null && choice == 1) {
                score -= maps.penalty(scratch, "chosen", "candidate");
            }
            scores.add(c, choice, score);
        }
    }

    private void scoreInput(SearchScratch scratch, int c, ErrorSums sums, MemorySegment out) {
        double score = 0;
        for (int part = 0; part < parts; part++) {
            score += sums.pearson(part * outputsPerPart(), (part + 1) * outputsPerPart(), biasChange);
        }
        if (ranking != null) {
            ranking.split(scratch, "candidate", "candidate", out, products.get(c));
            // It is part of the objective of W^Q and of W^K, but not of W^V.
            double ranked = parts == 1 ? 2 / 3.0 : 2;
            score -= ranked * ranking.penalty(scratch, "candidate", "candidate");
        }
        scores.add(c, 0, score / parts);
        double[] means = scratch.means(layer.outputs());
        for (int n = 0; n < means.length; n++) {
            means[n] = sums.meanError(n);
        }
        errors.get(c).add(means);
    }

    @Override
    public void choose() {
        boolean changed = false;
        if (side == Side.RIGHT) {
            double sum = 0;
            for (int choice = 0; choice < weightChoice.length; choice++) {
                int best = scores.best(choice);
                changed |= best != weightChoice[choice];
                weightChoice[choice] = best;
                sum += scores.mean(best, choice, images.get());
            }
            objective = sum / weightChoice.length;
            settled.searched(side, changed);
            return;
        }
        int best = scores.best(0);
        changed = best != inputChoice;
        inputChoice = best;
        objective = scores.mean(best, 0, images.get());
        settled.searched(side, changed);
        if (settings.biasCorrection()) {
            correctBias(errors.get(best).mean());
        }
    }

    private void correctBias(double[] errors) {
        boolean changed = false;
        for (int n = 0; n < biasChange.length; n++) {
            float change = (float) -errors[n];
            changed |= change != biasChange[n];
            biasChange[n] = change;
        }
        if (changed) {
            settled.biasChanged();
        }
    }

    @Override
    public void close() {
        if (weights.isEmpty()) {
            return;
        }
        weights.forEach(packed -> packed.linear.close());
        weights = List.of();
        arena.close();
    }

    @Override
    public double objective() {
        return objective;
    }

    @Override
    public void install(SearchState state) {
        state.put(quantized());
    }

    /** The layer with what has been chosen so far. */
    LinearLayer.Quantized quantized() {
        float[] scales = chosenScales();
        MemorySegment codes = encode(scales, new int[layer.outputs()], Arena.ofAuto());
        boolean one = !settings.perChannel() && parts == 1;
        return new LinearLayer.Quantized(
                layer.name(),
                layer.outputs(),
                layer.inputs(),
                bits.coding(),
                codes,
                one ? new float[] {scales[0]} : scales,
                bias(),
                input(inputChoice));
    }
}
