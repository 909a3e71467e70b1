package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A run on several threads gives what a run on one gives, bit for bit: every unit, every provider, float and integer. */
@Timeout(120)
class TeamSessionTest {
    private static float[] noise(Geometry geometry, int images, long seed) {
        Random random = new Random(seed);
        float[] values = new float[images * geometry.channels() * geometry.imageSize() * geometry.imageSize()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    private static VitModel quantized(String name, int bits) {
        return quantized(Fixtures.load(Fixtures.golden(name)), bits);
    }

    private static VitModel quantized(VitModel model, int bits) {
        return MaxScaling.quantize(model, noise(model.geometry(), 1, 1), bits, bits < 8, bits != 10);
    }

    private static float[] run(ModelSession session, float[] input, int images, int classes) {
        MemorySegment in = session.allocateInput();
        MemorySegment logits = session.allocateLogits();
        MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
        session.run(in, images, logits);
        return logits.asSlice(0, 4L * images * classes).toArray(JAVA_FLOAT);
    }

    /** What each unit gives of what the one before it gave. */
    private static List<float[]> units(ModelSession session, Geometry geometry, float[] input) {
        List<float[]> results = new ArrayList<>();
        float[] passed = input;
        List<ModelUnit> units = geometry.units();
        for (int u = 0; u < units.size(); u++) {
            MemorySegment in = u == 0 ? session.allocateInput() : session.allocateTokens();
            MemorySegment out = u == units.size() - 1 ? session.allocateLogits() : session.allocateTokens();
            MemorySegment.copy(passed, 0, in, JAVA_FLOAT, 0, passed.length);
            session.runUnit(u, in, 1, out, Optional.empty());
            passed = out.asSlice(0, 4 * units.get(u).output().values()).toArray(JAVA_FLOAT);
            results.add(passed);
        }
        return results;
    }

    private static void compare(VitModel model, int... teams) {
        Geometry geometry = model.geometry();
        float[] input = noise(geometry, 1, 2);
        for (Kernels kernels : Fixtures.providers()) {
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                    ModelSession one = executor.openSession()) {
                List<float[]> expected = units(one, geometry, input);
                float[] logits = run(one, input, 1, geometry.classes());
                assertThat(expected.getLast()).isEqualTo(logits);
                for (int threads : teams) {
                    try (ModelSession team = executor.openSession(threads)) {
                        List<float[]> actual = units(team, geometry, input);
                        for (int u = 0; u < expected.size(); u++) {
                            assertThat(actual.get(u))
                                    .as("%s, %d threads, unit %d", kernels.description(), threads, u)
                                    .isEqualTo(expected.get(u));
                        }
                        assertThat(run(team, input, 1, geometry.classes())).isEqualTo(logits);
                    }
                }
            }
        }
    }

    /** Between 17 and 37 tokens, so no number of threads but one divides them all; 19 threads leave some without a token. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "vit_micro",
                "deit_distilled_micro",
                "vit_gap_micro",
                "swin_micro",
                "swin_micro_window4",
                "swin_padded_micro",
                "swin_padded_first_micro"
            })
    void everyUnitIsThatOfOneThread(String name) {
        compare(quantized(name, 8), 2, 3, 19);
        compare(Fixtures.load(Fixtures.golden(name)), 2, 5);
    }

    /** 145 tokens: two members begin at tiles of rows, and the last works on rows behind the image's; four members' parts are too small for that. */
    @Test
    void membersBeginAtTiles() {
        VitModel model = Fixtures.load(Fixtures.golden("vit_micro"), OptionalInt.of(192));
        assertThat(VitPart.share(model.vit(), 1, 2)).isEqualTo(new Share(80, 145));
        compare(quantized(model, 8), 2, 4);
        compare(model, 2);
    }

    /** Codes of two bytes, and activations that use some codes only. */
    @ParameterizedTest
    @ValueSource(ints = {10, 4})
    void otherWidths(int bits) {
        compare(quantized("vit_micro", bits), 3);
        compare(quantized("swin_padded_micro", bits), 3);
    }

    /** Seven images: whole ones for every member, and what is left over cut into rows. */
    @ParameterizedTest
    @ValueSource(strings = {"deit_distilled_micro", "swin_padded_micro"})
    void batchesAreThoseOfOneThread(String name) {
        VitModel model = quantized(name, 8);
        int classes = model.geometry().classes();
        float[] input = noise(model.geometry(), 7, 3);
        for (Kernels kernels : Fixtures.providers()) {
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 7);
                    ModelSession one = executor.openSession()) {
                float[] expected = run(one, input, 7, classes);
                for (int threads : new int[] {2, 3, 9}) {
                    try (ModelSession team = executor.openSession(threads)) {
                        for (int images : new int[] {7, 1, 6, 7}) {
                            float[] some = Arrays.copyOf(input, input.length / 7 * images);
                            assertThat(run(team, some, images, classes))
                                    .as("%s, %d threads, %d images", kernels.name(), threads, images)
                                    .isEqualTo(Arrays.copyOf(expected, images * classes));
                        }
                    }
                }
            }
        }
    }

    @Test
    void runsRepeatOnTheSameBuffers() {
        VitModel model = quantized("vit_micro", 8);
        Geometry geometry = model.geometry();
        for (Kernels kernels : Fixtures.providers()) {
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                    ModelSession one = executor.openSession();
                    ModelSession team = executor.openSession(2)) {
                MemorySegment in = team.allocateInput();
                MemorySegment logits = team.allocateLogits();
                List<float[]> images = List.of(noise(geometry, 1, 4), noise(geometry, 1, 5));
                List<float[]> expected = images.stream()
                        .map(image -> run(one, image, 1, geometry.classes()))
                        .toList();
                for (int i = 0; i < (kernels.name().equals("reference") ? 10 : 300); i++) {
                    MemorySegment.copy(images.get(i % 2), 0, in, JAVA_FLOAT, 0, images.get(i % 2).length);
                    team.run(in, 1, logits);
                    assertThat(logits.toArray(JAVA_FLOAT)).isEqualTo(expected.get(i % 2));
                }
            }
        }
    }

    @Test
    void teamsShareAnExecutor() throws Exception {
        VitModel model = quantized("swin_micro_window4", 8);
        Geometry geometry = model.geometry();
        float[] input = noise(geometry, 1, 6);
        for (Kernels kernels : Fixtures.providers()) {
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                    ExecutorService callers = Executors.newFixedThreadPool(3);
                    ModelSession one = executor.openSession()) {
                float[] expected = run(one, input, 1, geometry.classes());
                List<Future<List<float[]>>> results = new ArrayList<>();
                for (int caller = 0; caller < 3; caller++) {
                    int threads = 1 + caller;
                    results.add(callers.submit(() -> {
                        List<float[]> logits = new ArrayList<>();
                        try (ModelSession session = executor.openSession(threads)) {
                            for (int i = 0; i < 5; i++) {
                                logits.add(run(session, input, 1, geometry.classes()));
                            }
                        }
                        return logits;
                    }));
                }
                for (Future<List<float[]>> result : results) {
                    assertThat(result.get())
                            .allSatisfy(logits -> assertThat(logits).isEqualTo(expected));
                }
            }
        }
    }

    @Test
    void aWatchedRunShowsWhatOneThreadShows() {
        VitModel model = quantized("vit_gap_micro", 8);
        try (ModelExecutor executor = ModelExecutor.compile(model, new VectorKernels(), 1);
                ModelSession team = executor.openSession(2)) {
            MemorySegment in = team.allocateInput();
            MemorySegment logits = team.allocateLogits();
            List<String> seen = new ArrayList<>();
            team.run(in, 1, logits, Optional.of(new LayerObserver() {
                @Override
                public void linear(String name, MemorySegment input, int rows, MemorySegment raw) {
                    seen.add(name);
                }
            }));
            assertThat(seen).containsExactlyElementsOf(model.linears().keySet());
            float[] watched = logits.toArray(JAVA_FLOAT);
            team.run(in, 1, logits);
            assertThat(logits.toArray(JAVA_FLOAT)).isEqualTo(watched);
        }
    }

    /** Memory that only the caller may read: the others fail, the caller hears of it, and the session goes on. */
    @Test
    void aFailureOfAnotherThreadReachesTheCaller() {
        VitModel model = quantized("vit_micro", 8);
        float[] image = noise(model.geometry(), 1, 7);
        try (ModelExecutor executor = ModelExecutor.compile(model, new VectorKernels(), 1);
                ModelSession team = executor.openSession(3);
                Arena confined = Arena.ofConfined()) {
            float[] expected = run(team, image, 1, 10);
            MemorySegment own = confined.allocateFrom(JAVA_FLOAT, image);
            MemorySegment logits = team.allocateLogits();
            for (int i = 0; i < 5; i++) {
                assertThatThrownBy(() -> team.run(own, 1, logits)).isInstanceOf(WrongThreadException.class);
                assertThat(run(team, image, 1, 10)).isEqualTo(expected);
            }
        }
    }

    @Test
    void argumentsAreChecked() {
        VitModel model = quantized("vit_micro", 8);
        try (ModelExecutor executor = ModelExecutor.compile(model, new VectorKernels(), 2)) {
            assertThatThrownBy(() -> executor.openSession(0)).isInstanceOf(IllegalArgumentException.class);
            ModelSession team = executor.openSession(3);
            MemorySegment in = team.allocateInput();
            MemorySegment logits = team.allocateLogits();
            assertThat(in.byteSize()).isEqualTo(4L * 2 * 3 * 64 * 64);
            assertThat(logits.byteSize()).isEqualTo(4L * 2 * 10);
            assertThatThrownBy(() -> team.run(in, 3, logits))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("3 images for a batch of 2");
            assertThatThrownBy(() -> team.run(in.asSlice(0, in.byteSize() - 4), 2, logits))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> team.run(in, 2, logits.asSlice(0, logits.byteSize() - 4)))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            team.run(in, 2, logits);
            team.close();
            team.close();
            assertThatThrownBy(() -> team.run(in, 2, logits)).isInstanceOf(IllegalStateException.class);
        }
        try (ModelExecutor part = ModelExecutor.compile(model, new VectorKernels(), 1, 1, 3);
                ModelSession team = part.openSession(2)) {
            MemorySegment in = team.allocateInput();
            MemorySegment logits = team.allocateLogits();
            assertThatThrownBy(() -> team.run(in, 1, logits))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("the executor was compiled without this part");
        }
    }
}
