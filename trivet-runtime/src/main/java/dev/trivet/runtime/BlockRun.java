package dev.trivet.runtime;

import dev.trivet.kernel.AttentionShape;
import dev.trivet.kernel.Operand;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.Requantization;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Runs blocks on a session's residual stream, all of it or the rows of one member of a team. Tokens stay in their order; only queries, keys,
 * values and scores are in the order of the block's groups.
 *
 * <p>What a team shares are queries, keys and values as they are needed across rows; everything else of a member is its own. With all
 * tokens in one group a member takes its own rows as queries too and meets the others once a block, when all keys and values are there;
 * from there to the keys of the next block its rows need nobody. So that nobody overwrites keys that others still read, blocks take
 * turns with two buffers. Within windows members share the windows' products, and meet once more to get their own tokens' rows back.
 *
 * @param stream float32 {@code [rows, width]}
 * @param streamGap elements between two rows of the stream
 * @param operand of the next product
 * @param hiddenOperand of the MLP's first product where codes are bytes: apart from those that GELU writes, which otherwise would overtake it
 * @param raw sums of the last product
 * @param tokens attention's buffers as the rows of this run write and read them
 * @param products the same buffers as this run's products do
 * @param pieces runs attention of several images a few at a time; without it all are run together
 */
record BlockRun(
        Workspace workspace,
        ThreadTeam team,
        int member,
        MemorySegment stream,
        int streamGap,
        MemorySegment operand,
        MemorySegment hiddenOperand,
        MemorySegment raw,
        AttentionBuffers tokens,
        AttentionBuffers products,
        Optional<AttentionPieces> pieces,
        float layerNormEpsilon) {
    private static final int ALIGNMENT = 64;

    /** The same with the second half of the operand for the MLP's first product: operands have room for floats, so bytes end in the first quarter. */
    BlockRun(
            Workspace workspace,
            ThreadTeam team,
            int member,
            MemorySegment stream,
            int streamGap,
            MemorySegment operand,
            MemorySegment raw,
            AttentionBuffers tokens,
            AttentionBuffers products,
            Optional<AttentionPieces> pieces,
            float layerNormEpsilon) {
        this(
                workspace,
                team,
                member,
                stream,
                streamGap,
                operand,
                operand.asSlice(operand.byteSize() / 2 / ALIGNMENT * ALIGNMENT),
                raw,
                tokens,
                products,
                pieces,
                layerNormEpsilon);
    }

    /** Adds what attention makes of the stream to it. */
    void attention(BlockOperators block, AttentionLayout.Extent extent, @Nullable LayerObserver observer) {
        attention(block, extent, extent, observer);
    }

    /**
     * The same where some tokens of each image are wanted from here on, the first ones. They move together to the front of the stream; where the
     * others stood there is nothing of use.
     *
     * @param block with products of the wanted tokens as queries
     * @param extent of all tokens: their keys and values are needed
     * @param wanted of the wanted ones
     */
    void attention(
            BlockOperators block,
            AttentionLayout.Extent extent,
            AttentionLayout.Extent wanted,
            @Nullable LayerObserver observer) {
        boolean fused = observer == null && block.requantization().isPresent();
        normalize(block, block.attentionNorm(), extent.rows(), input(block.qkv(), fused), operand);
        if (observer == null
                && isAll(extent, wanted)
                && pieces.isPresent()
                && block.roomy().isPresent()) {
            Requantization requantization = block.pieceRequantization().orElseThrow();
            MemorySegment codes =
                    block.qkv().linear().requantize(workspace, operand, extent.rows(), requantization, raw);
            pieces.get().run(block, extent.whole().orElseThrow().images(), codes.equals(raw));
        } else {
            groups(block, extent, wanted, observer);
        }
        addTo(block.projection(), wanted.rows(), observer);
    }

    /** From the operand of queries, keys and values to that of the projection. */
    private void groups(
            BlockOperators block,
            AttentionLayout.Extent extent,
            AttentionLayout.Extent wanted,
            @Nullable LayerObserver observer) {
        split(block, extent, observer);
        if (wanted.rows() < extent.rows()) {
            dropTokens(block, extent.whole().orElseThrow(), wanted.whole().orElseThrow());
        }
        team.meet(member);
        if (wanted.products() > 0) {
            mix(block.scores(), block.mixing(), block.layout(), wanted, products, observer);
        }
        if (block.layout().isWindowed()) {
            team.meet(member);
        }
        merge(block, block.mixing(), wanted, input(block.projection(), observer == null), operand);
    }

    /**
     * From queries, keys and values to the operand of the projection.
     *
     * @param operators of a head's queries and as many keys as these buffers have places for
     * @param extent of all heads
     * @param some of as many heads as are run at once
     * @param heads their buffers, one after the other
     */
    void piece(
            BlockOperators block,
            BlockOperators.Products operators,
            AttentionLayout.Extent extent,
            AttentionLayout.Extent some,
            AttentionBuffers[] heads,
            MemorySegment out) {
        for (AttentionBuffers buffers : heads) {
            mix(operators.scores(), operators.mixing(), block.layout(), some, buffers, null);
        }
        merge(block, operators.mixing(), extent, block.projection().fusedInput(), out);
    }

    /** The form in which an operator reads its input. */
    private static Operand input(LinearOperator operator, boolean fused) {
        return fused ? operator.fusedInput() : operator.input();
    }

    private void merge(
            BlockOperators block,
            MatmulOperator mixing,
            AttentionLayout.Extent extent,
            Operand form,
            MemorySegment out) {
        MemorySegment factors = mixing.normalized() ? tokens.factors() : MemorySegment.NULL;
        block.layout()
                .merge(
                        workspace.pointwise(),
                        tokens.mixed(),
                        mixing.integer(),
                        extent,
                        mixing.scale(),
                        factors,
                        form,
                        out);
    }

    private void dropTokens(BlockOperators block, AttentionShape all, AttentionShape wanted) {
        long query = (long) block.attention().query().bytes() * all.headWidth();
        keepFirst(tokens.query(), all.images() * all.heads(), all.rows(), wanted.rows(), query);
        keepFirst(stream, all.images(), all.rows(), wanted.rows(), (long) Float.BYTES * stride(all.width()));
    }

    /** Only for the last block's first tokens are there two extents. */
    @SuppressWarnings("ReferenceEquality") // in every block of every image, and the same object where it is all
    private static boolean isAll(AttentionLayout.Extent extent, AttentionLayout.Extent wanted) {
        return wanted == extent;
    }

    /** Moves the first rows of each group to where those of the group before it end. */
    private static void keepFirst(MemorySegment rows, int groups, int each, int kept, long rowBytes) {
        for (int g = 1; g < groups; g++) {
            MemorySegment.copy(rows, (long) g * each * rowBytes, rows, (long) g * kept * rowBytes, kept * rowBytes);
        }
    }

    /** Queries, keys and values of the operand. */
    private void split(BlockOperators block, AttentionLayout.Extent extent, @Nullable LayerObserver observer) {
        Pointwise pointwise = workspace.pointwise();
        LinearOperator qkv = block.qkv();
        int rows = extent.rows();
        if (block.requantization().isEmpty()) {
            product(qkv, operand, rows, observer);
            block.layout()
                    .split(
                            pointwise,
                            raw,
                            extent,
                            qkv.product(),
                            block.attention(),
                            tokens.query(),
                            tokens.key(),
                            tokens.value());
            return;
        }
        Requantization requantization = block.requantization().get();
        MemorySegment codes = operand;
        if (observer != null) {
            product(qkv, operand, rows, observer);
            pointwise.requantize(raw, rows, requantization, operand);
        } else if (rows > 0) {
            codes = qkv.linear().requantize(workspace, operand, rows, requantization, raw);
        }
        splitCodes(block, extent, codes);
    }

    /** Splits codes of queries, keys and values. */
    void splitCodes(BlockOperators block, AttentionLayout.Extent extent, MemorySegment codes) {
        block.layout()
                .splitCodes(
                        workspace.pointwise(),
                        codes,
                        extent,
                        block.qkv().product(),
                        block.attention(),
                        tokens.query(),
                        tokens.key(),
                        tokens.value());
    }

    /** Adds what a layer makes of the operand to the stream. */
    private void addTo(LinearOperator operator, int rows, @Nullable LayerObserver observer) {
        if (observer != null) {
            product(operator, operand, rows, observer);
            workspace
                    .pointwise()
                    .addTo(
                            raw,
                            rows,
                            operator.product(),
                            stream,
                            stride(operator.product().columns()));
        } else if (rows > 0) {
            operator.linear()
                    .addTo(
                            workspace,
                            operand,
                            rows,
                            operator.product(),
                            raw,
                            stream,
                            stride(operator.product().columns()));
        }
    }

    private void mix(
            MatmulOperator scores,
            MatmulOperator mixing,
            AttentionLayout layout,
            AttentionLayout.Extent extent,
            AttentionBuffers on,
            @Nullable LayerObserver observer) {
        int batch = extent.products();
        scores.matmul().run(workspace, on.query(), on.key(), batch, raw);
        if (observer != null) {
            observer.matmul(scores.name(), on.query(), on.key(), batch, raw);
        }
        MemorySegment factors = mixing.normalized() ? on.factors() : MemorySegment.NULL;
        layout.softmax(
                workspace.pointwise(),
                raw,
                scores.integer(),
                extent,
                scores.shape().n(),
                scores.scale(),
                mixing.left(),
                operand,
                factors);
        mixing.matmul().run(workspace, operand, on.value(), batch, on.mixed());
        if (observer != null) {
            observer.matmul(mixing.name(), operand, on.value(), batch, on.mixed());
        }
    }

    /** Adds what the MLP makes of the stream to it. */
    void mlp(BlockOperators block, int rows, @Nullable LayerObserver observer) {
        LinearOperator hidden = block.hidden();
        boolean fused = observer == null;
        Operand form = input(block.output(), fused);
        MemorySegment in = hidden.input().isByte() && form.isByte() ? hiddenOperand : operand;
        normalize(block, block.mlpNorm(), rows, input(hidden, fused), in);
        if (observer != null) {
            product(hidden, in, rows, observer);
            workspace.pointwise().gelu(raw, rows, hidden.product(), form, operand);
        } else if (rows > 0) {
            hidden.linear().gelu(workspace, in, rows, hidden.product(), form, raw, operand);
        }
        addTo(block.output(), rows, observer);
    }

    private void normalize(BlockOperators block, NormParameters norm, int rows, Operand form, MemorySegment out) {
        int width = block.unit().shape().width();
        workspace
                .pointwise()
                .layerNorm(stream, stride(width), rows, width, norm.gamma(), norm.beta(), layerNormEpsilon, form, out);
    }

    /** Elements from one row of a stream of that width to the next. */
    private int stride(int width) {
        return width + streamGap;
    }

    private void product(LinearOperator operator, MemorySegment in, int rows, @Nullable LayerObserver observer) {
        if (rows == 0) {
            return; // more threads than tokens
        }
        operator.linear().run(workspace, in, rows, raw);
        if (observer != null) {
            observer.linear(operator.name(), in, rows, raw);
        }
    }
}
