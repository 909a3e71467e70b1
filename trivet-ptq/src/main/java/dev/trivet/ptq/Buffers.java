package dev.trivet.ptq;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.Map;

/** A thread's off-heap buffers by name, grown when asked for more. */
final class Buffers implements AutoCloseable {
    private final Arena arena = Arena.ofConfined();
    private final Map<String, MemorySegment> buffers = new HashMap<>();

    /** A buffer of at least this many bytes; its contents last until the name is asked for with more. */
    MemorySegment get(String name, long bytes) {
        MemorySegment buffer = buffers.get(name);
        if (buffer == null || buffer.byteSize() < bytes) {
            buffer = arena.allocate(bytes, 64);
            buffers.put(name, buffer);
        }
        return buffer;
    }

    @Override
    public void close() {
        arena.close();
    }
}
