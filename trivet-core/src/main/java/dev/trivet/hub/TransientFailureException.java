package dev.trivet.hub;

import java.io.IOException;
import java.time.Duration;
import java.util.Optional;

/** An answer that may be another one later: too many requests, a server in trouble, a connection that went silent. */
final class TransientFailureException extends IOException {
    private static final long serialVersionUID = 1L;

    private final transient Optional<Duration> wait;

    /** @param wait how long the server asks to wait */
    TransientFailureException(String message, Optional<Duration> wait) {
        super(message);
        this.wait = wait;
    }

    TransientFailureException(String message, IOException cause) {
        super(message, cause);
        wait = Optional.empty();
    }

    Optional<Duration> asked() {
        return wait;
    }
}
