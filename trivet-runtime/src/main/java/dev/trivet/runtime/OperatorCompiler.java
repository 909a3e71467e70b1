package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.AttentionOperands;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Requantization;
import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.model.WindowPartition;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * Makes a model's operators ready to run. Several threads may make operators at the same time. The operators keep nothing of the model, so
 * it may go once they are made: whoever compiled holds the {@link OperatorArena} alone.
 */
final class OperatorCompiler {
    private final VitModel model;
    private final Kernels kernels;
    private final OperatorArena operators;
    private final Map<WindowPartition, AttentionLayout.Mask> masks = new ConcurrentHashMap<>();

    /** @param operators owns what is made */
    OperatorCompiler(VitModel model, Kernels kernels, OperatorArena operators) {
        this.model = model;
        this.kernels = kernels;
        this.operators = operators;
    }

    /** How many images a session runs at once; of a larger batch it runs such groups one after the other. */
    static int group(VitModel model, Kernels kernels, int batch) {
        return group(model.geometry(), kernels.sumsAtOnce(model.isQuantized()), batch);
    }

    /** @param sumsAtOnce in bytes, see {@link Kernels#sumsAtOnce} */
    static int group(Geometry geometry, long sumsAtOnce, int batch) {
        long most = geometry.units().stream()
                .mapToLong(unit -> unit instanceof ModelUnit.Block block
                        ? (long) block.shape().tokens() * block.hiddenWidth() * Float.BYTES
                        : 1)
                .max()
                .orElseThrow();
        if (batch < 1) {
            throw new IllegalArgumentException("a batch of " + batch + " images");
        }
        return Math.clamp(sumsAtOnce / most, 1, batch);
    }

    /**
     * How many rows the head's product is run over for so many images: two for one that is left over of groups. oneDNN adds up a float product of a
     * single row in another order, and logits must not depend on an image's place in a batch.
     */
    static int headRows(int images, int group) {
        return images == 1 && group > 1 ? 2 : images;
    }

    LinearOperator linear(String name, int typicalRows) {
        return operators.own(LinearOperator.compile(model.linear(name), kernels, typicalRows, operators.arena()));
    }

    /** @param name without {@code .weight} and {@code .bias} */
    NormParameters norm(String name) {
        return new NormParameters(constant(model.floats(name + ".weight")), constant(model.floats(name + ".bias")));
    }

    MemorySegment constant(float[] values) {
        return operators.arena().allocateFrom(JAVA_FLOAT, values);
    }

    /**
     * Blocks in their order, packed by all processors. Where one cannot be made, that is thrown when the work on all has ended, so that the
     * {@link OperatorArena} may be closed.
     *
     * @param batch most images that are run at once
     */
    List<BlockOperators> blocks(List<ModelUnit> units, int batch) {
        Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
        List<Optional<BlockOperators>> blocks = units.parallelStream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(unit -> {
                    try {
                        return Optional.of(block((ModelUnit.Block) unit, batch));
                    } catch (RuntimeException | Error e) {
                        failures.add(e);
                        return Optional.<BlockOperators>empty();
                    }
                })
                .toList();
        return switch (failures.peek()) {
            case RuntimeException e -> throw e;
            case Error e -> throw e;
            case null, default -> blocks.stream().flatMap(Optional::stream).toList();
        };
    }

    private BlockOperators block(ModelUnit.Block unit, int batch) {
        int rows = batch * unit.shape().tokens();
        int n = unit.groupTokens();
        BlockOperators.Products plain = products(unit, n, 0);
        MatmulOperator scores = plain.scores();
        MatmulOperator mixing = plain.mixing();
        LinearOperator qkv = linear(unit.qkv(), rows);
        AttentionOperands attention = new AttentionOperands(scores.left(), scores.right(), mixing.right());
        Optional<Requantization> requantization = Requantization.of(qkv.product(), attention, operators.arena());
        LinearOperator projection = linear(unit.projection(), rows);
        int keys = kernels.keyPlaces(n);
        boolean bytes = unit.windows().isEmpty()
                && requantization.isPresent()
                && mixing.left().isByte()
                && projection.input().isByte();
        int codeStride = kernels.rowBytes(3 * unit.shape().width());
        Optional<BlockOperators.Products> sideBySide =
                bytes && kernels.multipliesSideBySide((long) unit.heads() * n * n)
                        ? Optional.of(products(unit, keys, codeStride))
                        : Optional.empty();
        return new BlockOperators(
                unit,
                layout(unit, batch),
                norm(unit.attentionNorm()),
                qkv,
                requantization,
                scores,
                mixing,
                bytes ? Optional.of(products(unit, keys, 0)) : Optional.empty(),
                sideBySide,
                sideBySide.isPresent() ? requantization.map(r -> r.withStride(codeStride)) : requantization,
                attention,
                projection,
                norm(unit.mlpNorm()),
                linear(unit.hidden(), rows),
                linear(unit.mlpOutput(), rows));
    }

    /** @param stride of queries, keys and values that stand side by side; 0 where they stand one behind the other */
    private BlockOperators.Products products(ModelUnit.Block unit, int keys, int stride) {
        int n = unit.groupTokens();
        MatmulShape scores = new MatmulShape(n, keys, unit.headWidth(), true, stride, stride);
        MatmulShape mixing = new MatmulShape(n, unit.headWidth(), keys, false, 0, stride);
        return new BlockOperators.Products(
                matmul(unit.scores(), scores, (float) (1 / Math.sqrt(unit.headWidth()))),
                matmul(unit.mixing(), mixing, 1f));
    }

    /** Blocks that are cut alike share a mask. */
    private AttentionLayout layout(ModelUnit.Block unit, int batch) {
        return unit.windows()
                .map(windows -> masks.computeIfAbsent(windows, w -> AttentionLayout.Mask.of(w, operators.arena())))
                .map(mask -> AttentionLayout.of(model, unit, batch, operators.arena(), mask))
                .orElseGet(() -> AttentionLayout.of(model, unit, batch, operators.arena()));
    }

    private MatmulOperator matmul(String name, MatmulShape shape, float factor) {
        return MatmulOperator.compile(name, Optional.ofNullable(model.matmuls().get(name)), shape, factor, kernels);
    }
}
