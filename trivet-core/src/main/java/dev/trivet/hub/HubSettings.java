package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.net.ProxySelector;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where the hub and its cache are. The variables are those of the hub's own tools, so one setting serves all: {@code HF_ENDPOINT},
 * {@code HF_HOME}, {@code HF_HUB_CACHE}, {@code HF_TOKEN}, {@code HF_TOKEN_PATH}, {@code HF_HUB_OFFLINE}, {@code HF_HUB_DISABLE_SYMLINKS},
 * {@code HF_HUB_DISABLE_IMPLICIT_TOKEN}, {@code HF_HUB_ETAG_TIMEOUT}, {@code HF_HUB_DOWNLOAD_TIMEOUT} and {@code XDG_CACHE_HOME}.
 *
 * @param endpoint the hub, without a slash at its end
 * @param cache holds a folder for each model
 * @param token for private and gated models; never shown
 * @param tokenSource where the token is from, for messages
 * @param offline use nothing but the cache
 * @param symlinks whether links may be made
 * @param answerTimeout longest wait for a connection, and for an answer to begin
 * @param stallTimeout longest wait for the next bytes of a file
 * @param proxy by {@code HTTPS_PROXY} and its like
 */
public record HubSettings(
        URI endpoint,
        Path cache,
        Optional<String> token,
        String tokenSource,
        boolean offline,
        boolean symlinks,
        Duration answerTimeout,
        Duration stallTimeout,
        ProxySelector proxy) {
    private static final String DEFAULT_ENDPOINT = "https://huggingface.co";
    private static final Set<String> TRUE = Set.of("1", "ON", "YES", "TRUE");
    private static final Pattern VARIABLE = Pattern.compile("\\$(?:\\{(\\w+)}|(\\w+))");
    private static final Pattern TOKEN = Pattern.compile("[\\x21-\\x7e]+");
    private static final long DEFAULT_TIMEOUT = 10;
    private static final long LONGEST_TOKEN = 1 << 16;

    /** The settings of this process. */
    public static HubSettings fromEnvironment() {
        return of(System.getenv(), Path.of(System.getProperty("user.home")));
    }

    /**
     * @param environment variables by name; an empty one counts as absent
     * @param home the user's folder
     * @throws BadInputException if one of them cannot be used
     */
    static HubSettings of(Map<String, String> environment, Path home) {
        Variables variables = new Variables(environment, home);
        Path hub = variables
                .path("HF_HOME")
                .orElseGet(() -> variables
                        .path("XDG_CACHE_HOME")
                        .orElse(home.resolve(".cache"))
                        .resolve("huggingface"));
        Path cache = variables
                .path("HF_HUB_CACHE")
                .or(() -> variables.path("HUGGINGFACE_HUB_CACHE"))
                .orElse(hub.resolve("hub"));
        Path tokenFile = variables.path("HF_TOKEN_PATH").orElse(hub.resolve("token"));
        Optional<String> named = variables
                .find("HF_TOKEN")
                .map(_ -> "HF_TOKEN")
                .or(() -> variables.find("HUGGING_FACE_HUB_TOKEN").map(_ -> "HUGGING_FACE_HUB_TOKEN"));
        String source = named.orElse(tokenFile.toString());
        Optional<String> token = variables.isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN")
                ? Optional.empty()
                : named.isPresent() ? variables.find(named.get()) : read(tokenFile);
        return new HubSettings(
                endpoint(variables.find("HF_ENDPOINT").orElse(DEFAULT_ENDPOINT)),
                cache.toAbsolutePath().normalize(),
                token.map(text -> clean(text, source)).filter(text -> !text.isEmpty()),
                source,
                variables.isTrue("HF_HUB_OFFLINE") || variables.isTrue("TRANSFORMERS_OFFLINE"),
                !variables.isTrue("HF_HUB_DISABLE_SYMLINKS"),
                variables.seconds("HF_HUB_ETAG_TIMEOUT"),
                variables.seconds("HF_HUB_DOWNLOAD_TIMEOUT"),
                new EnvironmentProxy(environment));
    }

    /** The same, but with nothing but the cache if {@code only} says so. */
    public HubSettings offline(boolean only) {
        return new HubSettings(
                endpoint, cache, token, tokenSource, offline || only, symlinks, answerTimeout, stallTimeout, proxy);
    }

    private static URI endpoint(String text) {
        try {
            URI uri = new URI(text.replaceFirst("/+$", ""));
            boolean web = "http".equalsIgnoreCase(uri.getScheme()) || "https".equalsIgnoreCase(uri.getScheme());
            if (web && uri.getHost() != null && uri.getUserInfo() == null && uri.getQuery() == null) {
                return uri;
            }
        } catch (java.net.URISyntaxException _) {
            // Told below; what stands there may hold a password.
        }
        throw new BadInputException(
                "HF_ENDPOINT: is not an address such as " + DEFAULT_ENDPOINT + "; correct or unset it");
    }

    private static Optional<String> read(Path file) {
        try {
            if (!Files.isRegularFile(file) || Files.size(file) > LONGEST_TOKEN) {
                return Optional.empty();
            }
            return Optional.of(Files.readString(file));
        } catch (IOException e) {
            throw new BadInputException(
                    file, "cannot be read (" + BadInputException.reason(e) + ")", "log in again or set HF_TOKEN", e);
        }
    }

    private static String clean(String token, String source) {
        String text = token.replace("\r", "").replace("\n", "").strip();
        if (!text.isEmpty() && !TOKEN.matcher(text).matches()) {
            throw new BadInputException(source + ": holds characters that no token has; copy the token again");
        }
        return text;
    }

    /** Without the token. */
    @Override
    public String toString() {
        return "HubSettings[" + endpoint + ", " + cache + (offline ? ", offline" : "") + "]";
    }

    private record Variables(Map<String, String> environment, Path home) {
        Optional<String> find(String name) {
            return Optional.ofNullable(environment.get(name)).filter(value -> !value.isBlank());
        }

        boolean isTrue(String name) {
            return find(name)
                    .map(value -> TRUE.contains(value.strip().toUpperCase(Locale.ROOT)))
                    .orElse(false);
        }

        Duration seconds(String name) {
            String value = find(name).orElse(String.valueOf(DEFAULT_TIMEOUT)).strip();
            if (!value.matches("[1-9]\\d{0,5}")) {
                throw new BadInputException(name + ": is not a number of seconds; give 1 or more, or unset it");
            }
            return Duration.ofSeconds(Long.parseLong(value));
        }

        /** With {@code ~} and {@code $VARIABLE} expanded, as the hub's own tools do. */
        Optional<Path> path(String name) {
            return find(name).map(value -> {
                String text = value.equals("~") || value.startsWith("~/") ? home + value.substring(1) : value;
                String expanded = VARIABLE.matcher(text)
                        .replaceAll(match -> Matcher.quoteReplacement(environment.getOrDefault(
                                match.group(1) == null ? match.group(2) : match.group(1), match.group())));
                try {
                    return Path.of(expanded);
                } catch (InvalidPathException e) {
                    throw new BadInputException(name + ": is not a path; correct or unset it", e);
                }
            });
        }
    }
}
