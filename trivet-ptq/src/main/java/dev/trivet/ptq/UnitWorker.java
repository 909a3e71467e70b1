package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.ModelUnit;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/**
 * One thread's means to run one unit of a model for one image on both models: the float
 * one on float tokens, and the one being quantized on the tokens that its quantized beginning gives.
 */
final class UnitWorker implements AutoCloseable {
    private final SearchUnit unit;
    private final ModelSession reference;
    private final ModelSession quantized;
    private final MemorySegment referenceTokens;
    private final MemorySegment quantizedTokens;
    private final MemorySegment input;
    private final MemorySegment logits;
    private final Workspace workspace;
    final Buffers buffers = new Buffers();

    UnitWorker(ModelExecutor reference, ModelExecutor quantized, SearchUnit unit, Kernels kernels) {
        this.unit = unit;
        this.reference = reference.openSession();
        this.quantized = quantized.openSession();
        referenceTokens = this.reference.allocateTokens();
        quantizedTokens = this.quantized.allocateTokens();
        input = this.reference.allocateInput();
        logits = this.reference.allocateLogits();
        workspace = kernels.openWorkspace();
    }

    Workspace workspace() {
        workspace.enter();
        return workspace;
    }

    /** Where the float model's tokens are after {@link #runReference}. */
    MemorySegment referenceTokens() {
        return referenceTokens;
    }

    /** Where the quantized model's tokens are after {@link #runQuantized}. */
    MemorySegment quantizedTokens() {
        return quantizedTokens;
    }

    void runReference(CalibrationImages images, TokenStore tokens, int image, LayerObserver observer) {
        run(reference, images, tokens, image, referenceTokens, observer);
    }

    void runQuantized(CalibrationImages images, TokenStore tokens, int image, LayerObserver observer) {
        run(quantized, images, tokens, image, quantizedTokens, observer);
    }

    private void run(
            ModelSession session,
            CalibrationImages images,
            TokenStore tokens,
            int image,
            MemorySegment buffer,
            LayerObserver observer) {
        switch (unit.unit()) {
            case ModelUnit.Embedding _ -> {
                images.load(image, input);
                session.runUnit(unit.index(), input, 1, buffer, Optional.of(observer));
            }
            case ModelUnit.Head _ ->
                session.runUnit(unit.index(), tokens.image(image), 1, logits, Optional.of(observer));
            case ModelUnit.Block _, ModelUnit.Merging _ ->
                session.runUnit(unit.index(), tokens.image(image), 1, buffer, Optional.of(observer));
        }
    }

    @Override
    public void close() {
        reference.close();
        quantized.close();
        workspace.close();
        buffers.close();
    }
}
