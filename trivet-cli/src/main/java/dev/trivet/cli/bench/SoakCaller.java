package dev.trivet.cli.bench;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;

/** A session of Trivet's engine with a few batches of images. The executor is the owner's. */
public final class SoakCaller implements Soak.Caller {
    private final ModelSession session;
    private final MemorySegment[] inputs;
    private final MemorySegment logits;
    private final int images;

    /** @param pixels {@code [batches, images, channels, imageSize, imageSize]} */
    public SoakCaller(ModelExecutor executor, float[] pixels, int batches, int images) {
        session = executor.openSession();
        this.images = images;
        inputs = new MemorySegment[batches];
        int values = pixels.length / batches;
        for (int b = 0; b < batches; b++) {
            inputs[b] = session.allocateInput();
            MemorySegment.copy(pixels, b * values, inputs[b], JAVA_FLOAT, 0, values);
        }
        logits = session.allocateLogits();
    }

    @Override
    public MemorySegment run(int number) {
        session.run(inputs[number], images, logits);
        return logits;
    }

    @Override
    public void close() {
        session.close();
    }
}
