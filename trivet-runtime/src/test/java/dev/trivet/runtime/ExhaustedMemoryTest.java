package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

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
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Memory that ends while a model is compiled or a session opened: what was made until then is given back. */
class ExhaustedMemoryTest {
    /** Layers and workspaces of the reference that count themselves, and of which only so many can be made. */
    private static final class Counted {
        final AtomicInteger made = new AtomicInteger();
        final AtomicInteger open = new AtomicInteger();
        private final Kernels reference = new ReferenceKernels();
        private int most = Integer.MAX_VALUE;

        Kernels kernels() {
            return proxy(Kernels.class, reference);
        }

        /** @param count how many more can be made */
        void leave(int count) {
            made.set(0);
            most = count;
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
            if (made.incrementAndGet() > most) {
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
        for (int enough = 0; enough < layers; enough++) {
            counted.leave(enough);
            assertThatThrownBy(() -> ModelExecutor.compile(model, counted.kernels(), 1))
                    .isInstanceOf(OutOfMemoryError.class);
            assertThat(counted.open).as("layers still open of %d", enough).hasValue(0);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "swin_micro_window4"})
    void membersOfATeamAreClosedWhereTheNextCannotBeOpened(String name) {
        Counted counted = new Counted();
        try (ModelExecutor executor =
                ModelExecutor.compile(Fixtures.load(Fixtures.golden(name)), counted.kernels(), 2)) {
            int layers = counted.open.get();
            counted.leave(1);
            assertThatThrownBy(() -> executor.openSession(2)).isInstanceOf(OutOfMemoryError.class);
            assertThat(counted.open).hasValue(layers);
        }
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
