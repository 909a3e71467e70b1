package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashSet;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Asks the hub about one model. Redirects are followed by hand: the token goes to the hub's own scheme, host and port and to no other, and
 * never from an encrypted connection to a plain one. Not thread-safe.
 */
final class HubClient implements AutoCloseable {
    /** Tries of a request that brings nothing. */
    static final int TRIES = 5;

    private static final int MOST_REDIRECTS = 8;
    private static final int LONGEST_LISTING = 16 << 20;
    private static final Duration LONGEST_WAIT = Duration.ofMinutes(5);
    private static final Duration FIRST_WAIT = Duration.ofSeconds(1);
    private final HubSettings settings;
    private final HubModel model;
    private final Diagnosis diagnosis;
    private final Pause pause;
    private final HubListener listener;
    private final HttpClient http;

    /** Lets time pass between tries. */
    @FunctionalInterface
    interface Pause {
        void of(Duration time) throws InterruptedException;
    }

    /**
     * What the hub says of a model.
     *
     * @param files names; empty if the hub does not list them
     */
    record Listing(String commit, Optional<Set<String>> files) {}

    /** What may fail now and work later. */
    @FunctionalInterface
    private interface Attempt<T> {
        T run() throws IOException;
    }

    HubClient(HubSettings settings, HubModel model, Pause pause, HubListener listener) {
        this.settings = settings;
        this.model = model;
        diagnosis = new Diagnosis(settings, model);
        this.pause = pause;
        this.listener = listener;
        http = HttpClient.newBuilder()
                // One file at a time gains nothing from HTTP/2, whose default window makes large files slower.
                .version(HttpClient.Version.HTTP_1_1)
                .followRedirects(HttpClient.Redirect.NEVER)
                .connectTimeout(settings.answerTimeout())
                .proxy(settings.proxy())
                .build();
    }

    /**
     * The model's commit and files; empty where the hub has no such listing, as some mirrors.
     *
     * @param tries how often to ask
     * @throws UnreachableHubException if there is no answer
     */
    Optional<Listing> list(int tries) {
        URI uri = address("/api/models/" + model.id() + "/revision/" + encode(model.revision()));
        return retry(tries, () -> {
            try (HubAnswer answer = exchange("GET", uri, Map.of(), true)) {
                boolean refused = answer.status() != 200 || !answer.fromHub();
                if (refused && Diagnosis.isFinal(answer)) {
                    throw diagnosis.refusal(answer);
                }
                return refused ? Optional.empty() : parse(read(answer));
            }
        });
    }

    private static Optional<Listing> parse(byte[] json) {
        try {
            JsonNode root = JsonMapper.shared().readTree(json);
            JsonNode siblings = root.path("siblings");
            String commit = root.path("sha").asString("");
            if (!HubModel.isCommit(commit) || !siblings.isArray()) {
                return Optional.empty();
            }
            Set<String> files = new HashSet<>();
            siblings.forEach(file -> files.add(file.path("rfilename").asString("")));
            return Optional.of(new Listing(commit, Optional.of(files)));
        } catch (JacksonException _) {
            return Optional.empty();
        }
    }

    /**
     * What the hub says of a file; empty if the model has none of that name.
     *
     * @throws BadInputException if the model cannot be had, or the answer leaves no way to check the file
     */
    Optional<RemoteFile> find(String revision, String file, int tries) {
        return retry(tries, () -> {
            try (HubAnswer answer = exchange("HEAD", file(revision, file), Map.of(), false)) {
                if (answer.status() == 404 && !Diagnosis.isFinal(answer)) {
                    return Optional.empty();
                }
                boolean elsewhere = answer.status() >= 300 && answer.status() < 400;
                if (answer.status() != 200 && !elsewhere) {
                    throw diagnosis.refusal(answer);
                }
                return Optional.of(describe(file, answer));
            }
        });
    }

