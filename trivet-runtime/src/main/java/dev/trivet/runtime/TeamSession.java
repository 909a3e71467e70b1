package dev.trivet.runtime;

import dev.trivet.kernel.Kernels;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * A session whose runs several threads do together. Of a batch each member takes as many whole images as go round, on buffers of its own
 * and without a word to the others; images that are left over, or a single one, are cut into rows one after the other
 * ({@link VitPart}, {@link SwinPart}). Whatever is watched, and modules of a block, run on the calling thread alone.
 *
 * <p>Results are those of one thread bit for bit: every row is computed by the same operations in the same order.
 */
public final class TeamSession implements ModelSession {
    private static final int ALIGNMENT = 64;

    private final ModelExecutor executor;
    private final Arena arena = Arena.ofShared();
    private final List<? extends ModelSession> members;
    private final List<? extends ModelPart> parts;
    private final ThreadTeam team;
    private @Nullable ModelSession alone;

    /** What the team does at the moment; written by the caller before a job and read by all in it. */
    private Task task = new Task(0, 0, MemorySegment.NULL, MemorySegment.NULL);

    private boolean whole;
    /** The last run's buffers, cut into the members' images and those left over. */
    private MemorySegment lastInput = MemorySegment.NULL;

    private MemorySegment lastLogits = MemorySegment.NULL;
    private int lastImages;
    private List<Task> pieces = List.of();

    /** Some images, or one image's way through some units. */
    private record Task(int firstUnit, int endUnit, MemorySegment in, MemorySegment out) {}

    TeamSession(ModelExecutor executor, int threads) {
        this.executor = executor;
        int each = executor.batch() / threads;
        List<Integer> batches = IntStream.range(0, threads)
                // The first two have what all share of an image.
                .mapToObj(member -> member < 2 ? Math.max(1, each) : each)
                .toList();
        List<Runnable> opened = new ArrayList<>();
        try {
            switch (executor) {
                case VitExecutor vit -> {
                    int rows = IntStream.range(0, threads)
                            .map(member ->
                                    VitPart.share(vit.config, member, threads).count())
                            .max()
                            .orElseThrow();
                    List<VitSession> sessions = sessions(
                            opened, vit.kernels, batches, (memory, batch) -> new VitSession(vit, memory, batch, rows));
                    members = sessions;
                    team = new ThreadTeam(threads, this::perform);
                    opened.addFirst(team::close);
                    parts = IntStream.range(0, threads)
                            .mapToObj(member -> new VitPart(sessions, team, member))
                            .toList();
                }
                case SwinExecutor swin -> {
                    List<SwinSession> sessions = sessions(
                            opened,
                            swin.kernels,
                            batches,
                            (memory, batch) -> new SwinSession(swin, memory, batch, threads));
                    members = sessions;
                    team = new ThreadTeam(threads, this::perform);
                    opened.addFirst(team::close);
                    parts = IntStream.range(0, threads)
                            .mapToObj(member -> new SwinPart(sessions, team, member))
                            .toList();
                }
            }
        } catch (RuntimeException | Error e) { // such as memory or threads that do not suffice for all members
            opened.forEach(Runnable::run);
            arena.close();
            throw e;
        }
    }

    /**
     * One session for each member.
     *
     * @param opened gets what closes each of them, at once
     */
    private static <S extends ModelSession> List<S> sessions(
            List<Runnable> opened,
            Kernels kernels,
            List<Integer> batches,
            BiFunction<SessionMemory, Integer, S> constructor) {
        List<S> sessions = new ArrayList<>();
        for (int batch : batches) {
            S session = SessionMemory.open(kernels.openWorkspace(), memory -> constructor.apply(memory, batch));
            opened.add(session::close);
            sessions.add(session);
        }
        return List.copyOf(sessions);
    }

    private void perform(int member) {
        if (whole) {
            Task piece = pieces.get(member);
            members.get(member).run(piece.in, lastImages / team.size(), piece.out);
        } else {
            parts.get(member).run(task.firstUnit, task.endUnit, task.in, task.out);
        }
    }

