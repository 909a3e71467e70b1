package dev.trivet.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
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
 * An attention product of one image, all heads and windows of it: scores (queries by keys, signed by signed bytes) or mixing
 * (probabilities by values, unsigned by signed bytes), in int8 and in float32 on each provider, one thread. The setup checks that the
 * int8 result equals the reference's.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class AttentionProductBenchmark {
    static final String SCORES = "scores";
    static final String MIXING = "mixing";

    @Param({"reference", "vector", "onednn"})
    String provider = "reference";

    @Param
    Stage stage = Stage.DEIT_TINY;

    @Param({SCORES, MIXING})
    String product = SCORES;

    private int batch = 1;
    private Arena arena = Arena.ofAuto();
    private Kernels kernels = new ReferenceKernels();
    private Workspace workspace = kernels.openWorkspace();
    private MemorySegment leftCodes = MemorySegment.NULL;
    private MemorySegment rightCodes = MemorySegment.NULL;
    private MemorySegment left = MemorySegment.NULL;
    private MemorySegment right = MemorySegment.NULL;
    private MemorySegment out = MemorySegment.NULL;
    private @Nullable Matmul integer;
    private @Nullable Matmul floating;

    /** The product of one head of one window. */
    static MatmulShape shape(Stage stage, String product) {
        int tokens = stage.groupTokens();
        int width = stage.headWidth();
        return product.equals(SCORES)
                ? new MatmulShape(tokens, tokens, width, true)
                : new MatmulShape(tokens, width, tokens, false);
    }

    /** Products of one image. */
    static int batch(Stage stage) {
        return stage.groups() * stage.heads();
    }

    @Setup(Level.Trial)
    public void prepare() {
        kernels = Providers.open(provider);
        workspace = kernels.openWorkspace();
        arena = Arena.ofShared();
        RandomMemory memory = new RandomMemory(arena);
        MatmulShape shape = shape(stage, product);
        batch = batch(stage);
        long lefts = (long) batch * shape.m() * shape.k();
        long rights = (long) batch * shape.n() * shape.k();
        long sums = (long) batch * shape.m() * shape.n();
        leftCodes = memory.bytes(lefts);
        rightCodes = memory.bytes(rights);
        left = memory.floats(lefts, 1);
        right = memory.floats(rights, 1);
        out = memory.empty(sums);
        boolean signed = product.equals(SCORES);
        integer = kernels.integerMatmul(shape, signed);
        floating = kernels.floatMatmul(shape);
        if (!provider.equals(Providers.REFERENCE)) {
            check(shape, signed, memory.empty(sums));
        }
    }

    private void check(MatmulShape shape, boolean signed, MemorySegment expected) {
        Kernels reference = new ReferenceKernels();
        try (Workspace plain = reference.openWorkspace()) {
            reference.integerMatmul(shape, signed).run(plain, leftCodes, rightCodes, batch, expected);
            int8();
            if (expected.mismatch(out) >= 0) {
                throw new IllegalStateException(provider + " is wrong at " + stage + ", " + product);
            }
        }
    }

    @Benchmark
    public MemorySegment int8() {
        Objects.requireNonNull(integer).run(workspace, leftCodes, rightCodes, batch, out);
        return out;
    }

    @Benchmark
    public MemorySegment float32() {
        Objects.requireNonNull(floating).run(workspace, left, right, batch, out);
        return out;
    }

    @TearDown(Level.Trial)
    public void release() {
        workspace.close();
        kernels.close();
        arena.close();
    }
}
