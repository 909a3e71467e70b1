package dev.trivet.runtime;

import dev.trivet.kernel.Workspace;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.function.Function;

/**
 * What a session holds off-heap: the arena of its buffers and its workspace. It is made before the session, so that nothing of it stays behind
 * where memory does not suffice for all of the buffers.
 */
record SessionMemory(Arena arena, Workspace workspace) implements AutoCloseable {
    private static final int ALIGNMENT = 64;

    /**
     * Opens a session that closes this memory.
     *
     * @param workspace closed with the session, or at once if there is no session
     */
    static <S extends ModelSession> S open(Workspace workspace, Function<SessionMemory, S> session) {
        SessionMemory memory = new SessionMemory(Arena.ofShared(), workspace);
        try {
            return session.apply(memory);
        } catch (RuntimeException | Error e) {
            memory.close();
            throw e;
        }
    }

    /** Room for so many values of float32, for as long as the session is open. */
    MemorySegment floats(long count) {
        return arena.allocate(Float.BYTES * count, ALIGNMENT);
    }

    @Override
    public void close() {
        workspace.close();
        arena.close();
    }
}
