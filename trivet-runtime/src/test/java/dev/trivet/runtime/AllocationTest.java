package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * A run allocates no Java objects once it is compiled. How many runs that takes depends on the machine, so there is a bound on
 * runs but none on time: sooner or later a hundred runs in a row must come without an object per layer or row.
 */
class AllocationTest {
    private static final int RUNS = 100;
    private static final int MOST_ROUNDS = 400;
    /** An iterator or two a run, and nothing for each layer or row. */
    private static final long FEW_BYTES = 64 * RUNS;

    @Test
    void runsDoNotAllocate() {
        VitModel model = Fixtures.load(Fixtures.golden("vit_micro"));
        float[] noise = new float[3 * model.vit().imageSize() * model.vit().imageSize()];
        Random random = new Random(1);
        for (int i = 0; i < noise.length; i++) {
            noise[i] = (float) random.nextGaussian();
        }
        check(MaxScaling.quantize(model, noise));
        check(MaxScaling.quantize(model, noise, 4, true));
    }

    private static void check(VitModel quantized) {
        for (Kernels kernels : Fixtures.providers()) {
            if (kernels.name().equals("reference")) {
                continue;
            }
            try (ModelExecutor executor = ModelExecutor.compile(quantized, kernels, 2);
                    ModelSession session = executor.openSession()) {
                MemorySegment input = session.allocateInput();
                MemorySegment logits = session.allocateLogits();
                long least = Long.MAX_VALUE;
                for (int round = 0; round < MOST_ROUNDS && least > FEW_BYTES; round++) {
                    least = Math.min(least, allocated(session, input, logits));
                }
                assertThat(least).as(kernels.name()).isLessThanOrEqualTo(FEW_BYTES);
            }
        }
    }

    private static long allocated(ModelSession session, MemorySegment input, MemorySegment logits) {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        long before = threads.getCurrentThreadAllocatedBytes();
        for (int run = 0; run < RUNS; run++) {
            session.run(input, 2, logits, Optional.empty());
        }
        return threads.getCurrentThreadAllocatedBytes() - before;
    }
}
