package dev.trivet.cli.bench;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.format.MappedModel;
import dev.trivet.image.ImageDecoder;
import dev.trivet.image.ImagePreprocessor;
import dev.trivet.image.RgbImage;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * What stands before any measurement: nothing has been warmed up, and nothing but the first model has been loaded.
 *
 * @param model its name
 * @param seconds from the start of the process to the first logits
 * @param residentBytes memory of the process then; empty where the system does not say
 */
public record FirstImage(String model, double seconds, OptionalLong residentBytes) {
    private static final long SEED = 1;

    /**
     * Loads as a program does that has nothing else to do: what was read goes before the image comes.
     *
     * @param mapped closed
     * @param image a file; a made-up one without decoding if empty
     * @throws dev.trivet.BadInputException if the file is no image
     */
    public static FirstImage of(String name, MappedModel mapped, Kernels kernels, Optional<Path> image) {
        VitModel model = mapped.model();
        try (ModelExecutor executor = compile(mapped, kernels);
                ModelSession session = executor.openColdSession()) {
            MemorySegment pixels = session.allocateInput();
            if (image.isEmpty()) {
                float[] made = TestImages.of(model.geometry(), 1, SEED);
                MemorySegment.copy(made, 0, pixels, JAVA_FLOAT, 0, made.length);
            } else {
                RgbImage decoded = ImageDecoder.decode(image.get());
                new ImagePreprocessor(model.config().preprocessing()).apply(decoded, pixels, 0);
            }
            session.run(pixels, 1, session.allocateLogits());
            return new FirstImage(name, ProcessFigures.age(), ProcessFigures.residentBytes());
        }
    }

    private static ModelExecutor compile(MappedModel mapped, Kernels kernels) {
        try (mapped) {
            return ModelExecutor.compile(mapped.model(), kernels, 1);
        }
    }
}
