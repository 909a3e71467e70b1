package dev.trivet.tensor;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * A whole file, mapped for reading.
 *
 * @param arena owns the mapping, and anything else that shall live as long
 */
record MappedFile(Arena arena, MemorySegment bytes) implements AutoCloseable {
    /**
     * @param kind what the user should name instead of a folder or device, such as {@code .safetensors file}
     * @throws BadInputException if there is no such regular file or it may not be read
     */
    static MappedFile open(Path file, String kind) {
        if (Files.isDirectory(file)) {
            throw new BadInputException(file, "is a folder", "name a " + kind);
        }
        // Opening a pipe would wait for its writer.
        if (Files.exists(file) && !Files.isRegularFile(file)) {
            throw new BadInputException(file, "is not a regular file", "name a " + kind);
        }
        Arena arena = Arena.ofShared();
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            return new MappedFile(arena, channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena));
        } catch (NoSuchFileException e) {
            arena.close();
            throw new BadInputException(file, "no such file", "check the path", e);
        } catch (IOException e) {
            arena.close();
            throw new BadInputException(
                    file,
                    "cannot be read (" + BadInputException.reason(e) + ")",
                    "check that it is a file you may read",
                    e);
        } catch (RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    @Override
    public void close() {
        arena.close();
    }
}
