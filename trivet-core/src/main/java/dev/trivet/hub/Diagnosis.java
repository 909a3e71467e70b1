package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.net.ConnectException;
import java.net.UnknownHostException;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.util.Objects;
import java.util.Set;
import javax.net.ssl.SSLHandshakeException;

/**
 * Why a model cannot be had and what to do, in one line. The hub says more in {@code X-Error-Code} than in the status: without a token
 * it answers 401 for a model that does not exist, lest private ones be guessed. What was asked for may have been meant as a path.
 */
final class Diagnosis {
    private static final Set<String> FINAL = Set.of("RepoNotFound", "RevisionNotFound", "GatedRepo");

    private final HubSettings settings;
    private final HubModel model;

    Diagnosis(HubSettings settings, HubModel model) {
        this.settings = settings;
        this.model = model;
    }

    /** Whether the hub has said something about the model, so that there is no other way to ask. */
    static boolean isFinal(HubAnswer answer) {
        return FINAL.contains(errorCode(answer));
    }

    /** Whether asking again in a few seconds is no use. */
    static boolean isHopeless(IOException e) {
        return e instanceof ConnectException || e instanceof SSLHandshakeException;
    }

    private static String errorCode(HubAnswer answer) {
        return answer.header("X-Error-Code").orElse("");
    }

    BadInputException refusal(HubAnswer answer) {
        String host = settings.endpoint().toString();
        String page = host + "/" + model.id();
        String code = errorCode(answer);
        if (code.equals("GatedRepo") || answer.status() == 403) {
            return new BadInputException(model + ": is gated (" + answer.status() + "); accept the terms on " + page
                    + (settings.token().isPresent()
                            ? " with the account that the token is of"
                            : " and set HF_TOKEN to a token of that account"));
        }
        if (code.equals("RevisionNotFound")) {
            return new BadInputException(
                    model.id() + ": has no revision " + model.revision() + "; see " + page + " for branches and tags");
        }
        if (answer.status() == 401) {
            return new BadInputException(model + ": "
                    + settings.token()
                            .map(_ -> "is not shown to the token in " + settings.tokenSource()
                                    + " (401); check the name or path, or make a new token")
                            .orElse("is private or does not exist (401); check the name or path, or set HF_TOKEN"));
        }
        if (answer.status() == 404) {
            return new BadInputException(model + ": no such model on " + host + " (404); check the name or path");
        }
        return new BadInputException(
                host + ": answered " + answer.status() + " for " + model + "; check HF_ENDPOINT and the proxy");
    }

    UnreachableHubException unreachable(IOException e) {
        return new UnreachableHubException(
                model + ": cannot be fetched, since " + settings.endpoint() + " cannot be reached (" + reason(e)
                        + "); check the network, HTTPS_PROXY and HF_ENDPOINT, or the path if a file was meant",
                e);
    }

    /** In words; several of the client's exceptions have no message. */
    String reason(IOException e) {
        for (Throwable cause = e;
                cause != null && !(cause instanceof TransientFailureException);
                cause = cause.getCause()) {
            if (cause instanceof UnresolvedAddressException || cause instanceof UnknownHostException) {
                return "its name is not known to the network";
            }
        }
        return switch (e) {
            case HttpConnectTimeoutException _ ->
                "no connection within " + settings.answerTimeout().toSeconds() + " s";
            case HttpTimeoutException _ ->
                "no answer within " + settings.answerTimeout().toSeconds() + " s";
            case ConnectException _ -> Objects.requireNonNullElse(e.getMessage(), "connection refused");
            default -> BadInputException.reason(e);
        };
    }
}
