package dev.trivet.cli.bench;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;

/** A session of Trivet's engine. The executor is the owner's. */
public final class TrivetCaller implements Contender.Caller {
    private final ModelSession session;
    private final MemorySegment pixels;
    private final MemorySegment logits;
    private final int batch;
    private final int values;

    /** A caller whose calls use one thread. */
    public TrivetCaller(ModelExecutor executor, float[] pixels, int batch) {
        this(executor, 1, pixels, batch);
    }

    /**
     * @param threads of one call
     * @param pixels {@code [batch, channels, imageSize, imageSize]}
     */
    public TrivetCaller(ModelExecutor executor, int threads, float[] pixels, int batch) {
        session = executor.openSession(threads);
        this.batch = batch;
        values = batch * executor.geometry().classes();
        this.pixels = session.allocateInput();
        logits = session.allocateLogits();
        MemorySegment.copy(pixels, 0, this.pixels, JAVA_FLOAT, 0, pixels.length);
    }

    @Override
    public void run() {
        session.run(pixels, batch, logits);
    }

    /** What the last run gave, {@code [batch, classes]}. */
    public float[] logits() {
        float[] copy = new float[values];
        MemorySegment.copy(logits, JAVA_FLOAT, 0, copy, 0, values);
        return copy;
    }

    @Override
    public void close() {
        session.close();
    }
}
