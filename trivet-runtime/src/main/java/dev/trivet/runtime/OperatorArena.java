package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Requantization;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.model.WindowPartition;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * Makes a model's operators ready to run and owns what they hold: packed weights and constants, all off-heap. Several threads may make
 * operators at the same time.
 */
final class OperatorArena implements AutoCloseable {
    private final VitModel model;
    private final Kernels kernels;
    private final Arena arena = Arena.ofShared();
    private final List<LinearOperator> linears = new CopyOnWriteArrayList<>();
    private final Map<WindowPartition, AttentionLayout.Mask> masks = new ConcurrentHashMap<>();

    OperatorArena(VitModel model, Kernels kernels) {
        this.model = model;
        this.kernels = kernels;
    }

    LinearOperator linear(String name, int typicalRows) {
        LinearOperator operator = LinearOperator.compile(model.linear(name), kernels, typicalRows, arena);
        linears.add(operator);
        return operator;
    }

    /** @param name without {@code .weight} and {@code .bias} */
    NormParameters norm(String name) {
        return new NormParameters(constant(model.floats(name + ".weight")), constant(model.floats(name + ".bias")));
    }

    MemorySegment constant(float[] values) {
        return arena.allocateFrom(JAVA_FLOAT, values);
    }

    /**
     * Blocks in their order, packed by all processors.
     *
     * @param batch most images that one run takes
     */
    List<BlockOperators> blocks(List<ModelUnit> units, int batch) {
        return units.parallelStream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(unit -> block((ModelUnit.Block) unit, batch))
                .toList();
    }

    private BlockOperators block(ModelUnit.Block unit, int batch) {
        int rows = batch * unit.shape().tokens();
        int n = unit.groupTokens();
        MatmulOperator scores = matmul(unit.scores(), new MatmulShape(n, n, unit.headWidth(), true), (float)
                (1 / Math.sqrt(unit.headWidth())));
        MatmulOperator mixing = matmul(unit.mixing(), new MatmulShape(n, unit.headWidth(), n, false), 1f);
        LinearOperator qkv = linear(unit.qkv(), rows);
        AttentionOperands attention = new AttentionOperands(scores.left(), scores.right(), mixing.right());
        return new BlockOperators(
                unit,
                layout(unit, batch),
                norm(unit.attentionNorm()),
                qkv,
                Requantization.of(qkv.product(), attention, arena),
                scores,
                mixing,
                attention,
                linear(unit.projection(), rows),
                norm(unit.mlpNorm()),
                linear(unit.hidden(), rows),
                linear(unit.mlpOutput(), rows));
    }

    /** Blocks that are cut alike share a mask. */
    private AttentionLayout layout(ModelUnit.Block unit, int batch) {
        return unit.windows()
                .map(windows -> masks.computeIfAbsent(windows, w -> AttentionLayout.Mask.of(w, arena)))
                .map(mask -> AttentionLayout.of(model, unit, batch, arena, mask))
                .orElseGet(() -> AttentionLayout.of(model, unit, batch, arena));
    }

    private MatmulOperator matmul(String name, MatmulShape shape, float factor) {
        return MatmulOperator.compile(name, Optional.ofNullable(model.matmuls().get(name)), shape, factor, kernels);
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
