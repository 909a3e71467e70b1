package dev.trivet.hub;

import dev.trivet.BadInputException;

/** The hub gives no answer, or none that says anything about the model; what the cache holds may do instead. */
final class UnreachableHubException extends BadInputException {
    private static final long serialVersionUID = 1L;

    UnreachableHubException(String message, Throwable cause) {
        super(message, cause);
    }
}
