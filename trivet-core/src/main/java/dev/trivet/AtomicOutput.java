package dev.trivet;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Objects;

/**
 * Writes a file so that a reader sees the old content or the new, never a part: the bytes go to {@code NAME.part} beside it,
 * are forced to disk, and the file is renamed.
 */
public final class AtomicOutput {
    private AtomicOutput() {}

    /** What writes the bytes. */
    @FunctionalInterface
    public interface Body {
        /**
         * Writes the file from its beginning.
         *
         * @param channel empty and open for writing; closed by the caller
         */
        void write(FileChannel channel) throws IOException;
    }

    /**
     * Creates missing folders, then writes {@code file}. Where it is a symbolic link, the file that the link points at is
     * replaced. Not for several writers of one file at the same time.
     *
     * @throws BadInputException if it cannot be written (no space, no permission, a folder in the way); what was there
     *     before is unchanged, and nothing but empty folders is left behind. The same holds for any other exception that
     *     the body throws, which passes through.
     */
    public static void write(Path file, Body body) {
        String remedy = "give the name of a file to write";
        if (Files.isDirectory(file)) {
            throw new BadInputException(file, "is a folder", remedy);
        }
        // The rename would destroy a device or pipe.
        if (Files.exists(file) && !Files.isRegularFile(file)) {
            throw new BadInputException(file, "is not a regular file", remedy);
        }
        if (file.getFileName() == null) {
            throw new BadInputException(file, "is not a file name", remedy);
        }
        try {
            Path folder = file.toAbsolutePath().getParent();
            if (folder != null) {
                Files.createDirectories(folder);
            }
            boolean link = Files.isSymbolicLink(file) && Files.exists(file);
            replace(link ? file.toRealPath() : file, body);
        } catch (IOException e) {
            throw unwritable(file, e);
        } catch (UncheckedIOException e) {
            throw unwritable(file, Objects.requireNonNull(e.getCause()));
        }
    }

    /**
     * Writes all the bytes, as {@link #write(Path, Body)} does.
     *
     * @throws BadInputException if the file cannot be written
     */
    public static void write(Path file, byte[] content) {
        ByteBuffer bytes = ByteBuffer.wrap(content);
        write(file, channel -> {
            while (bytes.hasRemaining()) {
                channel.write(bytes); // on a disk that is nearly full it may take a part
            }
        });
    }

    private static BadInputException unwritable(Path file, IOException e) {
        String reason = BadInputException.reason(e);
        // Who asked for a file need not hear of the one beside it, unless something else lies in that one's place.
        if (e instanceof FileSystemException failure && failure.getReason() != null && !isTaken(part(file))) {
            reason = failure.getReason();
        }
        boolean forbidden = e instanceof AccessDeniedException || reason.contains("Read-only");
        return new BadInputException(
                file,
                "cannot be written (" + reason + ")",
                (forbidden ? "" : "free some space or ") + "choose another place; the old file, if any, is unchanged",
                e);
    }

    private static Path part(Path file) {
        return file.resolveSibling(file.getFileName() + ".part");
    }

    private static boolean isTaken(Path part) {
        return Files.exists(part, LinkOption.NOFOLLOW_LINKS) && !Files.isRegularFile(part, LinkOption.NOFOLLOW_LINKS);
    }

    private static void replace(Path file, Body body) throws IOException {
        Path part = part(file);
        // If this fails, what lies there is not ours to delete.
        FileChannel opened = FileChannel.open(
                part,
                StandardOpenOption.CREATE,
                StandardOpenOption.WRITE,
                StandardOpenOption.TRUNCATE_EXISTING,
                LinkOption.NOFOLLOW_LINKS);
        boolean done = false;
        try {
            try (FileChannel channel = opened) {
                body.write(channel);
                channel.force(true);
            }
            rename(part, file);
            done = true;
        } finally {
            if (!done) {
                delete(part);
            }
        }
    }

    private static void rename(Path part, Path file) throws IOException {
        try {
            Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
        } catch (AtomicMoveNotSupportedException e) {
            Files.move(part, file, StandardCopyOption.REPLACE_EXISTING);
        }
    }

    private static void delete(Path part) {
        try {
            Files.deleteIfExists(part);
        } catch (IOException _) {
            // The error that brought us here says more.
        }
    }
}
