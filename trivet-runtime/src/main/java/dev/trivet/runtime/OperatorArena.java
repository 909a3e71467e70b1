package dev.trivet.runtime;

import java.lang.foreign.Arena;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * Owns what a model's operators hold: packed weights and constants, all off-heap. Several threads may add to it at the same time; it is
 * closed when all are done with the operators.
 */
final class OperatorArena implements AutoCloseable {
    private final Arena arena = Arena.ofShared();
    private final List<LinearOperator> linears = new CopyOnWriteArrayList<>();

    /** For constants. */
    Arena arena() {
        return arena;
    }

    LinearOperator own(LinearOperator operator) {
        linears.add(operator);
        return operator;
    }

    /** Bytes of all linear layers' weights, as they are kept. */
    long weightBytes() {
        return linears.stream().mapToLong(l -> l.linear().weightBytes()).sum();
    }

    @Override
    public void close() {
        linears.forEach(LinearOperator::close);
        arena.close();
    }
}
