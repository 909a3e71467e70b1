package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadInfo;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A run allocates no Java objects once it is compiled, on none of its threads. How many runs that takes depends on the machine, so there is a bound on
 * runs but none on time: sooner or later a hundred runs in a row must come without an object per layer or row.
 *
 * <p>In a process of its own: what other tests have run before decides how HotSpot compiles, and a user's process runs no tests.
 */
class AllocationTest {
    /** An iterator or two a run, and nothing for each layer or row. */
    private static final long FEW_BYTES = 64;

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "swin_micro"})
    void runsDoNotAllocate(String name) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--enable-native-access=ALL-UNNAMED",
                        "-Xlog:disable",
                        "-Xlog:all=warning:stderr",
                        "--add-modules",
                        "jdk.incubator.vector",
                        "-cp",
                        System.getProperty("java.class.path"),
                        Probe.class.getName(),
                        Fixtures.golden(name).toString())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).isZero();
        assertThat(output.lines().toList())
                .hasSize(6)
                .allSatisfy(line -> assertThat(Long.parseLong(line)).isLessThanOrEqualTo(FEW_BYTES));
    }

    /**
     * Prints the bytes of a run, for bytes as operands, for picked levels and for numerators of softmax, of a batch on one thread and of an image on two.
     */
    static final class Probe {
        private static final int RUNS = 100;
        private static final int MOST_ROUNDS = 400;

        private Probe() {}

        public static void main(String[] args) {
            VitModel model = Fixtures.load(Path.of(args[0]));
            float[] noise = new float
                    [3 * model.geometry().imageSize() * model.geometry().imageSize()];
            Random random = new Random(1);
            for (int i = 0; i < noise.length; i++) {
                noise[i] = (float) random.nextGaussian();
            }
            Kernels kernels = KernelSelection.get().kernels();
            for (int threads = 1; threads <= 2; threads++) {
                System.out.println(least(MaxScaling.quantize(model, noise), kernels, threads));
                System.out.println(least(MaxScaling.quantize(model, noise, 4, true), kernels, threads));
                System.out.println(least(MaxScaling.quantize(model, noise, 8, false, true), kernels, threads));
            }
        }

        private static long least(VitModel quantized, Kernels kernels, int threads) {
            int images = 3 - threads;
            try (ModelExecutor executor = ModelExecutor.compile(quantized, kernels, images);
                    ModelSession session = executor.openSession(threads)) {
                MemorySegment input = session.allocateInput();
                MemorySegment logits = session.allocateLogits();
                long least = Long.MAX_VALUE;
                for (int round = 0; round < MOST_ROUNDS && least > FEW_BYTES; round++) {
                    least = Math.min(least, allocated(session, input, images, logits) / RUNS);
                }
                return least;
            }
        }

        private static long allocated(ModelSession session, MemorySegment input, int images, MemorySegment logits) {
            long[] ids = threads();
            long before = allocatedBytes(ids);
            for (int run = 0; run < RUNS; run++) {
                session.run(input, images, logits, Optional.empty());
            }
            return allocatedBytes(ids) - before;
        }

        /** This thread, and those that work for the session. */
        private static long[] threads() {
            ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
            return LongStream.of(threads.getAllThreadIds())
                    .filter(id -> {
                        ThreadInfo thread = threads.getThreadInfo(id);
                        return id == Thread.currentThread().threadId()
                                || (thread != null && thread.getThreadName().startsWith("trivet-"));
                    })
                    .toArray();
        }

        private static long allocatedBytes(long[] ids) {
            ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
            long bytes = 0;
            for (long id : ids) {
                bytes += threads.getThreadAllocatedBytes(id);
            }
            return bytes;
        }
    }
}
