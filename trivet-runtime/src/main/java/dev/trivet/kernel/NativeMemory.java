package dev.trivet.kernel;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.Objects;

/**
 * Off-heap memory by address, for loops of the Vector API. A pass asks here once for the address of each segment it touches, which checks
 * what every access of the segment itself would check, that it is long enough, open, and this thread's to use, and that it is off the heap. Its loops then
 * read and write {@link #ALL}, where all that is left to check is a constant.
 *
 * <p>Why: whether HotSpot moves those checks out of a loop depends on what it has seen of <em>all</em> segments of the process, because
 * they share the JDK's code and so its profile. Beside the confined arenas of a quantization it guessed wrong about the shared ones here dozens
 * of times, and compiled passes anew each time; and without them the same loop ran at full speed in one process and at little more than half
 * of it in the next (docs/decisions.md, "Memory by address").
 *
 * <p>As with oneDNN, which is given addresses, too, a segment has to stay open until the pass has returned, and reachable if its arena is an
 * automatic one. Safe for use by many threads.
 */
final class NativeMemory {
    /** The whole address space: the offset of a byte in it is its address. */
    @SuppressWarnings("restricted")
    static final MemorySegment ALL = MemorySegment.NULL.reinterpret(Long.MAX_VALUE);

    static final ByteOrder ORDER = ByteOrder.nativeOrder();

    private NativeMemory() {}

    /** The address of a segment whose first {@code bytes} bytes may be read. */
    static long address(MemorySegment segment, long bytes) {
        return address(segment, 0, bytes);
    }

    /**
     * The address of a segment whose first {@code bytes} bytes may be written, too.
     *
     * @throws UnsupportedOperationException if it is read-only
     */
    static long target(MemorySegment segment, long bytes) {
        return target(segment, 0, bytes);
    }

    /** The same from byte {@code offset} on. */
    static long target(MemorySegment segment, long offset, long bytes) {
        if (segment.isReadOnly()) {
            throw new UnsupportedOperationException("read-only memory");
        }
        return address(segment, offset, bytes);
    }

    /**
     * The address of byte {@code offset} of a segment, from where {@code bytes} bytes may be read.
     *
     * @throws IllegalArgumentException if it is on the heap
     * @throws IndexOutOfBoundsException if it is shorter
     * @throws IllegalStateException if it is closed
     * @throws WrongThreadException if it belongs to another thread
     */
    static long address(MemorySegment segment, long offset, long bytes) {
        Objects.checkFromIndexSize(offset, bytes, segment.byteSize());
        if (!segment.isNative()) {
            throw new IllegalArgumentException("memory on the heap");
        }
        if (!segment.scope().isAlive()) {
            throw new IllegalStateException("closed memory");
        }
        if (!segment.isAccessibleBy(Thread.currentThread())) {
            throw new WrongThreadException("memory of another thread");
        }
        return segment.address() + offset;
    }

    /** The segment itself, or, if it is on the heap, a copy off it. */
    static MemorySegment offHeap(MemorySegment segment, Arena arena) {
        return segment.isNative()
                ? segment
                : arena.allocate(segment.byteSize(), 64).copyFrom(segment);
    }
}
