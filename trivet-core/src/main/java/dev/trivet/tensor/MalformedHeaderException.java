package dev.trivet.tensor;

import java.util.Objects;

/** A safetensors header breaks a rule of the format; the reason reads on from the file's name. */
final class MalformedHeaderException extends Exception {
    private static final long serialVersionUID = 1L;

    MalformedHeaderException(String reason) {
        super(reason);
    }

    MalformedHeaderException(String reason, Throwable cause) {
        super(reason, cause);
    }

    String reason() {
        return Objects.requireNonNull(getMessage());
    }
}
