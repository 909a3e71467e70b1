package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The cache's folders, laid out as the hub's own tools do, so that what one has fetched the other finds:
 *
 * <pre>
 * models--ORGANISATION--NAME/refs/REVISION                  holds the commit
 * models--ORGANISATION--NAME/blobs/ETAG                     contents, named by their hash
 * models--ORGANISATION--NAME/blobs/ETAG.incomplete          what has come so far
 * models--ORGANISATION--NAME/snapshots/COMMIT/FILE          link to the contents, or a copy where links cannot be
 * models--ORGANISATION--NAME/.no_exist/COMMIT/FILE          the commit is known to have no such file
 * .locks/models--ORGANISATION--NAME/trivet.lock
 * </pre>
 *
 * Each step is complete before the next refers to it, so a process that is killed leaves nothing but an incomplete file.
 */
final class HubCache {
    /** A lock of the operating system is the process's; threads need one of their own. */
    private static final ConcurrentHashMap<Path, ReentrantLock> THREADS = new ConcurrentHashMap<>();

    private final Path root;
    private final boolean symlinks;

    HubCache(Path root, boolean symlinks) {
        this.root = root;
        this.symlinks = symlinks;
    }

    Path folder(HubModel model) {
        return root.resolve(folderName(model));
    }

    private static String folderName(HubModel model) {
        return "models--" + model.organisation() + "--" + model.name();
    }

    Path snapshot(HubModel model, String commit) {
        return folder(model).resolve("snapshots").resolve(commit);
    }

    Path blob(HubModel model, String etag) {
        return folder(model).resolve("blobs").resolve(etag);
    }

    private Path reference(HubModel model) {
        return folder(model).resolve("refs").resolve(model.revision());
    }

    private Path absence(HubModel model, String commit, String file) {
        return folder(model).resolve(".no_exist").resolve(commit).resolve(file);
    }

    /** The commit that the revision was when it was last asked for. */
    Optional<String> commit(HubModel model) {
        if (model.isPinned()) {
            return Optional.of(model.revision());
        }
        Path file = reference(model);
        try {
            return Files.isRegularFile(file)
                    ? Optional.of(Files.readString(file).strip()).filter(HubModel::isCommit)
                    : Optional.empty();
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }

    /** Remembers the commit; a cache that cannot be written still serves. */
    void refer(HubModel model, String commit) {
        try {
            if (!model.isPinned() && !commit(model).equals(Optional.of(commit))) {
                replace(reference(model), part -> Files.writeString(part, commit));
            }
        } catch (IOException _) {
            // The next call asks the hub again.
        }
    }

    /** Remembers that the commit has no such file. */
    void recordAbsence(HubModel model, String commit, String file) {
        Path marker = absence(model, commit, file);
        try {
            Files.createDirectories(parent(marker));
            Files.createFile(marker);
        } catch (IOException _) {
            // It is there, or the next call asks the hub again.
        }
    }

    boolean isKnownAbsent(HubModel model, String commit, String file) {
        return Files.exists(absence(model, commit, file));
    }

    /** Names of the wanted files that the snapshot has; empty if they make no model. */
    List<String> files(HubModel model, String commit) {
        Path snapshot = snapshot(model, commit);
        List<String> files = new ArrayList<>();
        for (String name : List.of(WeightFiles.CONFIG, WeightFiles.PREPROCESSOR)) {
            if (Files.isRegularFile(snapshot.resolve(name))) {
                files.add(name);
            }
        }
        Optional<String> weights = WeightFiles.choose(name -> Files.isRegularFile(snapshot.resolve(name)));
        if (!files.contains(WeightFiles.CONFIG) || weights.isEmpty()) {
            return List.of();
        }
        files.add(weights.get());
        if (weights.get().equals(WeightFiles.INDEX)) {
            files.addAll(WeightFiles.shards(snapshot.resolve(WeightFiles.INDEX)));
        }
        return files.stream().allMatch(name -> Files.isRegularFile(snapshot.resolve(name))) ? files : List.of();
    }

    /** The hash that a snapshot's file should have: the name of what it links to. Unknown for a copy. */
    Optional<String> etag(Path file) {
        try {
            return Files.isSymbolicLink(file)
                    ? Optional.of(String.valueOf(Files.readSymbolicLink(file).getFileName()))
                            .filter(ContentHash::isHash)
                    : Optional.empty();
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }

    /** Makes {@code file} of the snapshot lead to a blob that is complete. To be called with the lock. */
    void link(HubModel model, String commit, String file, String etag) {
        Path blob = blob(model, etag);
        Path link = snapshot(model, commit).resolve(file);
        try {
            Files.createDirectories(parent(link));
            if (Files.exists(link) && Files.isSameFile(link, blob)) {
                return;
            }
            replace(link, part -> {
                try {
                    if (symlinks) {
                        Files.createSymbolicLink(part, parent(link).relativize(blob));
                        return;
                    }
                } catch (FileAlreadyExistsException e) {
                    throw e;
                } catch (IOException | UnsupportedOperationException _) {
                    // No right to make links, or a file system without them.
                }
                Files.copy(blob, part);
            });
        } catch (IOException e) {
            throw unwritable(link, e);
        }
    }

    /** What makes a file under a temporary name. */
    @FunctionalInterface
    private interface Body {
        void write(Path part) throws IOException;
    }

    /** Readers see the old file or the new one. The temporary name is the process's own. */
    private static void replace(Path file, Body body) throws IOException {
        Files.createDirectories(parent(file));
        String unique =
                ProcessHandle.current().pid() + "-" + Thread.currentThread().threadId();
        Path part = file.resolveSibling("." + file.getFileName() + "." + unique + ".tmp");
        Files.deleteIfExists(part);
        try {
            body.write(part);
            Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(part);
        }
    }

    /** What is done while no other process or thread fetches the same model. */
    @FunctionalInterface
    interface Locked<T> {
        T run();
    }

    /**
     * Runs {@code work} with the model's lock; a killed process's lock is gone with it.
     *
     * @param waiting told if another has it
     */
    <T> T locked(HubModel model, Runnable waiting, Locked<T> work) {
        Path file = root.resolve(".locks").resolve(folderName(model)).resolve("trivet.lock");
        ReentrantLock threads = THREADS.computeIfAbsent(file, _ -> new ReentrantLock());
        threads.lock();
        try (FileChannel channel = open(file)) {
            try (FileLock lock = acquire(channel, file, waiting)) {
                assert lock.isValid();
                return work.run();
            }
        } catch (IOException e) { // of closing
            throw unwritable(file, e);
        } finally {
            threads.unlock();
        }
    }

    private static FileChannel open(Path file) {
        try {
            Files.createDirectories(parent(file));
            return FileChannel.open(
                    file, StandardOpenOption.CREATE, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS);
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    private static FileLock acquire(FileChannel channel, Path file, Runnable waiting) {
        try {
            FileLock lock = channel.tryLock();
            if (lock != null) {
                return lock;
            }
            waiting.run();
            return channel.lock();
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    static Path parent(Path file) {
        Path parent = file.getParent();
        if (parent == null) {
            throw new IllegalArgumentException(file + " has no parent");
        }
        return parent;
    }

    static BadInputException unwritable(Path file, IOException e) {
        return new BadInputException(
                file,
                "cannot be written (" + BadInputException.reason(e) + ")",
                "free some space or set HF_HOME to another folder; what has come is kept",
                e);
    }

    private static BadInputException unreadable(Path file, IOException e) {
        return new BadInputException(
                file, "cannot be read (" + BadInputException.reason(e) + ")", "check the cache's folder", e);
    }
}
