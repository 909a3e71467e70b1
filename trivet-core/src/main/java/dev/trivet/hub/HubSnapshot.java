package dev.trivet.hub;

import java.nio.file.Path;
import java.util.List;

/**
 * A model's files on disk, all of one commit.
 *
 * @param model what was asked for
 * @param commit 40 hexadecimal digits
 * @param folder holds the files under their own names
 * @param files what was asked for of the commit: config, preprocessing where there is one, weights
 */
public record HubSnapshot(HubModel model, String commit, Path folder, List<Entry> files) {
    /** Copies the list. */
    public HubSnapshot {
        files = List.copyOf(files);
    }

    /**
     * A file.
     *
     * @param sha256 of the bytes on disk, 64 hexadecimal digits
     */
    public record Entry(String name, long bytes, String sha256) {}

    /** Sum over the files. */
    public long bytes() {
        return files.stream().mapToLong(Entry::bytes).sum();
    }
}
