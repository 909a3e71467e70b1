package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
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
        plan.check(model.vit());
        LiuSearch method = new LiuSearch(plan, settings, CANDIDATE_BUDGET, OPERAND_BUDGET);
        return BlockwiseSearch.quantize(
                model, begun, finished, kernels, images, settings.threads(), method, listener, checkpoint);
    }

    /** Upper bound of the memory that {@link #quantize} takes beside the model and its tokens, bytes. */
    public static long memoryBound(VitConfig config, LiuSettings settings) {
        long largest = 0;
        for (VitTensors.Linear layer : VitTensors.of(config).linears()) {
            largest = Math.max(largest, (long) layer.outputs() * layer.inputs());
        }
        // Vector kernels keep a code as a float, and two of them where it has two digits.
        long candidates = largest * 8 * (settings.candidates() + 1);
        return Math.max(CANDIDATE_BUDGET, candidates) + OPERAND_BUDGET;
    }

    @Override
    public long memoryBound(VitConfig config) {
        return memoryBound(config, settings);
    }

    @Override
    public int passes(ModelUnit unit, VitConfig config) {
        int once = 1 + 2 * Math.min(settings.rounds(), USUAL_ROUNDS);
        return once * (settings.sequential() ? operators(unit, config).size() : 1);
    }

    private List<OperatorPlan> operators(ModelUnit unit, VitConfig config) {
        List<OperatorPlan> operators = new ArrayList<>();
        for (String name : QuantizationPlan.names(config)) {
            boolean inUnit = unit.part().embedding()
                    ? name.equals(VitNames.PATCH_EMBEDDING)
                    : unit.part().head()
                            ? VitNames.isOfHead(name)
                            : name.startsWith(VitNames.block(unit.block()) + ".");
            if (inUnit && !plan.operator(name).isFloat()) {
                operators.add(plan.operator(name));
            }
        }
        return operators;
    }

    @Override
    public void quantize(ModelUnit unit, SearchState state) {
        Optional<AttentionRanking> ranking = ranking(state);
        List<OperatorSearch> searches = new ArrayList<>();
        for (OperatorPlan operator : operators(unit, state.config())) {
            searches.add(search(operator, state, ranking));
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

    private Optional<AttentionRanking> ranking(SearchState state) {
        VitConfig c = state.config();
        if (!settings.ranking() || c.tokens() < 2) {
            return Optional.empty(); // one token has no order
        }
        RankingLoss loss = new RankingLoss(c.tokens(), settings.seed(), settings.reduction());
        return Optional.of(new AttentionRanking(loss, c.heads(), c.headWidth(), state.kernels));
    }

    private OperatorSearch search(OperatorPlan operator, SearchState state, Optional<AttentionRanking> ranking) {
        VitConfig c = state.config();
        String name = operator.operator();
        if (QuantizationPlan.isProduct(name)) {
            boolean mixing = name.endsWith(".attn.av");
            MatmulShape shape = mixing
                    ? new MatmulShape(c.tokens(), c.headWidth(), c.tokens(), false)
                    : new MatmulShape(c.tokens(), c.tokens(), c.headWidth(), true);
            return new MatmulSearch(
                    operator, shape, c.heads(), mixing, mixing ? Optional.empty() : ranking, state.kernels, settings);
        }
        boolean qkv = name.endsWith(".attn.qkv");
        return new LinearSearch(
                state.floatLayer(name),
                rows(c, name),
                qkv ? 3 : 1,
                operator,
                qkv ? ranking : Optional.empty(),
                state.kernels,
                settings);
    }

    private static int rows(VitConfig config, String name) {
        return switch (name) {
            case VitNames.PATCH_EMBEDDING -> config.patches();
            case VitNames.PRE_LOGITS, VitNames.HEAD, VitNames.DISTILLATION_HEAD -> 1;
            default -> config.tokens();
        };
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

    private void search(ModelUnit unit, SearchState state, List<OperatorSearch> operators, String label) {
        String prefix = label.isEmpty() ? "" : label + ", ";
        state.withWorkers(unit.part(), workers -> {
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
