package dev.trivet.cli;

import dev.trivet.BadInputException;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How a float checkpoint is to be read; a quantized file says everything itself. */
final class SourceOptions {
    @Option(
            names = "--architecture",
            paramLabel = "NAME",
            description = "Use this preset instead of a float model's config.json.")
    @Nullable
    String architecture;

    @Option(
            names = "--image-size",
            paramLabel = "N",
            description = "Run a float model on images of N x N pixels (default: the checkpoint's size).")
    @Nullable
    Integer imageSize;

    Optional<String> architecture() {
        return Optional.ofNullable(architecture);
    }

    OptionalInt imageSize() {
        if (imageSize == null) {
            return OptionalInt.empty();
        }
        if (imageSize < 1 || imageSize > 1 << 14) {
            throw new BadInputException(
                    "--image-size " + imageSize + " is not between 1 and " + (1 << 14) + "; correct it");
        }
        return OptionalInt.of(imageSize);
    }
}
