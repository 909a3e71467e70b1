package dev.trivet.cli;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import org.jspecify.annotations.Nullable;

/** Whether a file can be written: found out before the work, not after it. */
final class OutputPath {
    private OutputPath() {}

    /**
     * @param sources files that the command reads and must not replace
     * @throws BadInputException if the output is one of them, no regular file or in a folder that cannot be written
     */
    static void check(Path output, Collection<Path> sources) {
        String otherName = "give the name of a file to write";
        if (Files.isDirectory(output)) {
            throw new BadInputException(output, "is a folder", otherName);
        }
        if (Files.exists(output) && !Files.isRegularFile(output)) {
            throw new BadInputException(output, "is not a regular file", otherName);
        }
        for (Path source : sources) {
            if (isSame(output, source)) {
                throw new BadInputException(output, "is the model itself", "give another name");
            }
        }
        @Nullable Path folder = output.toAbsolutePath().getParent();
        while (folder != null && !Files.exists(folder)) {
            folder = folder.getParent(); // missing folders will be made
        }
        if (folder != null && !Files.isDirectory(folder)) {
            throw new BadInputException(folder, "is not a folder", "choose another place for " + output);
        }
        if (folder != null && !Files.isWritable(folder)) {
            throw new BadInputException(
                    output, "cannot be written (no permission in " + folder + ")", "choose another place");
        }
    }

    /** False where the system does not say; writing tells what is wrong. */
    static boolean isSame(Path a, Path b) {
        try {
            return Files.exists(a) && Files.isSameFile(a, b);
        } catch (IOException _) {
            return false;
        }
    }
}
