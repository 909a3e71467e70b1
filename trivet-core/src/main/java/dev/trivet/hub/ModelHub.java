package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * Brings pretrained models by name:
 *
 * <pre>{@code
 * HubModel name = HubModel.parse("timm/deit_tiny_patch16_224.fb_in1k").orElseThrow();
 * Path folder = new ModelHub(HubSettings.fromEnvironment()).pull(name, listener).folder();
 * }</pre>
 *
 * <p>A revision is turned into a commit first and all files are of that commit. Files that are in the cache are checked
 * against their hash and not fetched again; a commit that is complete there needs one request, and none if it was named. Safe for
 * several threads and processes at once.
 */
public final class ModelHub {
    private final HubSettings settings;
    private final HubCache cache;
    private final HubClient.Pause pause;

    /** A hub and its cache; nothing is fetched or created yet. */
    public ModelHub(HubSettings settings) {
        this(settings, Thread::sleep);
    }

    ModelHub(HubSettings settings, HubClient.Pause pause) {
        this.settings = settings;
        this.pause = pause;
        cache = new HubCache(settings.cache(), settings.symlinks());
    }

    /**
     * Fetches what is missing of a model's config, preprocessing and weights. Without a network, or offline, what the cache holds
     * is used.
     *
     * @throws BadInputException if the model cannot be had: the message says whether the name, the token, the terms, the
     *     network or the disk is why
     */
    public HubSnapshot pull(HubModel model, HubListener listener) {
        Optional<String> last = cache.commit(model);
        boolean usable = last.isPresent() && !cache.files(model, last.get()).isEmpty();
        if (settings.offline()) {
            return offline(model, last, usable, listener);
        }
        if (usable && model.isPinned() && knowsPreprocessing(model, model.revision())) {
            Optional<HubSnapshot> cached = fromCache(model, model.revision(), true, listener);
            if (cached.isPresent()) {
                return cached.get();
            }
        }
        try (HubClient client = new HubClient(settings, model, pause, listener)) {
            HubClient.Listing listing;
            try {
                listing = list(client, model, usable ? 1 : HubClient.TRIES);
            } catch (UnreachableHubException e) {
                if (!usable) {
                    throw e;
                }
                listener.note(String.valueOf(e.getMessage()));
                return offline(model, last, true, listener);
            }
            return new Pull(client, model, listing, listener).run();
        }
    }

    /** Whether it is certain that the commit has no more files that are wanted. */
    private boolean knowsPreprocessing(HubModel model, String commit) {
        return Files.exists(cache.snapshot(model, commit).resolve(WeightFiles.PREPROCESSOR))
                || cache.isKnownAbsent(model, commit, WeightFiles.PREPROCESSOR);
    }

    private HubSnapshot offline(HubModel model, Optional<String> commit, boolean usable, HubListener listener) {
        if (commit.isEmpty() || !usable) {
            throw new BadInputException(model + ": is neither a path nor complete in the cache " + settings.cache()
                    + "; leave out --offline and HF_HUB_OFFLINE to fetch it");
        }
        return fromCache(model, commit.get(), false, listener)
                .orElseThrow(() -> new BadInputException(
                        cache.snapshot(model, commit.get()),
                        "holds a file whose contents do not match its hash",
                        "run trivet pull " + model + " without --offline"));
    }

    /**
     * The snapshot as it lies in the cache; empty if a file's contents are not what its name says.
     *
     * @param certain also empty if that cannot be told
     */
    private Optional<HubSnapshot> fromCache(HubModel model, String commit, boolean certain, HubListener listener) {
        Path folder = cache.snapshot(model, commit);
        List<HubSnapshot.Entry> entries = new ArrayList<>();
        for (String name : cache.files(model, commit)) {
            Optional<String> etag = cache.etag(folder.resolve(name));
            ContentHash hash = ContentHash.of(folder.resolve(name), etag.orElse(""));
            if (etag.isPresent() ? !hash.matches(etag.get()) : certain) {
                return Optional.empty();
            }
            entries.add(new HubSnapshot.Entry(name, hash.bytes(), hash.sha256()));
        }
        listener.note(model + ": commit " + commit + " from the cache " + settings.cache());
        return Optional.of(new HubSnapshot(model, commit, folder, entries));
    }

