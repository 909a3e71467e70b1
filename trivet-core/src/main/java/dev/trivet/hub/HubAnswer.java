package dev.trivet.hub;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpResponse;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * A response, and whether the hub itself gave it rather than the store that it sent us to. Headers are a stranger's: those that
 * make no sense count as absent.
 *
 * @param commit that the hub named on the way
 */
record HubAnswer(HttpResponse<InputStream> response, boolean fromHub, Optional<String> commit)
        implements AutoCloseable {

    int status() {
        return response.statusCode();
    }

    URI uri() {
        return response.uri();
    }

    Optional<String> header(String name) {
        return response.headers().firstValue(name);
    }

    OptionalLong number(String name) {
        Optional<String> text = header(name).filter(value -> value.matches("\\d{1,18}"));
        return text.isPresent() ? OptionalLong.of(Long.parseLong(text.get())) : OptionalLong.empty();
    }

    /** The entity tag without its quotes, in lower case as file names of the cache are. */
    Optional<String> etag() {
        return header("X-Linked-Etag")
                .or(() -> header("ETag"))
                .map(text -> text.replaceFirst("^W/", "").replace("\"", ""));
    }

    /** The length of the file that the answer is about, not of the answer. */
    OptionalLong size() {
        OptionalLong linked = number("X-Linked-Size");
        boolean redirect = status() >= 300 && status() < 400;
        return linked.isPresent() || redirect ? linked : number("Content-Length");
    }

    /** How long the server asks to wait: seconds or a date. */
    Optional<Duration> retryAfter() {
        OptionalLong seconds = number("Retry-After");
        if (seconds.isPresent()) {
            return Optional.of(Duration.ofSeconds(seconds.getAsLong()));
        }
        try {
            return header("Retry-After")
                    .map(text -> ZonedDateTime.parse(text, DateTimeFormatter.RFC_1123_DATE_TIME))
                    .map(date -> Duration.between(Instant.now(), date))
                    .filter(wait -> !wait.isNegative());
        } catch (DateTimeException _) {
            return Optional.empty();
        }
    }

    /** Ends the response, whether or not it was read. */
    @Override
    public void close() {
        try {
            response.body().close();
        } catch (IOException _) {
            // Nothing more is wanted of it.
        }
    }
}
