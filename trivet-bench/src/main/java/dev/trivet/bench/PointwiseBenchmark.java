package dev.trivet.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Pointwise;
import dev.trivet.kernel.ReferenceKernels;
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
 * A pass between two products over one image, one thread: {@link PointwisePass}. oneDNN's workspaces run the vector passes, so there are
 * two providers. The setup checks that the result equals the reference's, bit for bit.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class PointwiseBenchmark {
    @Param({"reference", "vector"})
    String provider = "reference";

    @Param
    Stage stage = Stage.DEIT_TINY;

    @Param
    PointwisePass.Kind pass = PointwisePass.Kind.LAYER_NORM;

    /** Of the model, and so of the raw sums and of the operand that is written. */
    @Param({"true", "false"})
    boolean integer = true;

    private Arena arena = Arena.ofAuto();
    private Kernels kernels = new ReferenceKernels();
    private Workspace workspace = kernels.openWorkspace();
    private Pointwise pointwise = workspace.pointwise();
    private @Nullable PointwisePass measured;

    @Setup(Level.Trial)
    public void prepare() {
        kernels = Providers.open(provider);
        workspace = kernels.openWorkspace();
        pointwise = workspace.pointwise();
        arena = Arena.ofShared();
        PointwisePass made = PointwisePass.of(pass, stage, integer, arena);
        measured = made;
        made.run(pointwise);
        MemorySegment result = arena.allocate(made.out().byteSize()).copyFrom(made.out());
        Kernels reference = new ReferenceKernels();
        PointwisePass again = PointwisePass.of(pass, stage, integer, arena);
        try (Workspace plain = reference.openWorkspace()) {
            again.run(plain.pointwise());
        }
        if (again.out().mismatch(result) >= 0) {
            throw new IllegalStateException(provider + " is wrong at " + stage + ", " + pass);
        }
    }

    @Benchmark
    public MemorySegment pass() {
        PointwisePass made = Objects.requireNonNull(measured);
        made.run(pointwise);
        return made.out();
    }

    @TearDown(Level.Trial)
    public void release() {
        workspace.close();
        kernels.close();
        arena.close();
    }
}
