package dev.trivet.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** One compiled oneDNN matmul for fixed shapes and layouts. Immutable, shared by threads; owns its descriptors. */
final class OnednnMatmul implements AutoCloseable {
    private final OnednnLibrary library;
    final long primitive;
    final long left;
    final long right;
    final long out;
    final long scratchpad;
    final long scratchpadBytes;
    final String implementation;

    /** Takes the three descriptors over. */
    OnednnMatmul(OnednnLibrary library, long left, long right, long out) {
        this.library = library;
        this.left = left;
        this.out = out;
        long descriptor = library.matmul(left, right, out);
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
    }
}
