package dev.trivet.onnxruntime;

import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtLoggingLevel;
import ai.onnxruntime.OrtSession;
import dev.trivet.BadInputException;
import dev.trivet.onnx.OnnxExport;
import dev.trivet.onnx.OnnxRuntime;
import dev.trivet.onnx.OnnxSession;
import java.nio.file.Path;
import java.util.List;

/**
 * ONNX Runtime with everything that makes it fast: all graph optimizations, the batch size fixed when the session is made, buffers that are
 * given once. One thread runs the operators of one run after the other, each split over {@code threads} threads. Thread-safe.
 */
public final class MicrosoftRuntime implements OnnxRuntime {
    /** System property: where a session leaves the graph that it made of the model, to see which operators were fused. */
    private static final String OPTIMIZED = "trivet.onnxruntime.optimized";

    private final OrtEnvironment environment =
            OrtEnvironment.getEnvironment(OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR, "trivet");

    @Override
    public String description() {
        return "ONNX Runtime " + environment.getVersion();
    }

    @Override
    public List<OnnxSession> open(Path file, int batch, int threads, int callers) {
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
            options.setExecutionMode(OrtSession.SessionOptions.ExecutionMode.SEQUENTIAL);
            options.setIntraOpNumThreads(threads);
            options.setInterOpNumThreads(1);
            options.setSymbolicDimensionValue(OnnxExport.BATCH, batch);
            String optimized = System.getProperty(OPTIMIZED);
            if (optimized != null) {
                options.setOptimizedModelFilePath(optimized);
            }
            return MicrosoftSession.open(
                    environment, environment.createSession(file.toString(), options), batch, callers);
        } catch (OrtException e) {
            throw new BadInputException(
                    file,
                    "ONNX Runtime refuses it (" + e.getMessage() + ")",
                    "check that it was exported by trivet",
                    e);
        }
    }
}
