package dev.trivet.onnx;

import java.nio.FloatBuffer;

/** A loaded model with its buffers, used by one thread at a time. */
public interface OnnxSession extends AutoCloseable {
    /** To be filled before a run: {@code [batch, channels, imageSize, imageSize]}. */
    FloatBuffer input();

    /** What the last run gave: {@code [batch, classes]}. */
    FloatBuffer logits();

    /** Computes {@link #logits} from what stands in {@link #input}. */
    void run();

    @Override
    void close();
}
