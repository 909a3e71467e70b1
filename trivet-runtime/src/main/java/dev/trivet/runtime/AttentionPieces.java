package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Workspace;
import dev.trivet.model.VitConfig;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;

/**
 * Attention of several images, a few at a time: from the codes of queries, keys and values to the operand of the projection. What stands between, scores above
 * all, then stays in the second-level cache, however many images share the weights of the linear layers. A head's keys have room for as many
 * as the kernels are fastest with ({@link BlockOperators#roomy}); the codes of softmax are zero there, so that nothing comes of what stands in the room.
 *
 * <p>Where the kernels multiply heads side by side ({@link BlockOperators#sideBySide}) codes are read where the layer before left them, image by image, and the room
 * of an image's keys is the next one's first rows. An image whose scores are more than stay in the cache (wide models, many tokens) is run some heads at a time.
 *
 * <p>Of a session: for one thread.
 */
final class AttentionPieces {
    /** Bytes of scores at once. */
    private static final long SCORES = 1 << 20;
    /** And of some heads of one image, beside which all that is mixed stays. */
    private static final long SCORES_OF_HEADS = 1 << 19;

    private static final int ALIGNMENT = 64;

    private final Sizes sizes;
    private final int width;
    /** Room for keys and values one behind the other. */
    private final AttentionBuffers buffers;
    /** For each piece: on codes where a product left them. */
    private final Piece[] inRaw;

    private final Piece[] inOperand;
    /** For each number of images. */
    private final AttentionLayout.Extent[] extents;
    /** The same of some heads, where not all are run at once. */
    private final AttentionLayout.Extent[] headExtents;

    /**
     * How much memory a session's attention needs.
     *
     * @param images at once
     * @param heads at once: all, or some of one image
     * @param keys places for the keys of a head
     * @param sideBySide whether heads stand so
     * @param codeStride codes from one token's to the next one's
     * @param mergedStride elements from one row of a projection's operand to the next where these do not follow each other
     * @param rawBytes of sums, behind codes
     * @param operandBytes of operands, behind codes
     */
    record Sizes(
            int images,
            int heads,
            int keys,
            boolean sideBySide,
            int codeStride,
            int mergedStride,
            long codeBytes,
            long rawBytes,
            long operandBytes) {
        /**
         * Absent where no block's attention runs on bytes.
         *
         * @param group images of the session
         */
        static Optional<Sizes> of(VitConfig config, int group, List<BlockOperators> blocks) {
            List<BlockOperators> roomy =
                    blocks.stream().filter(block -> block.roomy().isPresent()).toList();
            int mergedStride = roomy.stream()
                    .mapToInt(block -> block.projection().fusedInput().stride(config.width()))
                    .max()
                    .orElse(config.width());
            return roomy.stream().findFirst().map(block -> of(config, group, block, mergedStride));
        }

        private static Sizes of(VitConfig config, int group, BlockOperators block, int mergedStride) {
            int keys = block.roomy().orElseThrow().scores().shape().n();
            boolean sideBySide = block.sideBySide().isPresent();
            int heads = sideBySide ? heads(config.heads(), (long) config.tokens() * keys) : config.heads();
            long scores = (long) heads * config.tokens() * keys;
            int most = sideBySide ? 1 : Math.max(1, group);
            int images = Math.clamp(SCORES / (Float.BYTES * scores), 1, most);
            long mixed = (long) config.tokens() * config.width();
            int codeStride = block.pieceRequantization().orElseThrow().stride();
            long codes = aligned((long) codeStride * group * config.tokens());
            long mixedEnd = mixedAt(config, heads, keys) + (long) Float.BYTES * images * mixed;
            return new Sizes(
                    images,
                    heads,
                    keys,
                    sideBySide,
                    codeStride,
                    mergedStride,
                    codes,
                    codes + Math.max((long) Float.BYTES * images * scores, mixedEnd),
                    codes + images * Math.max(scores, 3L * keys * config.width()));
        }

        /**
         * How many of an image's heads are run at once.
         *
         * @param scores of a head
         */
        static int heads(int all, long scores) {
            if (Float.BYTES * scores * all <= SCORES) {
                return all;
            }
            int some = Math.clamp(SCORES_OF_HEADS / (Float.BYTES * scores), 1, all);
            while (all % some != 0) {
                some--;
            }
            return some;
        }

        /** Where mixed values stand behind the codes in the sums' memory: in place of the scores where these are those of all heads, else behind them. */
        private static long mixedAt(VitConfig config, int heads, int keys) {
            return heads == config.heads() ? 0 : aligned((long) Float.BYTES * heads * config.tokens() * keys);
        }

        private static long aligned(long bytes) {
            return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
        }
    }

