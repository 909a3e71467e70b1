package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.format.ModelFile;
import dev.trivet.image.RgbImage;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class WarmUpTest {
    private static final Kernels KERNELS = KernelSelection.get().kernels();

    private static VitModel golden(String name) {
        return ModelFile.read(Fixtures.golden(name), Optional.empty()).model();
    }

    private static RgbImage noise() {
        byte[] pixels = new byte[40 * 30 * 3];
        new Random(1).nextBytes(pixels);
        return new RgbImage(40, 30, pixels);
    }

    /** Also where the kernels have no cold form, and within padded windows. */
    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "vit_gap_micro", "deit_distilled_micro", "swin_micro", "swin_padded_micro"})
    void coldSessionsGiveTheSameBits(String name) {
        VitModel model = golden(name);
        for (Kernels kernels : new Kernels[] {KERNELS, new ReferenceKernels()}) {
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                    ModelSession warm = executor.openSession();
                    ModelSession cold = executor.openColdSession()) {
                assertThat(logits(cold)).isEqualTo(logits(warm));
            }
        }
    }

    private static float[] logits(ModelSession session) {
        MemorySegment input = session.allocateInput();
        Random random = new Random(7);
        for (long i = 0; i < input.byteSize() / 4; i++) {
            input.setAtIndex(JAVA_FLOAT, i, (float) random.nextGaussian());
        }
        MemorySegment logits = session.allocateLogits();
        session.run(input, 1, logits);
        return logits.toArray(JAVA_FLOAT);
    }

    @Test
    void nothingChangesForTheCallerWhenItEnds() throws InterruptedException {
        try (TrivetModel model = TrivetModel.load(Fixtures.golden("vit_micro"))) {
            float[] first = model.logits(noise());
            model.warmUp();
            assertThat(model.logits(noise())).isEqualTo(first);
            model.warmUp();
            assertThat(model.logits(noise())).isEqualTo(first);
        }
    }

    @Test
    void aClosedModelIsNotWarmedUp() {
        TrivetModel model = TrivetModel.load(Fixtures.golden("vit_micro"));
        model.close();
        assertThatThrownBy(model::warmUp)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("the model is closed");
    }

    /** It would go on for an hour, so nothing but a run as fast as cold ones makes it ready, and nothing but calls ends it. */
    @Test
    void becomesReadyAndEndsWhenCallsTakeOver() throws InterruptedException {
        long hour = TimeUnit.HOURS.toNanos(1);
        try (ModelExecutor executor = ModelExecutor.compile(golden("vit_micro"), KERNELS, 1)) {
            WarmUp warmUp = new WarmUp(executor, true, hour, hour);
            assertThat(warmUp.isReady()).isFalse();
            warmUp.ranCold(hour);
            while (!warmUp.isReady()) {
                Thread.sleep(1);
            }
            assertThat(running()).isTrue();
            warmUp.taken();
            while (running()) {
                Thread.sleep(1);
            }
            warmUp.close();
        }
    }

    private static boolean running() {
        return Thread.getAllStackTraces().keySet().stream()
                .anyMatch(thread -> thread.getName().equals("trivet-warm-up"));
    }

    /** On any kernels that need it, also if no run is as fast as cold ones. */
    @ParameterizedTest
    @ValueSource(longs = {1, 1_000_000_000_000L})
    void endsByItself(long coldNanos) throws InterruptedException {
        try (Kernels vector = new VectorKernels()) {
            for (Kernels kernels : new Kernels[] {KERNELS, vector}) {
                try (ModelExecutor executor = ModelExecutor.compile(golden("vit_micro"), kernels, 1)) {
                    WarmUp warmUp = new WarmUp(executor, kernels.needsWarmUp());
                    warmUp.ranCold(coldNanos);
                    warmUp.await();
                    assertThat(warmUp.isReady()).isTrue();
                    warmUp.close();
                }
            }
        }
    }

    @Test
    void kernelsThatNeedNoneAreReady() throws InterruptedException {
        try (ModelExecutor executor = ModelExecutor.compile(golden("vit_micro"), new ReferenceKernels(), 1)) {
            WarmUp warmUp = new WarmUp(executor, new ReferenceKernels().needsWarmUp());
            assertThat(warmUp.isReady()).isTrue();
            warmUp.await();
            warmUp.close();
        }
    }

    @Test
    void doesNotStartOnceItIsClosed() throws InterruptedException {
        try (ModelExecutor executor = ModelExecutor.compile(golden("vit_micro"), KERNELS, 1)) {
            WarmUp closed = new WarmUp(executor, true);
            closed.close();
            closed.ranCold(1);
            closed.await();
            assertThat(closed.isReady()).isFalse();
        }
    }

    /** Weights and kernels go when {@code close} returns, so nothing may be using them any more. */
    @Test
    void aModelMayBeClosedInTheMiddle() {
        AtomicReference<Throwable> failure = new AtomicReference<>();
        Thread.UncaughtExceptionHandler before = Thread.getDefaultUncaughtExceptionHandler();
        Thread.setDefaultUncaughtExceptionHandler((_, e) -> failure.set(e));
        try {
            for (int i = 0; i < 20; i++) {
                try (Kernels kernels = new VectorKernels();
                        TrivetModel model = new TrivetModel(golden("swin_micro"), kernels, 1)) {
                    model.logits(noise());
                    Thread.sleep(10L * (i % 10)); // before, while and after it begins
                } catch (InterruptedException e) {
                    throw new AssertionError(e);
                }
            }
        } finally {
            Thread.setDefaultUncaughtExceptionHandler(before);
        }
        assertThat(failure.get()).isNull();
    }
}
