package dev.trivet.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** One compiled oneDNN matmul for fixed shapes and layouts. Immutable, shared by threads; owns its descriptors. */
final class OnednnMatmul implements AutoCloseable {
    private final OnednnLibrary library;
    /** Rows of a constant product, batch of a batched one: what callers tell compiled matmuls apart by. */
    final int size;

    /** Of the destination of a constant product; else 0. */
    final int columns;

    /** Elements from one row of the destination of a constant product to the next; else 0. */
    final int stride;

    final Ending ending;
    final long primitive;
    final long left;
    final long right;
    final long out;
    final long scratchpad;
    final long scratchpadBytes;
    final String implementation;
    /** Whether scratch memory has to be zero before a run. */
    final boolean clearsScratchpad;
    /** Of a bias and of scales; 0 for sums. */
    final long perColumn;

    final long bias;

    /** What becomes of a sum before it is stored. */
    enum Ending {
        /** Nothing. */
        SUM(OnednnLibrary.S32, Integer.BYTES),
        /** The value, {@link Product}. */
        VALUE(OnednnLibrary.F32, Float.BYTES),
        /** The value is added to what is there. */
        ADDED(OnednnLibrary.F32, Float.BYTES),
        /** The code, {@link Requantization}. */
        CODE(OnednnLibrary.S8, Byte.BYTES);

        /** Of an integer product's destination. */
        final int type;

        /** Of one element. */
        final int bytes;

        Ending(int type, int bytes) {
            this.type = type;
            this.bytes = bytes;
        }
    }

    /** Sums. Takes the three descriptors over. */
    OnednnMatmul(OnednnLibrary library, int size, long left, long right, long out, boolean clearsScratchpad) {
        this(library, size, 0, 0, left, right, out, Ending.SUM, clearsScratchpad);
    }

    /**
     * A constant product.
     *
     * @param columns of the destination
     * @param stride elements from one of its rows to the next
     */
    OnednnMatmul(
            OnednnLibrary library, int size, int columns, int stride, long left, long right, long out, Ending ending) {
        this(library, size, columns, stride, left, right, out, ending, false);
    }

    private OnednnMatmul(
            OnednnLibrary library,
            int size,
            int columns,
            int stride,
            long left,
            long right,
            long out,
            Ending ending,
            boolean clearsScratchpad) {
        this.clearsScratchpad = clearsScratchpad;
        this.columns = columns;
        this.stride = stride;
        this.library = library;
        this.size = size;
        this.left = left;
        this.out = out;
        this.ending = ending;
        boolean plain = ending == Ending.SUM;
        perColumn = plain ? 0 : library.describe(OnednnLibrary.F32, new long[] {columns}, new long[] {1});
        bias = plain ? 0 : library.describe(OnednnLibrary.F32, new long[] {1, columns}, new long[] {columns, 1});
        long descriptor = library.matmul(left, right, bias, out, ending == Ending.ADDED);
        this.right = library.cloneDescriptor(library.query(descriptor, OnednnLibrary.QUERY_WEIGHTS_MD));
        library.freeDescriptor(right);
        scratchpad = library.cloneDescriptor(library.query(descriptor, OnednnLibrary.QUERY_SCRATCHPAD_MD));
        scratchpadBytes = library.bytes(scratchpad);
        implementation = library.implementation(descriptor);
        primitive = library.primitive(descriptor);
    }

    /** The given right operand, copied into the layout that this product reads. */
    MemorySegment pack(MemorySegment from, long fromDescriptor, Arena arena) {
        MemorySegment packed = arena.allocate(library.bytes(right), 64);
        long reorder = library.primitive(library.reorder(fromDescriptor, right));
        long source = library.memory(fromDescriptor, from.address());
        long target = library.memory(right, packed.address());
        long stream = library.openStream();
        try (Arena scratch = Arena.ofConfined()) {
            MemorySegment arguments = OnednnWorkspace.arguments(scratch, 2);
            OnednnWorkspace.argument(arguments, 0, OnednnLibrary.ARG_SRC, source);
            OnednnWorkspace.argument(arguments, 1, OnednnLibrary.ARG_DST, target);
            library.execute(reorder, stream, 2, arguments.address());
        } finally {
            library.closeStream(stream);
            library.freeMemory(source);
            library.freeMemory(target);
            library.freePrimitive(reorder);
        }
        return packed;
    }

    @Override
    public void close() {
        library.freePrimitive(primitive);
        library.freeDescriptor(left);
        library.freeDescriptor(right);
        library.freeDescriptor(out);
        library.freeDescriptor(scratchpad);
        if (ending != Ending.SUM) {
            library.freeDescriptor(perColumn);
            library.freeDescriptor(bias);
        }
    }
}
