package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Post-training quantization by alternating interval search, Liu et al. 2021 ("Post-Training Quantization for Vision
 * Transformer"): every operator starts from the largest values, {@code max / (2^(b-1) - 0.5)}, then weight scales and input
 * scales are chosen in turn from candidates in [0.5, 1.2] times that, by the correlation between the float output and that of
 * the integer kernel, eq. (10), for what feeds the attention map also by the order of its scores, eq. (12). After each round
 * the bias takes up the mean error, eq. (16).
 *
 * <p>Where the paper leaves a choice:
 *
 * <ul>
 *   <li>Calibration is parallel or sequential, see {@link LiuSettings}. Operators whose choice has come to rest drop out, and
 *       so do those whose objective gained less than {@value #TOLERANCE} of what it lacks of 1 in a whole round.
 *   <li>Equal candidates: the larger scale, which clips least. The initial scale is a candidate too.
 *   <li>W^Q, W^K and W^V are one layer here and share their input's scale; each has its own weight scale.
 *   <li>Attention within windows (Swin, which the paper evaluates and does not describe): a window is to its products what an image
 *       is to a ViT's, see {@link ProductCorrelation} and {@link AttentionRanking}.
 * </ul>
 *
 * <p>Memory does not depend on the number of images: a pass holds packed weight candidates up to {@link #CANDIDATE_BUDGET}
 * (operators are taken in groups), and operands are kept between passes as long as they fit {@link #OPERAND_BUDGET} and made
 * anew by running the unit where they do not.
 */
public final class LiuSearch implements UnitSearch {
    /** Most bytes of packed weight candidates in memory at once, as long as one operator alone does not need more. */
    public static final long CANDIDATE_BUDGET = 512L << 20;

    /** Most bytes of operands that are kept between passes. */
    public static final long OPERAND_BUDGET = 512L << 20;

    /** Least gain of a round, relative to what the objective lacks of 1. */
    static final double TOLERANCE = 1e-3;

    /** Rounds that progress reckons with; most operators need two or three. */
    private static final int USUAL_ROUNDS = 3;

    private final QuantizationPlan plan;
    private final LiuSettings settings;
    private final long candidateBudget;
    private final long operandBudget;

    LiuSearch(QuantizationPlan plan, LiuSettings settings, long candidateBudget, long operandBudget) {
        this.plan = plan;
        this.settings = settings;
        this.candidateBudget = candidateBudget;
        this.operandBudget = operandBudget;
    }

    /**
     * Quantizes a float model.
     *
     * @throws IllegalArgumentException if the plan is not one for the model, or there are no images
     * @throws dev.trivet.BadInputException if a calibration image cannot be read
     */
    public static VitModel quantize(
            VitModel model,
            Kernels kernels,
            CalibrationImages images,
            QuantizationPlan plan,
            LiuSettings settings,
            SearchListener listener) {
        return quantize(model, model, 0, kernels, images, plan, settings, listener, SearchCheckpoint.NONE);
    }

    /**
     * The same, from where an earlier search with the same arguments has got to.
     *
     * @param begun what the checkpoint was given last; the float model to start
     * @param finished how many units are finished in it
     */
    public static VitModel quantize(
            VitModel model,
            VitModel begun,
            int finished,
            Kernels kernels,
            CalibrationImages images,
            QuantizationPlan plan,
            LiuSettings settings,
            SearchListener listener,
            SearchCheckpoint checkpoint) {
        plan.check(model.geometry());
        LiuSearch method = new LiuSearch(plan, settings, CANDIDATE_BUDGET, OPERAND_BUDGET);
        return BlockwiseSearch.quantize(
                model, begun, finished, kernels, images, settings.threads(), method, listener, checkpoint);
    }

    /** Upper bound of the memory that {@link #quantize} takes beside the model and its tokens, bytes. */
    public static long memoryBound(Geometry geometry, LiuSettings settings) {
        long largest = 0;
        for (VitTensors.Linear layer : VitTensors.of(geometry).linears()) {
            largest = Math.max(largest, (long) layer.outputs() * layer.inputs());
        }
        // Vector kernels keep a code as a float, and two of them where it has two digits.
        long candidates = largest * 8 * (settings.candidates() + 1);
        return Math.max(CANDIDATE_BUDGET, candidates) + OPERAND_BUDGET;
    }

    @Override
    public long memoryBound(Geometry geometry) {
        return memoryBound(geometry, settings);
    }

    @Override
    public int passes(SearchUnit unit) {
        int once = 1 + 2 * Math.min(settings.rounds(), USUAL_ROUNDS);
        return once * (settings.sequential() ? operators(unit).size() : 1);
    }

    private List<OperatorPlan> operators(SearchUnit unit) {
        return unit.unit().operators().stream()
                .map(plan::operator)
                .filter(operator -> !operator.isFloat())
                .toList();
    }

    @Override
    public void quantize(SearchUnit unit, SearchState state) {
        Optional<AttentionRanking> ranking = ranking(unit, state);
        List<OperatorSearch> searches = new ArrayList<>();
        for (OperatorPlan operator : operators(unit)) {
            searches.add(search(unit, operator, state, ranking));
        }
        if (settings.sequential()) {
            for (OperatorSearch search : searches) {
                search(unit, state, List.of(search), search.name());
            }
        } else {
            for (List<OperatorSearch> section : sections(searches, state.images.size())) {
                search(unit, state, section, "");
            }
        }
    }

    private Optional<AttentionRanking> ranking(SearchUnit unit, SearchState state) {
        if (!settings.ranking()
                || !(unit.unit() instanceof ModelUnit.Block block)
                || block.groupTokens() < 2) { // one token has no order
            return Optional.empty();
        }
        RankingLoss loss = new RankingLoss(block.groupTokens(), settings.seed(), settings.reduction());
        return Optional.of(new AttentionRanking(loss, state.layout(block), state.kernels));
    }

    private OperatorSearch search(
            SearchUnit unit, OperatorPlan operator, SearchState state, Optional<AttentionRanking> ranking) {
        String name = operator.operator();
        if (unit.unit() instanceof ModelUnit.Block block && QuantizationPlan.isProduct(name)) {
            boolean map = name.equals(block.scores());
            ProductCorrelation correlation = new ProductCorrelation(state.layout(block), map);
            return new MatmulSearch(operator, correlation, map ? ranking : Optional.empty(), state.kernels, settings);
        }
        boolean qkv = unit.unit() instanceof ModelUnit.Block block && name.equals(block.qkv());
        LinearLayer.Float32 layer = state.floatLayer(name);
        return new LinearSearch(
                layer,
                unit.rows(layer.inputs()),
                qkv ? 3 : 1,
                operator,
                qkv ? ranking : Optional.empty(),
                state.kernels,
                settings);
    }

    /** Cuts a unit's operators into runs whose operands can be kept; all stay together if one's cannot. */
    private List<List<OperatorSearch>> sections(List<OperatorSearch> operators, int images) {
        boolean each = operators.stream().allMatch(o -> images * UnitOperands.bytes(o) <= operandBudget);
        return cut(operators, each ? operandBudget : Long.MAX_VALUE, o -> images * UnitOperands.bytes(o));
    }

    private interface Size {
        long of(OperatorSearch operator);
    }

    private static List<List<OperatorSearch>> cut(List<OperatorSearch> operators, long budget, Size size) {
        List<List<OperatorSearch>> runs = new ArrayList<>();
        long held = 0;
        for (OperatorSearch operator : operators) {
            long bytes = size.of(operator);
            if (runs.isEmpty() || held + bytes > budget) {
                runs.add(new ArrayList<>());
                held = 0;
            }
            runs.getLast().add(operator);
            held += bytes;
        }
        return runs;
    }

    private void search(SearchUnit unit, SearchState state, List<OperatorSearch> operators, String label) {
        String prefix = label.isEmpty() ? "" : label + ", ";
        state.withWorkers(unit, workers -> {
            try (UnitOperands operands =
                    new UnitOperands(state, workers, settings.sequential(), operators, operandBudget)) {
                state.progress.stage(prefix + "ranges");
                operands.first((scratch, operator, left, right, output) -> operator.observe(left, right));
                operators.forEach(OperatorSearch::initialize);
                alternate(state, operands, operators, prefix);
            }
        });
        operators.forEach(operator -> operator.install(state));
    }

    private void alternate(SearchState state, UnitOperands operands, List<OperatorSearch> operators, String prefix) {
        List<OperatorSearch> open = new ArrayList<>(operators);
        Map<String, Double> objectives = new HashMap<>();
        for (int round = 1; round <= settings.rounds() && !open.isEmpty(); round++) {
            for (OperatorSearch.Side side : OperatorSearch.Side.values()) {
                List<OperatorSearch> searched =
                        open.stream().filter(o -> !o.isSettled(side)).toList();
                state.progress.stage(
                        prefix + "round " + round + (side == OperatorSearch.Side.RIGHT ? ", weights" : ", inputs"));
                for (List<OperatorSearch> group : cut(searched, candidateBudget, o -> o.candidateBytes(side))) {
                    step(side, operands, group);
                }
            }
            open.removeIf(operator -> {
                double now = operator.objective();
                Double before = objectives.put(operator.name(), now);
                return isAtRest(operator) || (before != null && now - before <= TOLERANCE * (1 - now));
            });
        }
    }

    private static boolean isAtRest(OperatorSearch operator) {
        return operator.isSettled(OperatorSearch.Side.RIGHT) && operator.isSettled(OperatorSearch.Side.LEFT);
    }

    private static void step(OperatorSearch.Side side, UnitOperands operands, List<OperatorSearch> group) {
        try {
            group.forEach(operator -> operator.open(side));
            operands.again(
                    group, (scratch, operator, left, right, output) -> operator.score(scratch, left, right, output));
            group.forEach(OperatorSearch::choose);
        } finally {
            group.forEach(OperatorSearch::close);
        }
    }
}
