package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import dev.trivet.runtime.DatasetRun;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.VitExecutor;
import dev.trivet.runtime.VitSession;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Post-training quantization by the alternating interval search of Liu et al. 2021: every operator starts from its maximum, then
 * weight scales and input scales are searched in turn until nothing changes.
 *
 * <p>Calibration is parallel (every operator sees the float model's inputs) and streamed: a pass runs the float model image by
 * image, and while a layer's input and output are at hand, all candidates of that layer are scored on the integer kernel. No
 * activation outlives its image, so memory does not depend on the number of images; what a pass holds is the packed weight
 * candidates, and operators are taken in groups that keep those under {@link #CANDIDATE_BUDGET}.
 */
public final class IntervalSearch {
    /** Most bytes of packed weight candidates in memory at once, as long as one operator alone does not need more. */
    public static final long CANDIDATE_BUDGET = 512L << 20;

    private final VitModel model;
    private final Kernels kernels;
    private final QuantizationSettings settings;
    private final CalibrationImages images;
    private final SearchListener listener;
    private final long budget;
    private final Map<String, OperatorSearch> operators = new LinkedHashMap<>();
    private long done;
    private long total;

    private IntervalSearch(
            VitModel model,
            Kernels kernels,
            QuantizationSettings settings,
            CalibrationImages images,
            SearchListener listener,
            long budget) {
        this.model = model;
        this.kernels = kernels;
        this.settings = settings;
        this.images = images;
        this.listener = listener;
        this.budget = budget;
        VitConfig c = model.vit();
        for (VitTensors.Linear spec : VitTensors.of(c).linears()) {
            if (model.linear(spec.name()) instanceof LinearLayer.Float32 layer) {
                operators.put(spec.name(), new LinearSearch(layer, rows(c, spec.name()), kernels, settings));
            }
        }
        for (int b = 0; b < c.depth(); b++) {
            MatmulShape scores = new MatmulShape(c.tokens(), c.tokens(), c.headWidth(), true);
            MatmulShape mixing = new MatmulShape(c.tokens(), c.headWidth(), c.tokens(), false);
            operators.put(
                    VitNames.scores(b),
                    new MatmulSearch(VitNames.scores(b), scores, c.heads(), false, kernels, settings));
            operators.put(
                    VitNames.mixing(b),
                    new MatmulSearch(VitNames.mixing(b), mixing, c.heads(), true, kernels, settings));
        }
    }

    private static int rows(VitConfig config, String name) {
        return switch (name) {
            case VitNames.PATCH_EMBEDDING -> config.patches();
            case VitNames.HEAD, VitNames.DISTILLATION_HEAD -> 1;
            default -> config.tokens();
        };
    }

    /**
     * Quantizes every linear layer and attention product of a float model.
     *
     * @throws dev.trivet.BadInputException if a calibration image cannot be read
     */
    public static VitModel quantize(
            VitModel model,
            Kernels kernels,
            QuantizationSettings settings,
            CalibrationImages images,
            SearchListener listener) {
        return quantize(model, kernels, settings, images, listener, CANDIDATE_BUDGET);
    }

    static VitModel quantize(
            VitModel model,
            Kernels kernels,
            QuantizationSettings settings,
            CalibrationImages images,
            SearchListener listener,
            long budget) {
        if (images.size() == 0) {
            throw new IllegalArgumentException("no calibration images");
        }
        if (model.isQuantized()) {
            throw new IllegalArgumentException("the model is quantized already");
        }
        return new IntervalSearch(model, kernels, settings, images, listener, budget).run();
    }

    private VitModel run() {
        try (VitExecutor executor = new VitExecutor(model, kernels, 1);
                ExecutorService threads = Executors.newFixedThreadPool(settings.threads())) {
            List<OperatorSearch> all = List.copyOf(operators.values());
            List<List<OperatorSearch>> groups = groups(all, OperatorSearch.Side.RIGHT);
            total = images.size() * (1L + (long) settings.rounds() * (groups.size() + 1));
            pass(
                    "ranges",
                    executor,
                    threads,
                    (scratch, operator, left, right, out) -> operator.observe(left, right),
                    all);
            all.forEach(OperatorSearch::initialize);
            List<OperatorSearch> open = all;
            for (int round = 1; round <= settings.rounds() && !open.isEmpty(); round++) {
                open = searchRound(round, executor, threads, open);
            }
        }
        return quantized();
    }

    private List<OperatorSearch> searchRound(
            int round, VitExecutor executor, ExecutorService threads, List<OperatorSearch> open) {
        List<OperatorSearch> changed = new ArrayList<>();
        for (OperatorSearch.Side side : OperatorSearch.Side.values()) {
            String stage = "round " + round + (side == OperatorSearch.Side.RIGHT ? ", weights" : ", inputs");
            for (List<OperatorSearch> group : groups(open, side)) {
                group.forEach(operator -> operator.open(side));
                try {
                    pass(
                            stage,
                            executor,
                            threads,
                            (scratch, operator, left, right, out) -> operator.score(scratch, left, right, out),
                            group);
                } finally {
                    for (OperatorSearch operator : group) {
                        if (operator.choose() && !changed.contains(operator)) {
                            changed.add(operator);
                        }
                    }
                }
            }
        }
        return changed;
    }

    /** Cuts a list into runs whose candidates fit the budget. */
    private List<List<OperatorSearch>> groups(List<OperatorSearch> operators, OperatorSearch.Side side) {
        List<List<OperatorSearch>> groups = new ArrayList<>();
        long held = 0;
        for (OperatorSearch operator : operators) {
            long bytes = operator.candidateBytes(side);
            if (groups.isEmpty() || held + bytes > budget) {
                groups.add(new ArrayList<>());
                held = 0;
            }
            groups.getLast().add(operator);
            held += bytes;
        }
        return groups;
    }

    @FunctionalInterface
    private interface Visit {
        void operator(
                SearchScratch scratch,
                OperatorSearch operator,
                MemorySegment left,
                MemorySegment right,
                MemorySegment output);
    }

    /** Runs the float model over all images and shows each operator of the group its operands and output. */
    private void pass(
            String stage, VitExecutor executor, ExecutorService threads, Visit visit, List<OperatorSearch> group) {
        Map<String, OperatorSearch> visited = new LinkedHashMap<>();
        group.forEach(operator -> visited.put(operator.name(), operator));
        AtomicInteger next = new AtomicInteger();
        Callable<Void> worker = () -> {
            try (VitSession session = executor.openSession();
                    SearchScratch scratch = new SearchScratch(kernels)) {
                MemorySegment input = session.allocateInput();
                MemorySegment logits = session.allocateLogits();
                Optional<LayerObserver> observer = Optional.of(new Visitor(visited, visit, scratch));
                for (int i = next.getAndIncrement(); i < images.size(); i = next.getAndIncrement()) {
                    images.load(i, input);
                    session.run(input, 1, logits, observer);
                    report(stage);
                }
            } catch (RuntimeException | Error e) {
                next.set(images.size());
                throw e;
            }
            return null;
        };
        List<Future<Void>> futures = new ArrayList<>();
        for (int t = 0; t < settings.threads(); t++) {
            futures.add(threads.submit(worker));
        }
        DatasetRun.await(futures);
    }

    private synchronized void report(String stage) {
        done++;
        listener.progress(stage, done, Math.max(total, done));
    }

    private VitModel quantized() {
        Map<String, LinearLayer> linears = new LinkedHashMap<>(model.linears());
        Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>();
        for (OperatorSearch operator : operators.values()) {
            switch (operator) {
                case LinearSearch linear -> linears.put(linear.name(), linear.quantized());
                case MatmulSearch matmul -> matmuls.put(matmul.name(), matmul.quantizers());
            }
        }
        return new VitModel(model.config(), linears, matmuls, model.floats());
    }

    private record Visitor(Map<String, OperatorSearch> operators, Visit visit, SearchScratch scratch)
            implements LayerObserver {
        @Override
        public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
            OperatorSearch operator = operators.get(name);
            if (operator != null) {
                visit.operator(scratch, operator, input, MemorySegment.NULL, raw);
            }
        }

        @Override
        public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
            OperatorSearch operator = operators.get(name);
            if (operator != null) {
                visit.operator(scratch, operator, left, right, raw);
            }
        }
    }
}
