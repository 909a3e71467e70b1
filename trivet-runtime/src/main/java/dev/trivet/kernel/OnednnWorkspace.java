package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.IdentityHashMap;

/**
 * One thread's stream, scratch memory, and per compiled matmul the argument list, made on first use and then only pointed at
 * new addresses: a run allocates nothing.
 */
final class OnednnWorkspace implements Workspace {
    /** {@code dnnl_exec_arg_t}: an int, padding, a pointer. */
    private static final int ARGUMENT_BYTES = 16;

    private final OnednnLibrary library;
    private final Arena arena = Arena.ofShared();
    private final long stream;
    private final Pointwise pointwise;
    private final IdentityHashMap<OnednnMatmul, Bound> bound = new IdentityHashMap<>();
    private final ScratchMemory scratch = new ScratchMemory();
    private MemorySegment scratchpad;
    /** As long as the scratch memory that any product wants cleared. */
    private MemorySegment zeros = MemorySegment.NULL;

    /** @param scale 0, as is {@code offset}, where sums are stored as they are */
    private record Bound(
            long left, long right, long out, long scratchpad, long scale, long offset, MemorySegment arguments) {
        int count() {
            return scale == 0 ? 4 : 6;
        }
    }

    OnednnWorkspace(OnednnLibrary library, Pointwise pointwise) {
        this.library = library;
        this.pointwise = pointwise;
        library.useOneThread();
        stream = library.openStream();
        scratchpad = arena.allocate(1 << 16, 64);
    }

    /** OpenMP keeps its thread count per calling thread. */
    @Override
    public void enter() {
        library.useOneThread();
    }

    @Override
    public Pointwise pointwise() {
        return pointwise;
    }

    @Override
    public MemorySegment scratch(int slot, long bytes) {
        return scratch.get(slot, bytes);
    }

    void run(OnednnMatmul matmul, long left, long right, long out) {
        run(matmul, left, right, out, 0, 0);
    }

    /**
     * @param scale address of float32 {@code [columns]}, 0 where sums are stored as they are
     * @param offset the same
     */
    void run(OnednnMatmul matmul, long left, long right, long out, long scale, long offset) {
        Bound b = bound.get(matmul);
        if (b == null) {
            b = bind(matmul);
            bound.put(matmul, b);
        }
        library.point(b.left, left);
        library.point(b.right, right);
        library.point(b.out, out);
        library.point(b.scratchpad, scratchpad.address());
        if (b.scale != 0) {
            library.point(b.scale, scale);
            library.point(b.offset, offset);
        }
        if (matmul.clearsScratchpad) {
            MemorySegment.copy(zeros, 0, scratchpad, 0, matmul.scratchpadBytes);
        }
        library.execute(matmul.primitive, stream, b.count(), b.arguments.address());
    }

    private Bound bind(OnednnMatmul matmul) {
        if (scratchpad.byteSize() < matmul.scratchpadBytes) {
            // The outgrown block stays with the arena; growth happens a few times at most.
            scratchpad = arena.allocate(matmul.scratchpadBytes, 64);
        }
        if (matmul.clearsScratchpad && zeros.byteSize() < matmul.scratchpadBytes) {
            zeros = arena.allocate(matmul.scratchpadBytes, 64);
        }
        boolean plain = matmul.ending == OnednnMatmul.Ending.SUM;
        MemorySegment arguments = arguments(arena, 6);
        Bound b = new Bound(
                library.memory(matmul.left, 0),
                library.memory(matmul.right, 0),
                library.memory(matmul.out, 0),
                library.memory(matmul.scratchpad, 0),
                plain ? 0 : library.memory(matmul.perColumn, 0),
                plain ? 0 : library.memory(matmul.bias, 0),
                arguments);
        argument(arguments, 0, OnednnLibrary.ARG_SRC, b.left);
        argument(arguments, 1, OnednnLibrary.ARG_WEIGHTS, b.right);
        argument(arguments, 2, OnednnLibrary.ARG_DST, b.out);
        argument(arguments, 3, OnednnLibrary.ARG_SCRATCHPAD, b.scratchpad);
        if (!plain) {
            argument(arguments, 4, OnednnLibrary.ARG_WEIGHT_SCALES, b.scale);
            argument(arguments, 5, OnednnLibrary.ARG_BIAS, b.offset);
        }
        return b;
    }

    static MemorySegment arguments(Arena arena, int count) {
        return arena.allocate((long) count * ARGUMENT_BYTES, 8);
    }

    static void argument(MemorySegment arguments, int index, int role, long memory) {
        arguments.set(JAVA_INT, (long) index * ARGUMENT_BYTES, role);
        arguments.set(JAVA_LONG, (long) index * ARGUMENT_BYTES + 8, memory);
    }

    @Override
    public void close() {
        for (Bound b : bound.values()) {
            library.freeMemory(b.left);
            library.freeMemory(b.right);
            library.freeMemory(b.out);
            library.freeMemory(b.scratchpad);
            if (b.scale != 0) {
                library.freeMemory(b.scale);
                library.freeMemory(b.offset);
            }
        }
        bound.clear();
        library.closeStream(stream);
        scratch.close();
        arena.close();
    }
}
