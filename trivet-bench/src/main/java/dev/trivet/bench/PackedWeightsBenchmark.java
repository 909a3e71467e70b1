package dev.trivet.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.OnednnKernels;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;
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
 * An int8 linear layer whose weights need fewer than 8 bits, on oneDNN, one thread: weights as oneDNN reads them, or packed and expanded
 * for each run ({@code --packed-weights}). Shapes as in {@link ProductBenchmark}. The setup checks that both give the same sums.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class PackedWeightsBenchmark {
    static final String EXPANDED = "expanded";
    static final String PACKED = "packed";

    @Param({"576x192x197", "768x192x197", "1536x384x197"})
    String shape = "576x192x197";

    /** Codes are -1, 0 and 1 at 2 bits (ternary weights), else all that there are. */
    @Param({"2", "4"})
    int bits = 2;

    @Param({EXPANDED, PACKED})
    String weights = EXPANDED;

    private int rows = 1;
    private Arena arena = Arena.ofAuto();
    private @Nullable Kernels plain;
    private @Nullable Kernels kernels;
    private @Nullable Workspace workspace;
    private @Nullable Linear linear;
    private MemorySegment in = MemorySegment.NULL;
    private MemorySegment out = MemorySegment.NULL;

    @Setup(Level.Trial)
    public void prepare() {
        String[] sides = shape.split("x", -1);
        int outputs = Integer.parseInt(sides[0]);
        int inputs = Integer.parseInt(sides[1]);
        rows = Integer.parseInt(sides[2]);
        arena = Arena.ofShared();
        RandomMemory memory = new RandomMemory(arena);
        Kernels onednn = new OnednnKernels();
        Kernels used = weights.equals(PACKED) ? onednn.packingWeights() : onednn;
        plain = onednn;
        kernels = used;
        workspace = used.openWorkspace();
        int highest = bits == 2 ? 1 : (1 << (bits - 1)) - 1;
        MemorySegment codes = memory.bytes((long) outputs * inputs, bits == 2 ? -1 : -highest - 1, highest);
        in = memory.bytes((long) rows * inputs);
        out = memory.empty((long) rows * outputs);
        linear = used.integerLinear(codes, outputs, inputs, rows);
        MemorySegment expected = memory.empty((long) rows * outputs);
        try (Linear kept = onednn.integerLinear(codes, outputs, inputs, rows)) {
            kept.run(workspace, in, rows, expected);
        }
        if (int8().mismatch(expected) >= 0) {
            throw new IllegalStateException(weights + " weights are wrong at " + shape);
        }
    }

    @Benchmark
    public MemorySegment int8() {
        Objects.requireNonNull(linear).run(Objects.requireNonNull(workspace), in, rows, out);
        return out;
    }

    @TearDown(Level.Trial)
    public void release() {
        Objects.requireNonNull(linear).close();
        Objects.requireNonNull(workspace).close();
        Objects.requireNonNull(kernels).close();
        Objects.requireNonNull(plain).close();
        arena.close();
    }
}
