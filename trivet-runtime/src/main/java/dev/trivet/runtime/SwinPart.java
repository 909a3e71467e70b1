package dev.trivet.runtime;

import dev.trivet.model.ModelUnit;
import dev.trivet.model.TokenShape;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;

/**
 * A Swin's rows of one image that one member of a team works on. A shifted window holds tokens of several members, so queries, keys, values
 * and mixed values lie in buffers of all, and each member computes its share of the windows' products ({@link BlockRun}): windows and
 * heads are many, so shares are even where a map has a single window too. Tokens that are merged may be another member's.
 */
final class SwinPart implements ModelPart {
    private final SwinSession own;
    private final List<ModelUnit> units;
    private final ThreadTeam team;
    private final int member;
    /** All rows of what the team shares. */
    private final MemorySegment stream;

    private final AttentionBuffers shared;
    private final List<Step> steps;

    /** This member's part of a step. */
    private sealed interface Step {}

    /** @param rows of the stream that belong to the patches */
    private record Embedding(
            SwinExecutor.Embedding whole, Share patches, MemorySegment rows, Optional<MemorySegment> positions)
            implements Step {}

    private record Block(BlockOperators operators, AttentionLayout.Extent extent, BlockRun run) implements Step {}

    /** @param rows of the stream that belong to the tokens of the next stage */
    private record Merging(SwinExecutor.Merging whole, Share tokens, MemorySegment rows) implements Step {}

    private record Head(SwinExecutor.Head whole) implements Step {}

    /** @param all members' sessions; the first two have what is shared */
    SwinPart(List<SwinSession> all, ThreadTeam team, int member) {
        own = all.get(member);
        units = own.executor.config.units();
        this.team = team;
        this.member = member;
        AttentionBuffers first = all.getFirst().attention;
        stream = all.getFirst().stream;
        // Nobody else's queries are in use, and they have the right size.
        MemorySegment mixed = all.get(1).attention.query();
        shared = new AttentionBuffers(first.query(), first.key(), first.value(), mixed, first.factors());
        steps = own.executor.steps.stream().map(this::part).toList();
    }

    private Step part(SwinExecutor.Step step) {
        return switch (step) {
            case SwinExecutor.Embedding embedding -> {
                TokenShape shape = embedding.unit().output();
                Optional<MemorySegment> positions =
                        embedding.positions().map(p -> rows(p.values(), shape, share(shape)));
                yield new Embedding(embedding, share(shape), rows(stream, shape, share(shape)), positions);
            }
            case SwinExecutor.Block block -> block(block.operators());
            case SwinExecutor.Merging merging -> {
                TokenShape shape = merging.unit().output();
                yield new Merging(merging, share(shape), rows(stream, shape, share(shape)));
            }
            case SwinExecutor.Head head -> new Head(head);
        };
    }

    private Block block(BlockOperators block) {
        ModelUnit.Block unit = block.unit();
        Share tokens = share(unit.shape());
        Share products = Share.of(unit.groups() * unit.heads(), member, team.size());
        long firstRow = (long) products.first() * unit.groupTokens();
        long firstValue = firstRow * unit.headWidth();
        AttentionBuffers mine = new AttentionBuffers(
                shared.query().asSlice(firstValue * block.attention().query().bytes()),
                shared.key().asSlice(firstValue * block.attention().key().bytes()),
                shared.value().asSlice(firstValue * block.attention().value().bytes()),
                shared.mixed().asSlice(4 * firstValue),
                shared.factors().asSlice(4 * firstRow));
        BlockRun run = new BlockRun(
                own.workspace,
                team,
                member,
                rows(stream, unit.shape(), tokens),
                0,
                own.operand,
                own.raw,
                shared,
                mine,
                Optional.empty(),
                own.executor.config.layerNormEpsilon());
        return new Block(block, block.layout().extent(tokens, products), run);
    }

    private Share share(TokenShape shape) {
        return Share.of(shape.tokens(), member, team.size());
    }

    private static MemorySegment rows(MemorySegment tokens, TokenShape shape, Share share) {
        long rowBytes = 4L * shape.width();
        return tokens.asSlice(rowBytes * share.first(), rowBytes * share.count());
    }

    @Override
    public void run(int firstUnit, int endUnit, MemorySegment in, MemorySegment out) {
        own.workspace.enter();
        if (firstUnit > 0) {
            TokenShape shape = units.get(firstUnit).input();
            rows(stream, shape, share(shape)).copyFrom(rows(in, shape, share(shape)));
        }
        for (int unit = firstUnit; unit < endUnit; unit++) {
            step(steps.get(own.executor.stepIndex(unit)), in, out);
        }
        if (endUnit < units.size()) {
            TokenShape shape = units.get(endUnit - 1).output();
            rows(out, shape, share(shape)).copyFrom(rows(stream, shape, share(shape)));
        }
    }

    private void step(Step step, MemorySegment in, MemorySegment out) {
        switch (step) {
            case Embedding part -> embed(part, in);
            case Block part -> {
                part.run.attention(part.operators, part.extent, null);
                part.run.mlp(part.operators, part.extent.rows(), null);
            }
            case Merging part -> {
                team.meet(member); // all tokens of this stage are there
                own.gather(part.whole, stream, part.tokens.first(), part.tokens.end());
                team.meet(member); // nobody reads them any more
                own.reduce(part.whole, part.tokens.count(), part.rows, null);
            }
            case Head part -> {
                team.meet(member);
                if (member == 0) {
                    own.classify(part.whole, 1, out, 0, null);
                }
            }
        }
    }

    private void embed(Embedding part, MemorySegment image) {
        Share patches = part.patches;
        own.embedRows(part.whole, image, patches.first(), patches.end(), part.rows, null);
        part.positions.ifPresent(values -> own.workspace
                .pointwise()
                .addTo(
                        values,
                        patches.count(),
                        part.whole.positions().orElseThrow().product(),
                        part.rows));
    }
}
