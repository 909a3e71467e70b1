package dev.trivet.hub;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Queue;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Two servers that answer as the hub and its store do: the hub lists files, serves small ones itself and redirects large ones to
 * the store, which has another port and entity tags of its own. A test may put faults in place of the proper answers.
 */
final class FakeHub implements AutoCloseable {
    static final String ID = "timm/vit_micro.test";
    static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";
    static final String TOKEN = "hf_secretOfTheTest";

    /** A request that came. */
    record Seen(boolean atHub, String method, String path, Map<String, String> headers) {
        Optional<String> header(String name) {
            return Optional.ofNullable(headers.get(name));
        }

        /** Such as {@code store GET model.safetensors bytes=10-}. */
        @Override
        public String toString() {
            String file = path.startsWith("/api/") ? "listing" : path.substring(path.lastIndexOf('/') + 1);
            return (atHub ? "hub " : "store ") + method + " " + file
                    + header("Range").map(range -> " " + range).orElse("");
        }
    }

    /** What a server does with a request. */
    @FunctionalInterface
    interface Answer {
        void to(HttpExchange exchange) throws IOException;
    }

    final Map<String, byte[]> files = new TreeMap<>();
    final List<Seen> seen = new CopyOnWriteArrayList<>();
    /** Hashes that the hub names in place of the right ones. */
    final Map<String, String> etags = new HashMap<>();
    /** Lengths that the hub names in place of the right ones. */
    final Map<String, Long> sizes = new HashMap<>();

    volatile String commit = COMMIT;

    private final Map<String, Queue<Answer>> faults = new ConcurrentHashMap<>();
    private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
    private final HttpServer hub;
    private final HttpServer store;

    FakeHub() {
        files.put("config.json", "{\"architecture\": \"vit_micro\"}".getBytes(StandardCharsets.UTF_8));
        files.put("model.safetensors", bytes(300_000, 1));
        files.put("README.md", "not wanted".getBytes(StandardCharsets.UTF_8));
        hub = start(true);
        store = start(false);
    }

    static byte[] bytes(int length, int seed) {
        byte[] bytes = new byte[length];
        new Random(seed).nextBytes(bytes);
        return bytes;
    }

