package dev.trivet.runtime;

import dev.trivet.kernel.Linear;
import dev.trivet.model.VitConfig;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A ViT's rows of one image that one member of a team works on: its tokens go through embedding, LayerNorms, linear layers and GELU
 * without the others, and as queries they need the keys and values of all. So the members meet once a block ({@link BlockRun}), and
 * before the head, which one of them computes alone.
 */
final class VitPart implements ModelPart {
    private final VitSession own;
    private final VitConfig config;
    private final ThreadTeam team;
    private final int member;
    private final Share rows;
    private final Share patches;
    /** This member's rows of what the team shares. */
    private final TokenStream stream;
    /** The same, and what follows it where that is nobody's. */
    private final TokenStream roomyStream;

    private final MemorySegment patchRows;
    private final List<Block> blocks = new ArrayList<>();
    /** The last block where the head follows: of this member's rows those that it reads. */
    private final Optional<Block> lastBlock;

    /** @param wanted rows of the extent that are needed after the keys and values */
    private record Block(
            BlockOperators operators, AttentionLayout.Extent extent, AttentionLayout.Extent wanted, BlockRun run) {}

    /** @param all members' sessions; the first has the stream, and the first two have the keys and values */
    VitPart(List<VitSession> all, ThreadTeam team, int member) {
        own = all.get(member);
        config = own.executor.config;
        this.team = team;
        this.member = member;
        rows = share(config, member, team.size());
        int prefix = config.prefixTokens();
        patches = new Share(Math.max(0, rows.first() - prefix), Math.max(0, rows.end() - prefix));
        TokenStream shared = all.getFirst().stream;
        stream = shared.tokens(rows.first(), rows.count());
        roomyStream = rows.end() == config.tokens() ? shared.from(rows.first()) : stream;
        patchRows = shared.tokens(prefix + patches.first(), patches.count()).memory();
        for (BlockOperators block : own.executor.blocks) {
            VitSession session = all.get(blocks.size() % 2);
            AttentionBuffers buffers =
                    block.roomy().isPresent() ? session.pieces.orElseThrow().buffers() : session.attention;
            blocks.add(block(block.withRoom(), buffers));
        }
        lastBlock = own.executor.lastBlock.map(BlockOperators::withRoom).map(block -> {
            Share wanted = new Share(rows.first(), Math.clamp(own.executor.lastTokens, rows.first(), rows.end()));
            Block last = blocks.getLast();
            return new Block(
                    block.withQueries(wanted.count(), own.executor.kernels),
                    last.extent,
                    block.layout().extent(wanted, block.keys()),
                    last.run);
        });
    }

    /** The tokens that a member works on. */
    static Share share(VitConfig config, int member, int members) {
        return Share.ofTiles(config.tokens(), member, members, Linear.ROW_TILE);
    }

    private Block block(BlockOperators block, AttentionBuffers shared) {
        AttentionBuffers products = new AttentionBuffers(
                own.attention.query(), shared.key(), shared.value(), own.attention.mixed(), own.attention.factors());
        AttentionBuffers tokens = new AttentionBuffers(
                products.query(),
                fromFirstRow(products.key(), block.attention().key().bytes()),
                fromFirstRow(products.value(), block.attention().value().bytes()),
                products.mixed(),
                products.factors());
        BlockRun run = new BlockRun(
                own.workspace,
                team,
                member,
                roomyStream.memory(),
                roomyStream.gap(),
                own.operand,
                own.raw,
                tokens,
                products,
                Optional.empty(),
                config.layerNormEpsilon());
        AttentionLayout.Extent extent = block.layout().extent(rows, block.keys());
        return new Block(block.withQueries(rows.count(), own.executor.kernels), extent, extent, run);
    }

    /** Keys of each head stand together. */
    private MemorySegment fromFirstRow(MemorySegment keys, int bytes) {
        return keys.asSlice((long) rows.first() * config.headWidth() * bytes);
    }

    @Override
    public void run(int firstUnit, int endUnit, MemorySegment in, MemorySegment out) {
        own.workspace.enter();
        if (firstUnit == 0) {
            embed(in);
        } else {
            stream.load(in, rows.first(), rows.count());
        }
        int head = config.depth() + 1;
        for (int unit = Math.max(1, firstUnit); unit < Math.min(endUnit, head); unit++) {
            Block whole = blocks.get(own.executor.blockIndex(unit));
            Block block = unit == head - 1 && endUnit > head ? lastBlock.orElse(whole) : whole;
            block.run.attention(block.operators, block.extent, block.wanted, null);
            block.run.mlp(block.operators, block.wanted.rows(), null);
        }
        if (endUnit <= head) {
            stream.store(out, rows.first(), rows.count());
            return;
        }
        team.meet(member);
        if (member == 0) {
            own.heads(1, config.tokens(), out, 0, null);
        }
    }

    private void embed(MemorySegment image) {
        LinearOperator embedding = own.embedPatches(image, patches.first(), patches.end(), null);
        stream.load(own.executor.start, rows.first(), rows.count());
        own.workspace.pointwise().addTo(own.raw, patches.count(), embedding.product(), patchRows, stream.stride());
    }
}
