package dev.trivet.ptq;

import dev.trivet.runtime.LayerObserver;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Shows operators of one unit their operands and the float model's outputs, image by image, as often as wanted. Operands that
 * fit a budget are kept from the first time on; others are made anew each time by running the unit, so that memory does not
 * depend on the number of images.
 *
 * <p>Parallel calibration runs the float model alone. Sequential calibration takes the outputs from it and the operands from
 * the quantized beginning of the model.
 */
final class UnitOperands implements AutoCloseable {
    /** What is done with one operator of one image. */
    interface Visit {
        /**
         * @param left float32, the left operand or the input
         * @param right float32, the right operand; empty for a linear layer
         * @param output float32, the float model's product
         */
        void operator(
                SearchScratch scratch,
                OperatorSearch operator,
                MemorySegment left,
                MemorySegment right,
                MemorySegment output);
    }

    private final SearchState state;
    private final Supplier<UnitWorker> workers;
    private final boolean sequential;
    private final Map<String, OperatorSearch> operators = new LinkedHashMap<>();
    /** Where an operator's operands of one image start, bytes. */
    private final Map<String, Long> starts = new LinkedHashMap<>();

    private final long imageBytes;
    private final Arena arena = Arena.ofShared();
    private final @Nullable MemorySegment kept;

    /** @param budget most bytes to keep */
    UnitOperands(
            SearchState state,
            Supplier<UnitWorker> workers,
            boolean sequential,
            List<OperatorSearch> operators,
            long budget) {
        this.state = state;
        this.workers = workers;
        this.sequential = sequential;
        long bytes = 0;
        for (OperatorSearch operator : operators) {
            this.operators.put(operator.name(), operator);
            starts.put(operator.name(), bytes);
            bytes += bytes(operator);
        }
        imageBytes = bytes;
        long all = Math.multiplyExact(imageBytes, (long) state.images.size());
        kept = all <= budget ? arena.allocate(all, 64) : null;
    }

    /** Bytes of one image's operands and output. */
    static long bytes(OperatorSearch operator) {
        return aligned(operator.leftElements())
                + aligned(operator.rightElements())
                + aligned(operator.outputElements());
    }

    private static long aligned(long elements) {
        return (4 * elements + 63) / 64 * 64;
    }

    /** Runs the unit over all images; to be called first. */
    void first(Visit visit) {
        rerun(operators, (scratch, image, operator, left, right, output) -> {
            if (kept != null) {
                Slices to = slices(operator, image);
                to.left.copyFrom(left.asSlice(0, to.left.byteSize()));
                to.right.copyFrom(right.asSlice(0, to.right.byteSize()));
                to.output.copyFrom(output.asSlice(0, to.output.byteSize()));
            }
            visit.operator(scratch, operator, left, right, output);
        });
    }

    /** Shows the operands of some operators again. */
    void again(List<OperatorSearch> group, Visit visit) {
        if (kept == null) {
            Map<String, OperatorSearch> wanted = new LinkedHashMap<>();
            group.forEach(operator -> wanted.put(operator.name(), operator));
            rerun(
                    wanted,
                    (scratch, image, operator, left, right, output) ->
                            visit.operator(scratch, operator, left, right, output));
            return;
        }
        state.pass.run(() -> new SearchScratch(state.kernels), (scratch, image) -> {
            for (OperatorSearch operator : group) {
                Slices at = slices(operator, image);
                visit.operator(scratch, operator, at.left, at.right, at.output);
            }
        });
    }

    private record Slices(MemorySegment left, MemorySegment right, MemorySegment output) {}

    private Slices slices(OperatorSearch operator, int image) {
        MemorySegment all = Objects.requireNonNull(kept);
        long start = image * imageBytes + Objects.requireNonNull(starts.get(operator.name()));
        long left = aligned(operator.leftElements());
        long right = aligned(operator.rightElements());
        return new Slices(
                all.asSlice(start, 4 * operator.leftElements()),
                all.asSlice(start + left, 4 * operator.rightElements()),
                all.asSlice(start + left + right, 4 * operator.outputElements()));
    }

    private interface ImageVisit {
        void operator(
                SearchScratch scratch,
                int image,
                OperatorSearch operator,
                MemorySegment left,
                MemorySegment right,
                MemorySegment output);
    }

    private record Runner(UnitWorker unit, SearchScratch scratch) implements AutoCloseable {
        @Override
        public void close() {
            unit.close();
            scratch.close();
        }
    }

    private void rerun(Map<String, OperatorSearch> wanted, ImageVisit visit) {
        state.pass.run(() -> new Runner(workers.get(), new SearchScratch(state.kernels)), (runner, image) -> {
            SearchScratch scratch = runner.scratch;
            if (!sequential) {
                runner.unit.runReference(
                        state.images,
                        state.referenceTokens,
                        image,
                        new Observer(
                                wanted,
                                (operator, left, right, output) ->
                                        visit.operator(scratch, image, operator, left, right, output)));
                return;
            }
            runner.unit.runReference(
                    state.images,
                    state.referenceTokens,
                    image,
                    new Observer(wanted, (operator, left, right, output) -> {
                        long bytes = 4 * operator.outputElements();
                        reference(scratch, operator).copyFrom(output.asSlice(0, bytes));
                    }));
            runner.unit.runQuantized(
                    state.images,
                    state.quantizedTokens,
                    image,
                    new Observer(
                            wanted,
                            (operator, left, right, output) -> visit.operator(
                                    scratch, image, operator, left, right, reference(scratch, operator))));
        });
    }

    private static MemorySegment reference(SearchScratch scratch, OperatorSearch operator) {
        long bytes = 4 * operator.outputElements();
        return scratch.buffer("reference output of " + operator.name(), bytes).asSlice(0, bytes);
    }

    private interface Seen {
        void operator(OperatorSearch operator, MemorySegment left, MemorySegment right, MemorySegment output);
    }

    private record Observer(Map<String, OperatorSearch> wanted, Seen seen) implements LayerObserver {
        @Override
        public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
            Optional.ofNullable(wanted.get(name))
                    .ifPresent(operator -> seen.operator(operator, input, MemorySegment.NULL, raw));
        }

        @Override
        public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
            Optional.ofNullable(wanted.get(name)).ifPresent(operator -> seen.operator(operator, left, right, raw));
        }
    }

    @Override
    public void close() {
        arena.close();
    }
}