    /** Where the hub lists no files, the config's headers tell the commit. */
    private static HubClient.Listing list(HubClient client, HubModel model, int tries) {
        return client.list(tries)
                .orElseGet(() -> client.find(model.revision(), WeightFiles.CONFIG, tries)
                        .map(config -> new HubClient.Listing(config.commit(), Optional.empty()))
                        .orElseThrow(() -> lacks(model, WeightFiles.CONFIG)));
    }

    private static BadInputException lacks(HubModel model, String what) {
        return new BadInputException(
                model + ": has no " + what + "; check the name, or choose a timm or Hugging Face image classifier");
    }

    /** One call's work on a commit. */
    private final class Pull {
        private final HubClient client;
        private final HubModel model;
        private final String commit;
        private final Optional<Set<String>> listed;
        private final HubListener listener;
        private final List<HubSnapshot.Entry> entries = new ArrayList<>();
        private boolean announced;

        Pull(HubClient client, HubModel model, HubClient.Listing listing, HubListener listener) {
            this.client = client;
            this.model = model;
            commit = listing.commit();
            listed = listing.files();
            this.listener = listener;
        }

        HubSnapshot run() {
            boolean complete = !cache.files(model, commit).isEmpty()
                    && (knowsPreprocessing(model, commit) || isListedAbsent(WeightFiles.PREPROCESSOR));
            Optional<HubSnapshot> cached = complete ? fromCache(model, commit, true, listener) : Optional.empty();
            if (cached.isEmpty()) {
                cached = Optional.of(fetchAll());
            }
            cache.refer(model, commit); // last: a reference promises that the commit can be used
            return cached.get();
        }

        private boolean isListedAbsent(String name) {
            return listed.isPresent() && !listed.get().contains(name);
        }

        private HubSnapshot fetchAll() {
            if (!fetch(WeightFiles.CONFIG)) {
                throw lacks(model, WeightFiles.CONFIG);
            }
            if (!fetch(WeightFiles.PREPROCESSOR)) {
                cache.recordAbsence(model, commit, WeightFiles.PREPROCESSOR);
            }
            String weights = WeightFiles.choose(this::fetch)
                    .orElseThrow(() -> lacks(model, "weights (" + WeightFiles.alternatives() + ")"));
            if (weights.equals(WeightFiles.INDEX)) {
                for (String shard :
                        WeightFiles.shards(cache.snapshot(model, commit).resolve(weights))) {
                    if (!fetch(shard)) {
                        throw lacks(model, shard);
                    }
                }
            }
            return new HubSnapshot(model, commit, cache.snapshot(model, commit), entries);
        }

        /** Has a file brought into the snapshot; false if the model has none of that name. */
        private boolean fetch(String name) {
            if (isListedAbsent(name)) {
                return false;
            }
            Optional<RemoteFile> found = client.find(commit, name, HubClient.TRIES);
            if (found.isEmpty()) {
                return false;
            }
            RemoteFile file =
                    new RemoteFile(name, commit, found.get().etag(), found.get().bytes());
            ContentHash hash = present(file)
                    .orElseGet(() -> cache.locked(
                            model,
                            () -> listener.note("another process fetches " + model + "; waiting for it"),
                            () -> store(file)));
            entries.add(new HubSnapshot.Entry(name, hash.bytes(), hash.sha256()));
            return true;
        }

        /** The file's hash if the snapshot has it. */
        private Optional<ContentHash> present(RemoteFile file) {
            return sound(cache.snapshot(model, commit).resolve(file.name()), file);
        }

        private Optional<ContentHash> sound(Path path, RemoteFile file) {
            return Files.isRegularFile(path)
                    ? Optional.of(ContentHash.of(path, file.etag())).filter(hash -> hash.matches(file.etag()))
                    : Optional.empty();
        }

        private ContentHash store(RemoteFile file) {
            Path blob = cache.blob(model, file.etag());
            // Another process may have brought it while this one waited for the lock.
            ContentHash hash = sound(blob, file).orElseGet(() -> {
                announce();
                return new BlobDownload(client, model, file, blob, settings.stallTimeout(), listener).run(blob);
            });
            cache.link(model, commit, file.name(), file.etag());
            return hash;
        }

        private void announce() {
            if (!announced) {
                listener.note("fetching " + model + " (commit " + commit + ") from " + settings.endpoint() + " to "
                        + cache.folder(model));
            }
            announced = true;
        }
    }
}