    /**
     * Some images.
     *
     * @param codes of their queries, keys and values
     * @param merged their rows of the projection's operand, which never reach codes that are still to be read; {@code spread} where those are
     *     {@link Sizes#mergedStride} apart
     * @param run on their memory
     * @param heads buffers of as many heads as are run at once
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Piece(
            MemorySegment codes, MemorySegment merged, MemorySegment spread, BlockRun run, AttentionBuffers[] heads) {}

    /**
     * @param layout of any block
     * @param raw the session's, of {@link Sizes#rawBytes} at least
     * @param operand the session's, of {@link Sizes#operandBytes} at least
     * @param arena the session's
     */
    AttentionPieces(
            VitConfig config,
            int group,
            Sizes sizes,
            AttentionLayout layout,
            Workspace workspace,
            MemorySegment raw,
            MemorySegment operand,
            Arena arena) {
        this.sizes = sizes;
        width = config.width();
        long values = (long) sizes.images * config.heads() * sizes.keys * config.headWidth();
        MemorySegment scores = raw.asSlice(sizes.codeBytes);
        buffers = new AttentionBuffers(
                arena.allocate(values, ALIGNMENT),
                arena.allocate(values, ALIGNMENT),
                arena.allocate(values, ALIGNMENT),
                scores,
                arena.allocate(JAVA_FLOAT, (long) sizes.images * config.heads() * config.tokens()));
        int pieces = Math.ceilDiv(group, sizes.images);
        inRaw = new Piece[pieces];
        inOperand = new Piece[pieces];
        for (int p = 0; p < pieces; p++) {
            long row = (long) p * sizes.images * config.tokens();
            long codes = row * sizes.codeStride;
            inRaw[p] = piece(config, raw.asSlice(codes), row, workspace, scores, operand);
            inOperand[p] = piece(config, operand.asSlice(codes), row, workspace, scores, operand);
        }
        extents = new AttentionLayout.Extent[sizes.images + 1];
        headExtents = new AttentionLayout.Extent[sizes.images + 1];
        for (int i = 0; i <= sizes.images; i++) {
            extents[i] = layout.roomy(i, config.heads(), sizes.keys);
            headExtents[i] = layout.roomy(i, sizes.heads, sizes.keys);
        }
    }

    private Piece piece(
            VitConfig config,
            MemorySegment codes,
            long row,
            Workspace workspace,
            MemorySegment scores,
            MemorySegment operand) {
        AttentionBuffers used = sizes.sideBySide
                ? new AttentionBuffers(
                        codes,
                        codes.asSlice(config.width()),
                        codes.asSlice(2L * config.width()),
                        scores.asSlice(Sizes.mixedAt(config, sizes.heads, sizes.keys)),
                        buffers.factors())
                : buffers;
        AttentionBuffers[] heads = new AttentionBuffers[config.heads() / sizes.heads];
        for (int i = 0; i < heads.length; i++) {
            heads[i] = i == 0 ? used : behind(used, config, (long) i * sizes.heads);
        }
        BlockRun run = new BlockRun(
                workspace,
                ThreadTeam.ALONE,
                0,
                MemorySegment.NULL,
                0,
                operand.asSlice(sizes.codeBytes),
                scores,
                used,
                used,
                Optional.empty(),
                config.layerNormEpsilon());
        return new Piece(
                codes, operand.asSlice(row * config.width()), operand.asSlice(row * sizes.mergedStride), run, heads);
    }

    /** From a head on, where heads stand side by side. */
    private static AttentionBuffers behind(AttentionBuffers all, VitConfig config, long head) {
        long channels = head * config.headWidth();
        long rows = head * config.tokens();
        return new AttentionBuffers(
                all.query().asSlice(channels),
                all.key().asSlice(channels),
                all.value().asSlice(channels),
                all.mixed().asSlice(Float.BYTES * rows * config.headWidth()),
                all.factors().asSlice(Float.BYTES * rows));
    }

    /** Where keys and values of an image stand, with room for {@link Sizes#keys} of a head. */
    AttentionBuffers buffers() {
        return buffers;
    }

    /**
     * Writes the operand of the projection of some images.
     *
     * @param codesInRaw whether codes are in the raw sums' memory, and not in the operand's
     */
    void run(BlockOperators block, int images, boolean codesInRaw) {
        Piece[] pieces = codesInRaw ? inRaw : inOperand;
        BlockOperators.Products products = sizes.sideBySide
                ? block.sideBySide().orElseThrow()
                : block.roomy().orElseThrow();
        boolean spread = block.projection().fusedInput().stride(width) == sizes.mergedStride;
        for (int first = 0, p = 0; first < images; first += sizes.images, p++) {
            int count = Math.min(sizes.images, images - first);
            AttentionLayout.Extent extent = extents[count];
            Piece piece = pieces[p];
            if (!sizes.sideBySide) {
                piece.run.splitCodes(block, extent, piece.codes);
            }
            piece.run.piece(
                    block, products, extent, headExtents[count], piece.heads, spread ? piece.spread : piece.merged);
        }
    }
}
