package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;

/**
 * The units of a model after one of them: what turns that unit's output into logits. Immutable and safe to share; each thread
 * opens its own session, which must be closed first.
 */
final class ModelTail implements AutoCloseable {
    private final ModelExecutor executor;
    private final int firstUnit;
    private final int endUnit;
    private final int classes;

    /** @param afterUnit index into {@link Geometry#units()}; not the head */
    ModelTail(VitModel model, Kernels kernels, int afterUnit) {
        List<? extends ModelUnit> units = model.geometry().units();
        firstUnit = afterUnit + 1;
        endUnit = units.size();
        classes = units.getLast().output().width();
        executor = ModelExecutor.compile(model, kernels, 1, firstUnit, endUnit);
    }

    int classes() {
        return classes;
    }

    Session open() {
        return new Session();
    }

    @Override
    public void close() {
        executor.close();
    }

    /** One thread's run at a time. */
    final class Session implements AutoCloseable {
        private static final LayerObserver NOBODY = new LayerObserver() {};

        private final ModelSession session = executor.openSession();
        private final MemorySegment tokens = session.allocateTokens();
        private final MemorySegment next = session.allocateTokens();
        private final MemorySegment logits = session.allocateLogits();

        /**
         * @param output float32, what the unit before gave for one image
         * @return float32 {@code [classes]}, overwritten by the next run
         */
        MemorySegment logits(MemorySegment output) {
            MemorySegment.copy(output, 0, tokens, 0, Math.min(output.byteSize(), tokens.byteSize()));
            MemorySegment from = tokens;
            MemorySegment to = next;
            for (int unit = firstUnit; unit < endUnit; unit++) {
                boolean head = unit == endUnit - 1;
                session.runUnit(unit, from, 1, head ? logits : to, Optional.of(NOBODY));
                MemorySegment swapped = from;
                from = to;
                to = swapped;
            }
            return logits;
        }

        @Override
        public void close() {
            session.close();
        }
    }
}
