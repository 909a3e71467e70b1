package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Workspace;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.VitExecutor;
import dev.trivet.runtime.VitSession;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/**
 * One thread's means to run one unit of a model (the embedding, a block or the head) for one image on both models: the float
 * one on float tokens, and the one being quantized on the tokens that its quantized beginning gives.
 */
final class UnitWorker implements AutoCloseable {
    private final VitExecutor.Part part;
    private final VitSession reference;
    private final VitSession quantized;
    private final MemorySegment referenceTokens;
    private final MemorySegment quantizedTokens;
    private final MemorySegment input;
    private final MemorySegment logits;
    private final Workspace workspace;
    final Buffers buffers = new Buffers();

    UnitWorker(VitExecutor reference, VitExecutor quantized, VitExecutor.Part part, Kernels kernels) {
        this.part = part;
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
            VitSession session,
            CalibrationImages images,
            TokenStore tokens,
            int image,
            MemorySegment buffer,
            LayerObserver observer) {
        if (part.embedding()) {
            images.load(image, input);
            session.runEmbedding(input, 1, buffer, Optional.of(observer));
            return;
        }
        buffer.copyFrom(tokens.image(image));
        if (part.head()) {
            session.runHead(buffer, 1, logits, Optional.of(observer));
        } else {
            session.runBlocks(buffer, 1, Optional.of(observer));
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
