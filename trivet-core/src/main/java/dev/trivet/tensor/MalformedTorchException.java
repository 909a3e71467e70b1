package dev.trivet.tensor;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A {@code torch.save} file is not what Trivet reads; the reason reads on from the file's name. */
final class MalformedTorchException extends Exception {
    private static final long serialVersionUID = 1L;

    private static final String COPY_AGAIN = "copy or download the file again";

    private final String remedy;

    /** Damage: the file is not what its writer wrote. */
    MalformedTorchException(String reason) {
        this(reason, COPY_AGAIN);
    }

    MalformedTorchException(String reason, @Nullable Throwable cause) {
        super(reason, cause);
        remedy = COPY_AGAIN;
    }

    MalformedTorchException(String reason, String remedy) {
        super(reason);
        this.remedy = remedy;
    }

    String reason() {
        return Objects.requireNonNull(getMessage());
    }

    String remedy() {
        return remedy;
    }
}
