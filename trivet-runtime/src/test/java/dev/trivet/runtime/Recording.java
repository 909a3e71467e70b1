package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Everything that flows through an all-integer model, byte for byte and in order. */
final class Recording implements LayerObserver {
    @SuppressWarnings("ArrayRecordComponent") // compared with Arrays.equals, below
    private record Step(String what, byte[] bytes) {}

    private final VitModel model;
    private final List<Step> steps = new ArrayList<>();

    private Recording(VitModel model) {
        this.model = model;
    }

    /** @param input float32 {@code [images, channels, imageSize, imageSize]} */
    static Recording of(VitModel model, Kernels kernels, float[] input, int images) {
        Recording recording = new Recording(model);
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, images);
                ModelSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
            session.run(in, images, logits, Optional.of(recording));
            recording.add("logits", logits, logits.byteSize());
        }
        return recording;
    }

    private void add(String what, MemorySegment values, long bytes) {
        steps.add(new Step(what, values.asSlice(0, bytes).toArray(JAVA_BYTE)));
    }

    @Override
    public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
        add(name + " input", input, (long) rows * model.linear(name).inputs());
        add(name + " sums", raw, 4L * rows * model.linear(name).outputs());
    }

    @Override
    public void matmul(String name, MemorySegment left, MemorySegment right, int batch, MemorySegment raw) {
        ModelUnit.Block block = Fixtures.block(model, name);
        long perHead = (long) batch * block.groupTokens() * block.headWidth();
        long map = (long) batch * block.groupTokens() * block.groupTokens();
        boolean scores = name.endsWith(".qk");
        add(name + " left", left, scores ? perHead : map);
        add(name + " right", right, perHead);
        add(name + " sums", raw, 4 * (scores ? map : perHead));
    }

    @Override
    public void activation(String name, MemorySegment values, int images, int rows, int width) {
        add(name, values, 4L * images * rows * width);
    }

    List<String> names() {
        return steps.stream().map(Step::what).toList();
    }

    /** The final logits' bytes. */
    byte[] logits() {
        return steps.getLast().bytes;
    }

    void assertSameAs(Recording other, String as) {
        assertThat(names()).as(as).isEqualTo(other.names());
        for (int i = 0; i < steps.size(); i++) {
            assertThat(java.util.Arrays.mismatch(steps.get(i).bytes, other.steps.get(i).bytes))
                    .as(as + ": first differing byte of " + steps.get(i).what)
                    .isEqualTo(-1);
        }
    }
}
