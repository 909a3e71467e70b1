package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.ptq.BitGroup;
import dev.trivet.ptq.FileSizeBound;
import dev.trivet.ptq.MixedPrecision;
import dev.trivet.ptq.ModuleSensitivity;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What mixed precision is asked for. */
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class MixedOptions {
    @Option(
            names = "--mixed",
            description = "Choose a width per attention and MLP module, for --target-size or --average-bits.")
    boolean mixed;

    @Option(
            names = "--target-size",
            paramLabel = "MB",
            description = "With --mixed: the file is never larger than this many million bytes.")
    @Nullable
    Double targetSize;

    @Option(
            names = "--average-bits",
            paramLabel = "N",
            description = "With --mixed: as many weight bytes as if every module had N bits.")
    @Nullable
    Double averageBits;

    @Option(
            names = "--candidate-bits",
            paramLabel = "N",
            split = ",",
            description = "With --mixed: widths to choose from (default: 4 to 8 below 8 bits, 6 to 10 at 8).")
    int @Nullable [] candidateBits;

    @Option(
            names = "--sensitivity",
            paramLabel = "OF",
            description =
                    "With --mixed: what a module's loss is measured on: attention_map (and MLP output) as in the paper"
                            + " (default of liu2021), output_feature, or logits (default of trivet).")
    ModuleSensitivity.@Nullable Perturbation perturbation;

    /** @throws BadInputException if the options do not fit together */
    void check() {
        boolean targets = targetSize != null || averageBits != null;
        if (mixed && (targetSize == null) == (averageBits == null)) {
            throw new BadInputException("--mixed needs a target; give --target-size MB or --average-bits N, not both");
        }
        if (!mixed && (targets || candidateBits != null || perturbation != null)) {
            throw new BadInputException(
                    "--target-size, --average-bits, --candidate-bits and --sensitivity choose widths per module; add --mixed");
        }
        if (averageBits != null && !(averageBits >= 2 && averageBits <= 10)) {
            throw new BadInputException("--average-bits " + averageBits + " is not between 2 and 10; correct it");
        }
        if (targetSize != null && !(targetSize > 0 && targetSize < 1e6)) {
            throw new BadInputException("--target-size " + targetSize + " is no size in MB; correct it");
        }
        if (candidateBits != null) {
            for (int bits : candidateBits) {
                if (bits < 2 || bits > 10) {
                    throw new BadInputException("--candidate-bits " + bits + " is not between 2 and 10; correct it");
                }
            }
        }
    }

    int[] candidates(FileSizeBound bound) {
        if (candidateBits != null) {
            return java.util.Arrays.stream(candidateBits).distinct().sorted().toArray();
        }
        return averageBits != null
                ? MixedPrecision.candidates(averageBits)
                : MixedPrecision.candidates(bound, targetBytes());
    }

    private long targetBytes() {
        return targetSize == null ? Long.MAX_VALUE : (long) (targetSize * 1e6);
    }

    ModuleSensitivity.Perturbation perturbation(MethodOptions.Method method) {
        if (perturbation != null) {
            return perturbation;
        }
        return method == MethodOptions.Method.TRIVET
                ? ModuleSensitivity.Perturbation.LOGITS
                : ModuleSensitivity.Perturbation.ATTENTION_MAP;
    }

    /**
     * Finds out before the search, which takes minutes, whether there is such a file at all.
     *
     * @throws BadInputException if every module at its fewest bits makes a larger one
     */
    void checkTarget(FileSizeBound bound) {
        if (targetSize != null) {
            MixedPrecision.requireFileSize(bound, candidates(bound), targetBytes());
        }
    }

    MixedPrecision choose(ModuleSensitivity sensitivity, FileSizeBound bound, MethodOptions.Method method) {
        List<BitGroup> groups = sensitivity.groups(perturbation(method));
        return averageBits != null
                ? MixedPrecision.ofAverageBits(groups, bound, averageBits)
                : MixedPrecision.ofFileSize(groups, bound, targetBytes());
    }

    /**
     * Counts on disk what was promised beforehand.
     *
     * @throws BadInputException if the file is larger than the target, and then it is gone
     */
    void checkSize(Path file) {
        try {
            if (targetSize != null && Files.size(file) > targetBytes()) {
                long bytes = Files.size(file);
                Files.delete(file);
                throw new BadInputException(
                        file,
                        "would have " + bytes + " bytes where the target is " + targetBytes(),
                        "ask for " + (bytes - targetBytes()) + " bytes less");
            }
        } catch (IOException e) {
            throw new BadInputException(
                    file, "cannot be read back (" + BadInputException.reason(e) + ")", "check the disk", e);
        }
    }

    /** What a run's result depends on. */
    String description(MethodOptions.Method method) {
        if (!mixed) {
            return "none";
        }
        return String.format(
                Locale.ROOT,
                "target %s, candidates %s, %s",
                targetSize != null ? targetSize + " MB" : averageBits + " bits",
                candidateBits == null ? "default" : java.util.Arrays.toString(candidateBits),
                perturbation(method).toString().toLowerCase(Locale.ROOT));
    }
}
