package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class VitSessionTest {
    private static float[] noise(VitConfig config, int images, long seed) {
        Random random = new Random(seed);
        float[] values = new float[images * config.channels() * config.imageSize() * config.imageSize()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    private static VitModel quantized(String name) {
        VitModel model = Fixtures.load(Fixtures.golden(name));
        return MaxScaling.quantize(model, noise(model.vit(), 1, 1));
    }

    private static float[] run(VitSession session, float[] input, int images, int classes) {
        MemorySegment in = session.allocateInput();
        MemorySegment logits = session.allocateLogits();
        MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
        session.run(in, images, logits);
        return logits.asSlice(0, 4L * images * classes).toArray(JAVA_FLOAT);
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "deit_distilled_micro", "vit_gap_micro"})
    void imagesOfABatchDoNotTouchEachOther(String name) {
        VitModel model = quantized(name);
        VitConfig config = model.vit();
        float[] input = noise(config, 3, 2);
        int length = input.length / 3;
        for (Kernels kernels : Fixtures.providers()) {
            try (VitExecutor three = new VitExecutor(model, kernels, 3);
                    VitExecutor one = new VitExecutor(model, kernels, 1);
                    VitSession batched = three.openSession();
                    VitSession single = one.openSession()) {
                float[] together = run(batched, input, 3, config.classes());
                float[] pair = run(batched, Arrays.copyOf(input, 2 * length), 2, config.classes());
                assertThat(pair).isEqualTo(Arrays.copyOf(together, 2 * config.classes()));
                for (int i = 0; i < 3; i++) {
                    float[] image = Arrays.copyOfRange(input, i * length, (i + 1) * length);
                    assertThat(run(single, image, 1, config.classes()))
                            .as(kernels.name() + ", image " + i)
                            .isEqualTo(Arrays.copyOfRange(together, i * config.classes(), (i + 1) * config.classes()));
                }
            }
        }
    }

    /** Of the last block a run computes what the head reads; a watched one computes all. */
    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "deit_distilled_micro", "vit_registers_micro", "vit_gap_micro"})
    void whatTheHeadDoesNotReadChangesNothing(String name) {
        VitModel model = Fixtures.load(Fixtures.golden(name));
        VitConfig config = model.vit();
        float[] input = noise(config, 3, 6);
        List<VitModel> models =
                List.of(model, quantized(name), MaxScaling.quantize(model, noise(config, 1, 1), 10, false, false));
        for (VitModel each : models) {
            for (Kernels kernels : Fixtures.providers()) {
                try (VitExecutor executor = new VitExecutor(each, kernels, 3);
                        VitSession session = executor.openSession()) {
                    assertThat(executor.lastBlock.isPresent()).isEqualTo(!name.equals("vit_gap_micro"));
                    float[] logits = run(session, input, 3, config.classes());
                    MemorySegment in = session.allocateInput();
                    MemorySegment watched = session.allocateLogits();
                    MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
                    session.run(in, 3, watched, Optional.of(new LayerObserver() {}));
                    assertThat(logits).as(kernels.name()).isEqualTo(watched.toArray(JAVA_FLOAT));
                }
            }
        }
    }

    @Test
    void sessionsOfSeveralThreadsShareOneExecutor() throws Exception {
        VitModel model = quantized("vit_micro");
        VitConfig config = model.vit();
        for (Kernels kernels : Fixtures.providers()) {
            try (VitExecutor executor = new VitExecutor(model, kernels, 1);
                    ExecutorService threads = Executors.newFixedThreadPool(4)) {
                List<float[]> expected = new ArrayList<>();
                try (VitSession session = executor.openSession()) {
                    for (int i = 0; i < 8; i++) {
                        expected.add(run(session, noise(config, 1, i), 1, config.classes()));
                    }
                }
                List<Future<List<float[]>>> results = new ArrayList<>();
                for (int t = 0; t < 4; t++) {
                    results.add(threads.submit(() -> {
                        List<float[]> logits = new ArrayList<>();
                        try (VitSession session = executor.openSession()) {
                            for (int i = 0; i < 8; i++) {
                                logits.add(run(session, noise(config, 1, i), 1, config.classes()));
                            }
                        }
                        return logits;
                    }));
                }
                for (Future<List<float[]>> result : results) {
                    for (int i = 0; i < 8; i++) {
                        assertThat(result.get().get(i)).as(kernels.name()).isEqualTo(expected.get(i));
                    }
                }
            }
        }
    }

    /** A session may pass from thread to thread, one at a time. */
    @Test
    void aSessionMovesBetweenThreads() throws Exception {
        VitModel model = quantized("vit_gap_micro");
        VitConfig config = model.vit();
        float[] input = noise(config, 1, 5);
        for (Kernels kernels : Fixtures.providers()) {
            try (VitExecutor executor = new VitExecutor(model, kernels, 1);
                    VitSession session = executor.openSession();
                    ExecutorService other = Executors.newSingleThreadExecutor()) {
                float[] here = run(session, input, 1, config.classes());
                assertThat(other.submit(() -> run(session, input, 1, config.classes()))
                                .get())
                        .isEqualTo(here);
            }
        }
    }

    @Test
    void argumentsAreChecked() {
        VitModel model = quantized("vit_micro");
        try (VitExecutor executor = new VitExecutor(model, new VectorKernels(), 2);
                VitSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            assertThat(in.byteSize()).isEqualTo(4L * 2 * 3 * 64 * 64);
            assertThat(logits.byteSize()).isEqualTo(4L * 2 * 10);
            assertThatThrownBy(() -> session.run(in, 0, logits))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("0 images for a batch of 2");
            assertThatThrownBy(() -> session.run(in, 3, logits))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("3 images for a batch of 2");
            assertThatThrownBy(() -> session.run(in.asSlice(0, in.byteSize() - 4), 2, logits))
                    .isInstanceOfAny(IllegalArgumentException.class, IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> session.run(in, 2, logits.asSlice(0, logits.byteSize() - 4)))
                    .isInstanceOfAny(IllegalArgumentException.class, IndexOutOfBoundsException.class);
        }
    }

    @Test
    void anExecutorNeedsABatch() {
        VitModel model = quantized("vit_gap_micro");
        for (int batch : new int[] {0, -1}) {
            assertThatThrownBy(() -> new VitExecutor(model, new VectorKernels(), batch))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("batch");
        }
    }
}
