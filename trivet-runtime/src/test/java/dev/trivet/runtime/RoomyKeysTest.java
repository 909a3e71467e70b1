package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.Geometry;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Room behind the keys and values of a head, as kernels with tiles want it, changes no bit of the logits, on any kernels. */
class RoomyKeysTest {
    private static final int IMAGES = 5;

    /** Kernels that want room for so many keys more. */
    private record Roomy(Kernels kernels, int room) implements Kernels {
        @Override
        public int keyPlaces(int tokens) {
            return tokens + room;
        }

        @Override
        public String name() {
            return kernels.name();
        }

        @Override
        public String description() {
            return kernels.description();
        }

        @Override
        public Workspace openWorkspace() {
            return kernels.openWorkspace();
        }

        @Override
        public Linear floatLinear(MemorySegment weight, int outputs, int inputs, int typicalRows) {
            return kernels.floatLinear(weight, outputs, inputs, typicalRows);
        }

        @Override
        public Linear integerLinear(MemorySegment codes, int outputs, int inputs, int typicalRows) {
            return kernels.integerLinear(codes, outputs, inputs, typicalRows);
        }

        @Override
        public Matmul floatMatmul(MatmulShape shape) {
            return kernels.floatMatmul(shape);
        }

        @Override
        public Matmul integerMatmul(MatmulShape shape, boolean leftSigned) {
            return kernels.integerMatmul(shape, leftSigned);
        }

        @Override
        public void close() {
            kernels.close();
        }
    }

    /** @param normalized whether rows are numerators, or else probabilities */
    @ParameterizedTest
    @CsvSource({
        "vit_micro, 8, true, 15",
        "vit_micro, 8, false, 15",
        "deit_distilled_micro, 8, true, 1",
        "vit_gap_micro, 4, true, 7"
    })
    void changesNoLogit(String name, int bits, boolean normalized, int room) {
        VitModel floats = Fixtures.load(Fixtures.golden(name));
        Geometry geometry = floats.geometry();
        int length = geometry.channels() * geometry.imageSize() * geometry.imageSize();
        Random random = new Random(4);
        float[] input = new float[IMAGES * length];
        for (int i = 0; i < input.length; i++) {
            input[i] = (float) random.nextGaussian();
        }
        VitModel model = MaxScaling.quantize(floats, Arrays.copyOf(input, length), bits, false, normalized);
        for (Kernels kernels : Fixtures.providers()) {
            float[] expected = logits(model, kernels, 1, input, Optional.of(new LayerObserver() {}));
            for (Kernels any : new Kernels[] {kernels, new Roomy(kernels, room)}) {
                for (int threads : new int[] {1, 2}) {
                    assertThat(logits(model, any, threads, input, Optional.empty()))
                            .as("%s, %d threads", any, threads)
                            .isEqualTo(expected);
                }
            }
        }
    }

    /** All images, then the last alone, then all again: what one run leaves in the room must not reach the next. */
    private static float[] logits(
            VitModel model, Kernels kernels, int threads, float[] input, Optional<LayerObserver> observer) {
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, IMAGES);
                ModelSession session = executor.openSession(threads)) {
            MemorySegment in = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
            session.run(in, IMAGES, logits, observer);
            float[] first = logits.toArray(JAVA_FLOAT);
            session.run(in.asSlice(in.byteSize() / IMAGES * (IMAGES - 1)), 1, logits, observer);
            session.run(in, IMAGES, logits, Optional.of(new LayerObserver() {}));
            session.run(in, IMAGES, logits, observer);
            assertThat(logits.toArray(JAVA_FLOAT)).isEqualTo(first);
            return first;
        }
    }
}
