package dev.trivet.onnx;

import dev.trivet.BadInputException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;

/**
 * A runtime for ONNX files. Found by {@link ServiceLoader}, because it is 54 MB that only comparing and checking exports need; the module
 * {@code trivet-onnxruntime} has one.
 */
public interface OnnxRuntime {
    /** Name and version, for reports. */
    String description();

    /**
     * Loads a file that {@link OnnxExport} wrote.
     *
     * @param batch number of images of every run
     * @param threads threads of each run
     * @throws BadInputException if the runtime refuses the file
     */
    default OnnxSession open(Path file, int batch, int threads) {
        return open(file, batch, threads, 1).getFirst();
    }

    /**
     * Loads a file once for several callers at the same time: each gets buffers of its own.
     *
     * @param callers how many sessions, at least 1; all are to be closed
     * @throws BadInputException if the runtime refuses the file
     */
    List<OnnxSession> open(Path file, int batch, int threads, int callers);

    /**
     * The runtime on the class path, if there is one.
     *
     * @throws BadInputException if there is one that does not load on this machine
     */
    static Optional<OnnxRuntime> find() {
        try {
            return ServiceLoader.load(OnnxRuntime.class).findFirst();
        } catch (ServiceConfigurationError | LinkageError e) {
            throw new BadInputException(
                    "ONNX Runtime does not load on this machine (" + e.getMessage() + "); leave out what needs it");
        }
    }
}
