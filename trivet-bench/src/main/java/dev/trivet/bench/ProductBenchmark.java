package dev.trivet.bench;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.OnednnKernels;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
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
 * A linear layer in int8 and in float32 on each provider, 197 rows (one 224-pixel image), one thread. Shapes are {@code
 * outputs x inputs}: DeiT-Tiny's qkv, fc1 and fc2, and DeiT-Small's fc1. The setup checks that the int8 result equals the
 * reference's.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class ProductBenchmark {
    private static final int ROWS = 197;

    @Param({"reference", "vector", "onednn"})
    String provider = "reference";

    @Param({"576x192", "768x192", "192x768", "1536x384"})
    String shape = "576x192";

    private Arena arena = Arena.ofAuto();
    private Kernels kernels = new ReferenceKernels();
    private Workspace workspace = kernels.openWorkspace();
    private MemorySegment codes = MemorySegment.NULL;
    private MemorySegment floats = MemorySegment.NULL;
    private MemorySegment out = MemorySegment.NULL;
    private @Nullable Linear integer;
    private @Nullable Linear floating;

    @Setup(Level.Trial)
    public void prepare() {
        kernels = switch (provider) {
            case "vector" -> new VectorKernels();
            case "onednn" -> new OnednnKernels();
            default -> new ReferenceKernels();
        };
        String[] sides = shape.split("x", -1);
        int outputs = Integer.parseInt(sides[0]);
        int inputs = Integer.parseInt(sides[1]);
        arena = Arena.ofShared();
        workspace = kernels.openWorkspace();
        SplittableRandom random = new SplittableRandom(1);
        codes = bytes(random, ROWS * inputs);
        floats = floats(random, ROWS * inputs);
        out = arena.allocate(4L * ROWS * outputs, 64);
        MemorySegment weightCodes = bytes(random, outputs * inputs);
        integer = kernels.integerLinear(weightCodes, outputs, inputs, ROWS);
        floating = kernels.floatLinear(floats(random, outputs * inputs), outputs, inputs, ROWS);
        check(weightCodes, outputs, inputs);
    }

    private MemorySegment bytes(SplittableRandom random, int count) {
        MemorySegment s = arena.allocate(count, 64);
        for (int i = 0; i < count; i++) {
            s.set(JAVA_BYTE, i, (byte) random.nextInt());
        }
        return s;
    }

    private MemorySegment floats(SplittableRandom random, int count) {
        MemorySegment s = arena.allocate(4L * count, 64);
        for (int i = 0; i < count; i++) {
            s.setAtIndex(JAVA_FLOAT, i, random.nextFloat() - 0.5f);
        }
        return s;
    }

    private void check(MemorySegment weightCodes, int outputs, int inputs) {
        Kernels reference = new ReferenceKernels();
        try (Workspace plain = reference.openWorkspace();
                Linear expectedLinear = reference.integerLinear(weightCodes, outputs, inputs, ROWS)) {
            MemorySegment expected = arena.allocate(4L * ROWS * outputs, 64);
            expectedLinear.run(plain, codes, ROWS, expected);
            Objects.requireNonNull(integer).run(workspace, codes, ROWS, out);
            if (expected.mismatch(out) >= 0) {
                throw new IllegalStateException(provider + " is wrong at " + shape);
            }
        }
    }

    @Benchmark
    public MemorySegment int8() {
        Objects.requireNonNull(integer).run(workspace, codes, ROWS, out);
        return out;
    }

    @Benchmark
    public MemorySegment float32() {
        Objects.requireNonNull(floating).run(workspace, floats, ROWS, out);
        return out;
    }

    @TearDown(Level.Trial)
    public void release() {
        Objects.requireNonNull(integer).close();
        Objects.requireNonNull(floating).close();
        workspace.close();
        kernels.close();
        arena.close();
    }
}