    private RemoteFile describe(String file, HubAnswer answer) {
        String mend = "check HF_ENDPOINT and the proxy: this is not how a hub answers";
        String what = settings.endpoint() + ": of " + file + " of " + model;
        String commit = answer.commit()
                .filter(HubModel::isCommit)
                .orElseThrow(() -> new BadInputException(what + " names no commit; " + mend));
        String etag = answer.etag()
                .filter(ContentHash::isHash)
                .orElseThrow(() -> new BadInputException(
                        what + " names neither SHA-256 nor git hash, so a download could not be checked; " + mend));
        long size = answer.size().orElseThrow(() -> new BadInputException(what + " names no length; " + mend));
        return new RemoteFile(file, commit, etag, size);
    }

    /**
     * Asks for the bytes of a file from {@code from} on. The answer's status is 200 (all bytes, whatever was asked for), 206 or
     * 416.
     *
     * @throws IOException if another try may help
     */
    HubAnswer open(RemoteFile file, long from) throws IOException {
        Map<String, String> range = Map.of("Range", "bytes=" + from + "-", "If-Range", "\"" + file.etag() + "\"");
        HubAnswer answer = exchange("GET", file(file.commit(), file.name()), from > 0 ? range : Map.of(), true);
        if (answer.status() == 200 || answer.status() == 206 || answer.status() == 416) {
            return answer;
        }
        try (answer) {
            if (!answer.fromHub()) { // a signed address that has expired; the hub gives another one
                throw new TransientFailureException(
                        answer.uri().getHost() + " answered " + answer.status(), Optional.empty());
            }
            throw diagnosis.refusal(answer);
        }
    }

    private URI file(String revision, String file) {
        return address("/" + model.id() + "/resolve/" + encode(revision) + "/" + encode(file));
    }

    private URI address(String path) {
        return URI.create(settings.endpoint() + path);
    }

    private static String encode(String part) {
        return URLEncoder.encode(part, StandardCharsets.UTF_8);
    }

    /**
     * Sends a request and follows its redirects.
     *
     * @param leave whether to follow to other hosts
     */
    private HubAnswer exchange(String method, URI uri, Map<String, String> headers, boolean leave) throws IOException {
        URI at = uri;
        Optional<String> commit = Optional.empty();
        for (int i = 0; i <= MOST_REDIRECTS; i++) {
            boolean atHub = isHub(at);
            HubAnswer answer = new HubAnswer(send(method, at, headers, atHub), atHub, commit);
            commit = answer.header("X-Repo-Commit").filter(_ -> atHub).or(answer::commit);
            Optional<URI> next = isRedirect(answer.status()) ? location(answer) : Optional.empty();
            if (next.isEmpty() || !(leave || isHub(next.get()))) {
                HubAnswer last = new HubAnswer(answer.response(), atHub, commit);
                check(last);
                return last;
            }
            answer.close();
            at = next.get();
        }
        throw new BadInputException(settings.endpoint() + ": redirects without end; check HF_ENDPOINT and the proxy");
    }

    private HttpResponse<InputStream> send(String method, URI uri, Map<String, String> headers, boolean atHub)
            throws IOException {
        HttpRequest.Builder request = HttpRequest.newBuilder(uri)
                .method(method, HttpRequest.BodyPublishers.noBody())
                .timeout(settings.answerTimeout())
                .header("User-Agent", "trivet")
                .header("Accept-Encoding", "identity"); // lengths and hashes are of the plain bytes
        if (atHub) {
            settings.token().ifPresent(token -> request.header("Authorization", "Bearer " + token));
        }
        headers.forEach((name, value) -> {
            // The store has entity tags of its own, and would send everything; there the hash at the end decides.
            if (atHub || !name.equals("If-Range")) {
                request.header(name, value);
            }
        });
        try {
            return http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
        } catch (InterruptedException e) {
            throw interrupted(e);
        } catch (IOException e) {
            if (atHub) {
                throw e;
            }
            // A firewall may let the hub pass and its store not.
            throw new TransientFailureException("its store " + uri.getHost() + ": " + diagnosis.reason(e), e);
        }
    }

