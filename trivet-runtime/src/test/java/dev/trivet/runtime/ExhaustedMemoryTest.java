package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.image.RgbImage;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.Workspace;
import dev.trivet.model.VitModel;
import java.lang.foreign.Arena;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Memory that ends while a model is compiled or a session opened: what was made until then is given back. */
class ExhaustedMemoryTest {
    /** Layers and workspaces of the reference that count themselves, one of which cannot be made. */
    private static final class Counted {
        final AtomicInteger made = new AtomicInteger();
        final AtomicInteger open = new AtomicInteger();
        private final Kernels reference = new ReferenceKernels();
        private int failing;
        private CountDownLatch together = new CountDownLatch(0);

        Kernels kernels() {
            return proxy(Kernels.class, reference);
        }

        /** @param number of what is made from now on, the first one being 1 */
        void fail(int number) {
            made.set(0);
            failing = number;
        }

        private <T> T proxy(Class<T> type, Object target) {
            Object made = Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (_, method, args) -> {
                Object result;
                try {
                    result = method.invoke(target, args);
                } catch (InvocationTargetException e) {
                    throw e.getCause();
                }
                if (method.getName().equals("close")) {
                    open.decrementAndGet();
                }
                return switch (result) {
                    case Linear linear -> counted(Linear.class, linear);
                    case Workspace workspace -> counted(Workspace.class, workspace);
                    case null, default -> result;
                };
            });
            return type.cast(made);
        }

        private <T extends AutoCloseable> T counted(Class<T> type, T owner) throws Exception {
            together.countDown();
            together.await();
            if (made.incrementAndGet() == failing) {
                owner.close();
                throw new OutOfMemoryError("Unable to allocate 1 bytes");
            }
            open.incrementAndGet();
            return proxy(type, owner);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "swin_micro_window4"})
    void layersThatWereMadeAreClosedWhereTheNextCannotBe(String name) {
        VitModel model = Fixtures.load(Fixtures.golden(name));
        Counted counted = new Counted();
        ModelExecutor.compile(model, counted.kernels(), 1).close();
        int layers = counted.made.get();
        assertThat(layers).isGreaterThan(8);
        assertThat(counted.open).hasValue(0);
        for (int failing = 1; failing <= layers; failing++) {
            counted.fail(failing);
            assertThatThrownBy(() -> ModelExecutor.compile(model, counted.kernels(), 1))
                    .isInstanceOf(OutOfMemoryError.class);
            assertThat(counted.open)
                    .as("layers open where number %d fails", failing)
                    .hasValue(0);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "swin_micro_window4"})
    void membersOfATeamAreClosedWhereTheNextCannotBeOpened(String name) {
        Counted counted = new Counted();
        try (ModelExecutor executor =
                ModelExecutor.compile(Fixtures.load(Fixtures.golden(name)), counted.kernels(), 2)) {
            int layers = counted.open.get();
            counted.fail(2);
            assertThatThrownBy(() -> executor.openSession(2)).isInstanceOf(OutOfMemoryError.class);
            assertThat(counted.open).hasValue(layers);
        }
    }

    /** Where a team cannot be had calls take one thread each, this one and later ones. */
    @Test
    void aModelWithoutATeamAnswersAllTheSame() {
        VitModel parameters = Fixtures.load(Fixtures.golden("vit_micro"));
        RgbImage image = new RgbImage(40, 40, new byte[40 * 40 * 3]);
        float[] expected;
        try (TrivetModel one = new TrivetModel(parameters, new ReferenceKernels(), 1, 1)) {
            expected = one.logits(image);
        }
        Counted counted = new Counted();
        try (TrivetModel model = new TrivetModel(parameters, counted.kernels(), 1, 2)) {
            int layers = counted.open.get();
            counted.fail(2);
            assertThat(model.logits(image)).isEqualTo(expected);
            assertThat(counted.made).as("two for the team, one for the call").hasValue(3);
            assertThat(model.logits(image)).isEqualTo(expected);
            assertThat(counted.made).hasValue(3);
            assertThat(counted.open).hasValue(layers + 1);
        }
        assertThat(counted.open).hasValue(0);
    }

    @Test
    void aModelKeepsBuffersForAsManyCallsAsThereAreProcessors() throws Exception {
        VitModel parameters = Fixtures.load(Fixtures.golden("vit_micro"));
        RgbImage image = new RgbImage(40, 40, new byte[40 * 40 * 3]);
        int kept = Math.max(2, Runtime.getRuntime().availableProcessors());
        int calls = kept + 6;
        Counted counted = new Counted();
        try (TrivetModel model = new TrivetModel(parameters, counted.kernels(), 1, 1);
                ExecutorService callers = Executors.newFixedThreadPool(calls)) {
            int layers = counted.open.get();
            counted.fail(0);
            counted.together = new CountDownLatch(calls); // no call ends before all have begun
            List<Future<float[]>> results = new ArrayList<>();
            for (int i = 0; i < calls; i++) {
                results.add(callers.submit(() -> model.logits(image)));
            }
            for (Future<float[]> result : results) {
                assertThat(result.get()).isEqualTo(results.getFirst().get());
            }
            assertThat(counted.made).hasValue(calls);
            assertThat(counted.open).hasValue(layers + kept);
        }
        assertThat(counted.open).hasValue(0);
    }

    @Test
    void aSessionsMemoryIsFreedWhereItsBuffersDoNotFit() {
        Counted counted = new Counted();
        List<Arena> arenas = new ArrayList<>();
        assertThatThrownBy(
                        () -> SessionMemory.<ModelSession>open(counted.kernels().openWorkspace(), memory -> {
                            arenas.add(memory.arena());
                            throw new OutOfMemoryError("Unable to allocate 1 bytes");
                        }))
                .isInstanceOf(OutOfMemoryError.class);
        assertThat(arenas.getFirst().scope().isAlive()).isFalse();
        assertThat(counted.open).hasValue(0);
    }
}
