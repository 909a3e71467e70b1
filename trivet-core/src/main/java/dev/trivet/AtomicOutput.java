package dev.trivet;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/**
 * Writes a file so that a reader sees the old content or the new, never a part: the bytes go to {@code NAME.part} beside it,
 * are forced to disk, and the file is renamed.
 */
public final class AtomicOutput {
    private AtomicOutput() {}

    /** What writes the bytes. */
    @FunctionalInterface
    public interface Body {
        void write(FileChannel channel) throws IOException;
    }

    /**
     * Creates missing folders, then writes {@code file}.
     *
     * @throws BadInputException if it cannot be written (no space, no permission, a folder in the way); nothing is left
     *     behind
     */
    public static void write(Path file, Body body) {
        if (Files.isDirectory(file)) {
            throw new BadInputException(file, "is a folder", "give the name of a file to write");
        }
        Path name = file.getFileName();
        if (name == null) {
            throw new BadInputException(file, "is not a file name", "give the name of a file to write");
        }
        Path part = file.resolveSibling(name + ".part");
        try {
            Path folder = file.toAbsolutePath().getParent();
            if (folder != null) {
                Files.createDirectories(folder);
            }
            try (FileChannel channel = FileChannel.open(
                    part, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
                body.write(channel);
                channel.force(true);
            }
            rename(part, file);
        } catch (IOException e) {
            delete(part, e);
            throw new BadInputException(
                    file,
                    "cannot be written (" + reason(e) + ")",
                    "free some space or choose another place; nothing was left behind",
                    e);
        }
    }

    private static void rename(Path part, Path file) throws IOException {
        try {
            Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
        } catch (AtomicMoveNotSupportedException e) {
            Files.move(part, file, StandardCopyOption.REPLACE_EXISTING);
        }
    }

    private static void delete(Path part, IOException cause) {
        try {
            Files.deleteIfExists(part);
        } catch (IOException e) {
            cause.addSuppressed(e);
        }
    }

    private static String reason(IOException e) {
        String message = e.getMessage();
        return message == null ? e.getClass().getSimpleName() : message;
    }
}