    private HttpServer start(boolean atHub) {
        try {
            HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
            server.setExecutor(threads);
            server.createContext("/", exchange -> {
                try (exchange) {
                    Seen request = see(atHub, exchange);
                    Queue<Answer> queue =
                            faults.getOrDefault(request.toString().replaceFirst(" bytes=.*", ""), new ArrayDeque<>());
                    Answer fault = queue.poll();
                    if (fault != null) {
                        fault.to(exchange);
                    } else if (atHub) {
                        answerAsHub(exchange, request);
                    } else {
                        sendContents(exchange, contents(request.path()), "\"the-stores-own\"");
                    }
                }
            });
            server.start();
            return server;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private Seen see(boolean atHub, HttpExchange exchange) {
        Map<String, String> headers = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
        exchange.getRequestHeaders().forEach((name, values) -> headers.put(name, values.getFirst()));
        Seen request = new Seen(
                atHub, exchange.getRequestMethod(), exchange.getRequestURI().getRawPath(), headers);
        seen.add(request);
        return request;
    }

    /** The next requests of that kind, such as {@code hub GET listing}, get these answers. */
    void instead(String request, Answer... answers) {
        faults.computeIfAbsent(request, _ -> new ConcurrentLinkedQueue<>()).addAll(List.of(answers));
    }

    /** Such an answer to every one of the next hundred. */
    void always(String request, Answer answer) {
        for (int i = 0; i < 100; i++) {
            instead(request, answer);
        }
    }

    private void answerAsHub(HttpExchange exchange, Seen request) throws IOException {
        if (request.path().startsWith("/api/models/" + ID + "/revision/")) {
            String siblings = files.keySet().stream()
                    .map(name -> "{\"rfilename\": \"" + name + "\"}")
                    .collect(Collectors.joining(", "));
            byte[] json = ("{\"id\": \"" + ID + "\", \"sha\": \"" + commit + "\", \"siblings\": [" + siblings + "]}")
                    .getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, json.length);
            exchange.getResponseBody().write(json);
            return;
        }
        byte[] contents = contents(request.path());
        exchange.getResponseHeaders().set("X-Repo-Commit", commit);
        if (!request.path().startsWith("/" + ID + "/resolve/") || contents == null) {
            status(404, "X-Error-Code", contents == null ? "EntryNotFound" : "RepoNotFound")
                    .to(exchange);
            return;
        }
        String name = request.path().substring(request.path().lastIndexOf('/') + 1);
        String etag = "\"" + etag(name) + "\"";
        if (isLarge(name)) {
            exchange.getResponseHeaders().set("X-Linked-Etag", etag);
            exchange.getResponseHeaders()
                    .set("X-Linked-Size", String.valueOf(sizes.getOrDefault(name, (long) contents.length)));
            exchange.getResponseHeaders().set("ETag", "\"of-the-pointer\"");
            status(302, "Location", storeAddress() + "/signed/" + name + "?signature=abc")
                    .to(exchange);
        } else {
            sendContents(exchange, contents, etag);
        }
    }

    byte[] file(String name) {
        return Objects.requireNonNull(files.get(name), name);
    }

    private byte @Nullable [] contents(String path) {
        return files.get(path.substring(path.lastIndexOf('/') + 1));
    }

    static boolean isLarge(String name) {
        return name.endsWith(".safetensors") || name.endsWith(".bin");
    }

    /** The whole file, or the part that was asked for. */
    private static void sendContents(HttpExchange exchange, byte @Nullable [] contents, String etag)
            throws IOException {
        if (contents == null) {
            exchange.sendResponseHeaders(404, -1);
            return;
        }
        exchange.getResponseHeaders().set("ETag", etag);
        if (exchange.getRequestMethod().equals("HEAD")) {
            exchange.getResponseHeaders().set("Content-Length", String.valueOf(contents.length));
            exchange.sendResponseHeaders(200, -1);
            return;
        }
        String range = exchange.getRequestHeaders().getFirst("Range");
        String condition = exchange.getRequestHeaders().getFirst("If-Range");
        if (range == null || (condition != null && !condition.equals(etag))) {
            send(exchange, 200, contents, 0, contents.length);
            return;
        }
        int from = Integer.parseInt(range.replaceAll("bytes=(\\d+)-", "$1"));
        if (from >= contents.length) {
            exchange.getResponseHeaders().set("Content-Range", "bytes */" + contents.length);
            exchange.sendResponseHeaders(416, -1);
            return;
        }
        exchange.getResponseHeaders()
                .set("Content-Range", "bytes " + from + "-" + (contents.length - 1) + "/" + contents.length);
        send(exchange, 206, contents, from, contents.length);
    }

    private static void send(HttpExchange exchange, int status, byte[] contents, int from, int to) throws IOException {
        exchange.sendResponseHeaders(status, to == from ? -1 : to - from);
        if (to > from) {
            exchange.getResponseBody().write(contents, from, to - from);
        }
    }

    static Answer status(int status, String... headers) {
        return exchange -> {
            for (int i = 0; i < headers.length; i += 2) {
                exchange.getResponseHeaders().set(headers[i], headers[i + 1]);
            }
            exchange.sendResponseHeaders(status, -1);
        };
    }

    /** Announces the rest of the file, sends {@code bytes} of it and does {@code then} before it hangs up. */
    Answer partly(String name, int bytes, Runnable then) {
        return exchange -> {
            byte[] contents = file(name);
            String range = exchange.getRequestHeaders().getFirst("Range");
            int from = range == null ? 0 : Integer.parseInt(range.replaceAll("bytes=(\\d+)-", "$1"));
            exchange.getResponseHeaders()
                    .set("Content-Range", "bytes " + from + "-" + (contents.length - 1) + "/" + contents.length);
            exchange.sendResponseHeaders(range == null ? 200 : 206, contents.length - from);
            OutputStream body = exchange.getResponseBody();
            body.write(contents, from, bytes);
            body.flush();
            then.run();
        };
    }

    /** These bytes, whatever was asked for. */
    static Answer wrong(byte[] contents) {
        return exchange -> send(exchange, 200, contents, 0, contents.length);
    }

    String etag(String name) {
        return etags.getOrDefault(name, isLarge(name) ? sha256(file(name)) : git(file(name)));
    }

    static String sha256(byte[] contents) {
        return hash("SHA-256", contents);
    }

    static String git(byte[] contents) {
        byte[] header = ("blob " + contents.length + "\0").getBytes(StandardCharsets.US_ASCII);
        byte[] all = Arrays.copyOf(header, header.length + contents.length);
        System.arraycopy(contents, 0, all, header.length, contents.length);
        return hash("SHA-1", all);
    }

    private static String hash(String algorithm, byte[] bytes) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance(algorithm).digest(bytes));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    String address() {
        return "http://127.0.0.1:" + hub.getAddress().getPort();
    }

    String storeAddress() {
        return "http://127.0.0.1:" + store.getAddress().getPort();
    }

    /** Settings as a user's variables would make them, with these added. */
    HubSettings settings(Path home, String... variables) {
        Map<String, String> environment =
                new HashMap<>(Map.of("HF_ENDPOINT", address(), "HF_HOME", home.toString(), "HF_TOKEN", TOKEN));
        for (int i = 0; i < variables.length; i += 2) {
            environment.put(variables[i], variables[i + 1]);
        }
        return HubSettings.of(environment, home);
    }

    List<String> requests() {
        return seen.stream().map(Seen::toString).toList();
    }

    @Override
    public void close() {
        hub.stop(0);
        store.stop(0);
        threads.shutdownNow();
    }
}