    private MemorySegment floats(long count) {
        return arena.allocate(4 * count, ALIGNMENT);
    }

    @Override
    public MemorySegment allocateInput() {
        return floats(executor.batch() * imageValues());
    }

    private long imageValues() {
        return (long) executor.geometry().channels()
                * executor.geometry().imageSize()
                * executor.geometry().imageSize();
    }

    @Override
    public MemorySegment allocateLogits() {
        return floats((long) executor.batch() * executor.geometry().classes());
    }

    @Override
    public MemorySegment allocateTokens() {
        long largest = executor.geometry().units().stream()
                .skip(1)
                .mapToLong(unit -> unit.input().values())
                .max()
                .orElseThrow();
        return floats(executor.batch() * largest);
    }

    @Override
    public void run(MemorySegment input, int images, MemorySegment logits, Optional<LayerObserver> watcher) {
        check(images);
        if (watcher.isPresent()) {
            alone().run(input, images, logits, watcher);
            return;
        }
        cut(input, images, logits);
        int next = 0;
        if (images >= team.size()) {
            whole = true;
            team.run();
            next = team.size();
        }
        whole = false;
        for (; next < pieces.size(); next++) {
            task = pieces.get(next);
            team.run();
        }
    }

    /** Cuts a run's buffers, unless the last run had the very same: equal ones may belong to an arena that is closed by now. */
    @SuppressWarnings({"MemorySegmentReferenceEquality", "ReferenceEquality"})
    private void cut(MemorySegment input, int images, MemorySegment logits) {
        if (images != lastImages || input != lastInput || logits != lastLogits) {
            pieces = pieces(input, images, logits);
            lastInput = input;
            lastLogits = logits;
            lastImages = images;
        }
    }

    private List<Task> pieces(MemorySegment input, int images, MemorySegment logits) {
        List<Task> cut = new ArrayList<>();
        int each = images / team.size();
        int from = 0;
        while (from < images) {
            int count = each > 0 && cut.size() < team.size() ? each : 1;
            cut.add(new Task(
                    0,
                    executor.geometry().units().size(),
                    slice(input, from, count, imageValues()),
                    slice(logits, from, count, executor.geometry().classes())));
            from += count;
        }
        return List.copyOf(cut);
    }

    private static MemorySegment slice(MemorySegment images, int from, int count, long values) {
        return images.asSlice(4L * from * values, 4L * count * values);
    }

    private void check(int images) {
        if (images < 1 || images > executor.batch()) {
            throw new IllegalArgumentException(images + " images for a batch of " + executor.batch());
        }
    }

    @Override
    public void runUnit(int unit, MemorySegment in, int images, MemorySegment out, Optional<LayerObserver> watcher) {
        check(images);
        if (watcher.isPresent()) {
            alone().runUnit(unit, in, images, out, watcher);
            return;
        }
        long read = executor.geometry().units().get(unit).input().values();
        long written = executor.geometry().units().get(unit).output().values();
        whole = false;
        for (int i = 0; i < images; i++) {
            task = new Task(unit, unit + 1, slice(in, i, 1, read), slice(out, i, 1, written));
            team.run();
        }
    }

    @Override
    public void runAttention(int unit, MemorySegment tokens, int images) {
        alone().runAttention(unit, tokens, images);
    }

    @Override
    public void runMlp(int unit, MemorySegment tokens, int images) {
        alone().runMlp(unit, tokens, images);
    }

    private ModelSession alone() {
        if (alone == null) {
            alone = executor.openSession();
        }
        return alone;
    }

    /** Ends the threads and frees the buffers; a second call does nothing. */
    @Override
    public void close() {
        if (!arena.scope().isAlive()) {
            return;
        }
        team.close();
        members.forEach(ModelSession::close);
        if (alone != null) {
            alone.close();
        }
        arena.close();
    }
}
