package dev.trivet.bench;

import dev.trivet.cli.bench.PeakCaller;
import dev.trivet.kernel.KernelSelection;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * What kernels are held against, one thread. For products the product that {@code bench} calls the peak, all of it in the second-level
 * cache, on the fastest kernels of the machine; for passes between products a plain copy of memory.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class RoofBenchmark {
    /** Bytes that a copy reads and writes together. */
    @Param("1048576")
    long bytes = 1 << 20;

    private final PeakCaller integers = new PeakCaller(KernelSelection.get().kernels(), true);
    private final PeakCaller floats = new PeakCaller(KernelSelection.get().kernels(), false);
    private Arena arena = Arena.ofAuto();
    private MemorySegment from = MemorySegment.NULL;
    private MemorySegment to = MemorySegment.NULL;

    @Setup(Level.Trial)
    public void prepare() {
        arena = Arena.ofShared();
        from = arena.allocate(bytes / 2, 64).fill((byte) 1);
        to = arena.allocate(bytes / 2, 64);
    }

    @Benchmark
    public void int8() {
        integers.run();
    }

    @Benchmark
    public void float32() {
        floats.run();
    }

    @Benchmark
    public MemorySegment copy() {
        return to.copyFrom(from);
    }

    @TearDown(Level.Trial)
    public void release() {
        integers.close();
        floats.close();
        arena.close();
    }
}