    private static boolean isRedirect(int status) {
        return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    }

    private Optional<URI> location(HubAnswer answer) {
        Optional<URI> next;
        try {
            next = answer.header("Location").map(answer.uri()::resolve);
        } catch (IllegalArgumentException _) {
            next = Optional.empty();
        }
        boolean sound = next.filter(uri -> uri.getHost() != null
                        && ("https".equalsIgnoreCase(uri.getScheme())
                                || ("http".equalsIgnoreCase(uri.getScheme())
                                        && "http".equalsIgnoreCase(answer.uri().getScheme()))))
                .isPresent();
        if (!sound) {
            answer.close();
            throw new BadInputException(
                    settings.endpoint()
                            + ": redirects to no address, or from an encrypted to a plain one; check HF_ENDPOINT and the proxy");
        }
        return next;
    }

    private boolean isHub(URI uri) {
        return origin(uri).equals(origin(settings.endpoint()));
    }

    private static String origin(URI uri) {
        String scheme = String.valueOf(uri.getScheme()).toLowerCase(Locale.ROOT);
        int port = uri.getPort() >= 0 ? uri.getPort() : scheme.equals("https") ? 443 : 80;
        return scheme + "://" + String.valueOf(uri.getHost()).toLowerCase(Locale.ROOT) + ":" + port;
    }

    /** Answers that may be other ones later. */
    private static void check(HubAnswer answer) throws IOException {
        int status = answer.status();
        if (status == 408 || status == 429 || (status >= 500 && status != 501)) {
            answer.close();
            throw new TransientFailureException(
                    answer.uri().getHost() + " answered " + status + (status == 429 ? " (too many requests)" : ""),
                    answer.retryAfter());
        }
    }

    /** The text of a short answer. */
    private byte[] read(HubAnswer answer) throws IOException {
        InputStream body = answer.response().body();
        try (StallGuard guard = new StallGuard(body, settings.stallTimeout())) {
            byte[] bytes = body.readNBytes(LONGEST_LISTING + 1);
            if (guard.stalled()) {
                throw new TransientFailureException("the listing broke off", Optional.empty());
            }
            if (bytes.length > LONGEST_LISTING) {
                throw new BadInputException(settings.endpoint() + ": sends a listing over 16 MB; check HF_ENDPOINT");
            }
            return bytes;
        }
    }

    private <T> T retry(int tries, Attempt<T> attempt) {
        for (int failures = 0; ; ) {
            try {
                return attempt.run();
            } catch (IOException e) {
                failures++;
                if (failures >= tries || Diagnosis.isHopeless(e)) {
                    throw diagnosis.unreachable(e);
                }
                await(e, failures);
            }
        }
    }

    /**
     * Waits before another try: as long as the server asks, else twice as long each time.
     *
     * @throws UnreachableHubException if the server asks for too much
     */
    void await(IOException failure, int failures) {
        Optional<Duration> asked = failure instanceof TransientFailureException transientFailure
                ? transientFailure.asked()
                : Optional.empty();
        Duration wait = asked.orElse(FIRST_WAIT.multipliedBy(1L << Math.min(failures - 1, 4)));
        if (wait.compareTo(LONGEST_WAIT) > 0) {
            throw new UnreachableHubException(
                    settings.endpoint() + ": asks to wait " + wait.toSeconds() + " s; try again then", failure);
        }
        listener.note(model + ": " + diagnosis.reason(failure) + "; trying again in " + wait.toSeconds() + " s");
        try {
            pause.of(wait);
        } catch (InterruptedException e) {
            throw interrupted(e);
        }
    }

    UnreachableHubException unreachable(IOException e) {
        return diagnosis.unreachable(e);
    }

    private static BadInputException interrupted(InterruptedException e) {
        Thread.currentThread().interrupt();
        return new BadInputException("interrupted while fetching; what has come is kept for the next call", e);
    }

    @Override
    public void close() {
        http.shutdownNow();
    }
}
