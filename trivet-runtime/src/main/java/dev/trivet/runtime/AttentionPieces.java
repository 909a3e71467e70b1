package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Workspace;
import dev.trivet.model.VitConfig;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/**
 * Attention of several images, a few at a time: from the codes of queries, keys and values to the operand of the projection. What stands between, scores above
 * all, then stays in the second-level cache, however many images share the weights of the linear layers. A head's keys have room for as many
 * as the kernels are fastest with ({@link BlockOperators#roomy}); what is in the room behind the values is zero, so that nothing comes of it.
 *
 * <p>Of a session: for one thread.
 */
final class AttentionPieces {
    /** Bytes of scores at once. */
    private static final long SCORES = 1 << 20;

    private static final int ALIGNMENT = 64;

    private final int images;
    private final int keys;
    /** On the memory of one piece. */
    private final BlockRun run;

    /** Of the first images of each piece on: codes where a product left them, and rows of the operand. */
    private final MemorySegment[] codesInRaw;

    private final MemorySegment[] codesInOperand;
    private final MemorySegment[] merged;
    /** For each number of images. */
    private final AttentionLayout.Extent[] extents;

    /**
     * How much memory a session's attention needs.
     *
     * @param images at once
     * @param rawBytes of sums, behind codes
     * @param operandBytes of operands, behind codes
     */
    record Sizes(int images, int keys, long codeBytes, long rawBytes, long operandBytes) {
        /**
         * @param group images of the session
         * @param keys places for the keys of a head
         */
        static Sizes of(VitConfig config, int group, int keys) {
            long scores = (long) config.heads() * config.tokens() * keys;
            int images = Math.clamp(SCORES / (Float.BYTES * scores), 1, Math.max(1, group));
            long mixed = (long) config.tokens() * config.width();
            long codes = aligned(3L * group * config.tokens() * config.width());
            return new Sizes(
                    images,
                    keys,
                    codes,
                    codes + Float.BYTES * images * Math.max(scores, mixed),
                    codes + images * scores);
        }

        private static long aligned(long bytes) {
            return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
        }
    }

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
        images = sizes.images();
        keys = sizes.keys();
        long values = (long) images * config.heads() * keys * config.headWidth();
        MemorySegment scores = raw.asSlice(sizes.codeBytes());
        AttentionBuffers buffers = new AttentionBuffers(
                arena.allocate(values, ALIGNMENT),
                arena.allocate(values, ALIGNMENT),
                arena.allocate(values, ALIGNMENT),
                scores,
                arena.allocate(JAVA_FLOAT, (long) images * config.heads() * config.tokens()));
        run = new BlockRun(
                workspace,
                ThreadTeam.ALONE,
                0,
                MemorySegment.NULL,
                operand.asSlice(sizes.codeBytes()),
                scores,
                buffers,
                buffers,
                Optional.empty(),
                config.layerNormEpsilon());
        int pieces = Math.ceilDiv(group, images);
        codesInRaw = new MemorySegment[pieces];
        codesInOperand = new MemorySegment[pieces];
        merged = new MemorySegment[pieces];
        for (int p = 0; p < pieces; p++) {
            long rowValues = (long) p * images * config.tokens() * config.width();
            codesInRaw[p] = raw.asSlice(3 * rowValues);
            codesInOperand[p] = operand.asSlice(3 * rowValues);
            merged[p] = operand.asSlice(rowValues);
        }
        extents = new AttentionLayout.Extent[images + 1];
        for (int i = 0; i <= images; i++) {
            extents[i] = layout.roomy(i, keys);
        }
    }

    /** Where keys and values of an image stand, with room for {@link AttentionPieces.Sizes#keys} of a head. */
    AttentionBuffers buffers() {
        return run.products();
    }

    /**
     * Writes the operand of the projection of some images. Rows of it never reach codes that are still to be read, which are three times as wide.
     *
     * @param inRaw whether codes are in the raw sums' memory, and not in the operand's
     */
    void run(BlockOperators block, int count, boolean inRaw) {
        BlockOperators.Products products = block.roomy().orElseThrow();
        for (int first = 0, p = 0; first < count; first += images, p++) {
            AttentionLayout.Extent extent = extents[Math.min(images, count - first)];
            run.piece(block, products, extent, inRaw ? codesInRaw[p] : codesInOperand[p], merged[p]);
        }
    }
}
