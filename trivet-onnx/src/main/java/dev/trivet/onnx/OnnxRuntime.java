package dev.trivet.onnx;

import java.nio.file.Path;
import java.util.Optional;
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
     * @throws dev.trivet.BadInputException if the runtime refuses the file
     */
    OnnxSession open(Path file, int batch, int threads);

    /** The runtime on the class path, if there is one. */
    static Optional<OnnxRuntime> find() {
        return ServiceLoader.load(OnnxRuntime.class).findFirst();
    }
}
