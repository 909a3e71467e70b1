package dev.trivet.cli.bench;

import dev.trivet.onnx.OnnxSession;

/** A session of an ONNX runtime, which it closes. */
public final class OnnxCaller implements Contender.Caller {
    private final OnnxSession session;

    /** @param pixels {@code [batch, channels, imageSize, imageSize]} */
    public OnnxCaller(OnnxSession session, float[] pixels) {
        this.session = session;
        session.input().put(0, pixels);
    }

    @Override
    public void run() {
        session.run();
    }

    /** What the last run gave, {@code [batch, classes]}. */
    public float[] logits() {
        float[] copy = new float[session.logits().capacity()];
        session.logits().get(0, copy);
        return copy;
    }

    @Override
    public void close() {
        session.close();
    }
}
