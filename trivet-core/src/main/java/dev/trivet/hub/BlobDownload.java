package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.Optional;

/**
 * Fetches one file into the cache. What has come is kept as {@code ETAG.incomplete} and the rest asked for later, in this process or
 * another; only when length and hash are right does the file get its name. Bytes that turn out wrong after a resumption are
 * fetched once more from the beginning, since they may be an older process's; wrong bytes in one piece are the server's fault.
 */
final class BlobDownload {
    /** Fewer bytes than this between two broken connections do not count as a success. */
    private static final long PROGRESS = 1 << 16;

    private final HubClient client;
    private final HubModel model;
    private final RemoteFile file;
    private final Duration stall;
    private final HubListener listener;
    private final Path part;

    /** @param blob where the file goes */
    BlobDownload(HubClient client, HubModel model, RemoteFile file, Path blob, Duration stall, HubListener listener) {
        this.client = client;
        this.model = model;
        this.file = file;
        this.stall = stall;
        this.listener = listener;
        part = blob.resolveSibling(file.etag() + ".incomplete");
    }

    /**
     * Fetches what is missing; to be called with the model's lock.
     *
     * @return hash of the complete file
     * @throws BadInputException if there is no room, the hub does not give the file, or its bytes are wrong
     */
    ContentHash run(Path blob) {
        try {
            Files.createDirectories(HubCache.parent(blob));
            boolean resumed = fill();
            ContentHash hash = ContentHash.of(part, file.etag());
            if (!hash.matches(file.etag()) && resumed) {
                listener.note(file.name() + ": what was there before is damaged; fetching it again");
                Files.delete(part);
                fill();
                hash = ContentHash.of(part, file.etag());
            }
            if (!hash.matches(file.etag())) {
                Files.delete(part);
                throw new BadInputException(file.name() + " of " + model + ": came with SHA-256 " + hash.sha256()
                        + " where the hub names " + file.etag()
                        + "; try again, and check the proxy if it happens twice");
            }
            Files.move(part, blob, StandardCopyOption.ATOMIC_MOVE);
            return hash;
        } catch (IOException e) {
            throw HubCache.unwritable(part, e);
        }
    }

    /** Brings the incomplete file to its length; true if part of it was there before or came in several pieces. */
    private boolean fill() throws IOException {
        long before = trim();
        boolean resumed = before > 0;
        ensureRoom(file.bytes() - before);
        int failures = 0;
        for (long have = before; have < file.bytes() || !Files.exists(part, LinkOption.NOFOLLOW_LINKS); ) {
            listener.progress(file.name(), have, Math.max(1, file.bytes()));
            Optional<IOException> failure = transfer(have);
            long now = trim();
            if (failure.isPresent()) {
                failures = now - have >= PROGRESS ? 1 : failures + 1;
                if (failures >= HubClient.TRIES) {
                    throw client.unreachable(failure.get());
                }
                client.await(failure.get(), failures);
            }
            have = now;
            resumed |= now > 0 && now < file.bytes();
        }
        return resumed;
    }

    /** Length of the incomplete file; one that is longer than it should be is of no use. */
    private long trim() throws IOException {
        if (!Files.exists(part, LinkOption.NOFOLLOW_LINKS)) {
            return 0;
        }
        if (!Files.isRegularFile(part, LinkOption.NOFOLLOW_LINKS)) {
            throw new BadInputException(part, "is not a regular file", "delete it");
        }
        long length = Files.size(part);
        if (length <= file.bytes()) {
            return length;
        }
        Files.delete(part);
        return 0;
    }

    private void ensureRoom(long bytes) throws IOException {
        Path folder = HubCache.parent(part);
        long room = Files.getFileStore(folder).getUsableSpace();
        if (room > 0 && room < bytes) { // some file systems do not know
            throw new BadInputException(
                    folder,
                    "has room for " + (room >> 20) + " MiB where " + file.name() + " needs " + (bytes >> 20)
                            + " MiB more",
                    "free some space or set HF_HOME to another folder");
        }
    }

    /** Asks once for what is missing; the failure if another try may help. Errors of the disk pass through. */
    private Optional<IOException> transfer(long have) throws IOException {
        HubAnswer opened;
        try {
            opened = client.open(file, have);
        } catch (IOException e) {
            return Optional.of(e);
        }
        try (HubAnswer answer = opened) {
            if (answer.status() == 416) { // the server holds no such bytes: what is here cannot be of this file
                Files.deleteIfExists(part);
                return Optional.of(new IOException("the server has nothing after byte " + have));
            }
            long start = answer.status() == 206 ? have : 0;
            if (answer.status() == 206 && !range(answer, have)) {
                Files.deleteIfExists(part);
                return Optional.of(new IOException("the server sent another range than asked for"));
            }
            if (answer.number("Content-Length").orElse(file.bytes() - start) != file.bytes() - start) {
                throw new BadInputException(file.name() + " of " + model + ": comes with "
                        + (start + answer.number("Content-Length").getAsLong()) + " bytes where the hub names "
                        + file.bytes() + "; try again, and check HF_ENDPOINT and the proxy if it happens twice");
            }
            try (FileChannel out = FileChannel.open(
                    part, StandardOpenOption.CREATE, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS)) {
                out.truncate(start).position(start);
                Optional<IOException> failure = copy(answer.response().body(), out);
                out.force(true);
                return failure;
            }
        }
    }

    private boolean range(HubAnswer answer, long have) {
        String expected = "bytes " + have + "-" + (file.bytes() - 1) + "/" + file.bytes();
        return have > 0
                && answer.header("Content-Range").filter(expected::equals).isPresent();
    }

    private Optional<IOException> copy(InputStream in, FileChannel out) throws IOException {
        byte[] bytes = new byte[1 << 16];
        try (StallGuard guard = new StallGuard(in, stall)) {
            while (true) {
                int n;
                try {
                    n = in.read(bytes);
                } catch (IOException e) {
                    return Optional.of(guard.stalled() ? silent() : e);
                }
                if (n < 0) {
                    boolean whole = out.position() == file.bytes();
                    return whole
                            ? Optional.empty()
                            : Optional.of(guard.stalled() ? silent() : brokenOff(out.position()));
                }
                guard.progress();
                if (out.position() + n > file.bytes()) {
                    out.truncate(0);
                    throw new BadInputException(file.name() + " of " + model + ": comes with more than the "
                            + file.bytes() + " bytes that the hub names; check HF_ENDPOINT and the proxy");
                }
                ByteBuffer buffer = ByteBuffer.wrap(bytes, 0, n);
                while (buffer.hasRemaining()) {
                    out.write(buffer);
                }
                listener.progress(file.name(), out.position(), Math.max(1, file.bytes()));
            }
        }
    }

    private IOException silent() {
        return new IOException("nothing came for " + stall.toSeconds() + " s");
    }

    private static IOException brokenOff(long at) {
        return new IOException("the connection broke off after byte " + at);
    }
}
