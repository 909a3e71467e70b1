package dev.trivet.onnxruntime;

import ai.onnxruntime.NodeInfo;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import dev.trivet.onnx.OnnxExport;
import dev.trivet.onnx.OnnxSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

/** A session with its input and output in direct buffers, so that a run copies nothing into or out of the heap. */
final class MicrosoftSession implements OnnxSession {
    private final OrtSession session;
    /** How many use the session; the last one closes it. */
    private final AtomicInteger users;

    private final FloatBuffer input;
    private final FloatBuffer logits;
    private final OnnxTensor inputTensor;
    private final OnnxTensor logitsTensor;

    /** So many callers with buffers of their own over one session, which is theirs from now on. */
    static List<OnnxSession> open(OrtEnvironment environment, OrtSession session, int batch, int callers)
            throws OrtException {
        AtomicInteger users = new AtomicInteger();
        List<OnnxSession> opened = new ArrayList<>();
        try {
            for (int i = 0; i < callers; i++) {
                opened.add(new MicrosoftSession(environment, session, users, batch));
                users.incrementAndGet();
            }
        } catch (OrtException | RuntimeException e) {
            if (opened.isEmpty()) {
                session.close();
            }
            opened.forEach(OnnxSession::close);
            throw e;
        }
        return opened;
    }

    private MicrosoftSession(OrtEnvironment environment, OrtSession session, AtomicInteger users, int batch)
            throws OrtException {
        this.session = session;
        this.users = users;
        long[] in = withBatch(session.getInputInfo(), OnnxExport.INPUT, batch);
        long[] out = withBatch(session.getOutputInfo(), OnnxExport.OUTPUT, batch);
        input = floats(in);
        logits = floats(out);
        inputTensor = OnnxTensor.createTensor(environment, input, in);
        logitsTensor = OnnxTensor.createTensor(environment, logits, out);
    }

    private static long[] withBatch(Map<String, NodeInfo> nodes, String name, int batch) {
        NodeInfo node = nodes.get(name);
        if (node == null || !(node.getInfo() instanceof TensorInfo info)) {
            throw new IllegalArgumentException("the graph has no tensor " + name);
        }
        long[] shape = info.getShape();
        shape[0] = batch;
        return shape;
    }

    private static FloatBuffer floats(long[] shape) {
        long count = 1;
        for (long d : shape) {
            count *= d;
        }
        return ByteBuffer.allocateDirect(Math.toIntExact(4 * count))
                .order(ByteOrder.nativeOrder())
                .asFloatBuffer();
    }

    @Override
    public FloatBuffer input() {
        return input;
    }

    @Override
    public FloatBuffer logits() {
        return logits;
    }

    @Override
    public void run() {
        try {
            session.run(Map.of(OnnxExport.INPUT, inputTensor), Map.of(OnnxExport.OUTPUT, logitsTensor))
                    .close();
        } catch (OrtException e) {
            throw new IllegalStateException("ONNX Runtime failed", e);
        }
    }

    @Override
    public void close() {
        inputTensor.close();
        logitsTensor.close();
        if (users.decrementAndGet() > 0) {
            return;
        }
        try {
            session.close();
        } catch (OrtException e) {
            throw new IllegalStateException("ONNX Runtime failed", e);
        }
    }
}
