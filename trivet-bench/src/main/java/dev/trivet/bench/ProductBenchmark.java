package dev.trivet.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Product;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.Requantization;
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
 * A linear layer in int8 and in float32 on each provider, one thread. Shapes are {@code outputs x inputs} with 197 rows (one 224-pixel
 * image of a ViT), or {@code outputs x inputs x rows}; those below are DeiT-Tiny's qkv, fc1 and fc2, and DeiT-Small's fc1. {@code int8} gives sums of
 * rows that follow each other; {@code int8Added} and {@code int8Codes} are the product with what follows it, of rows as far apart as the provider wants
 * them, as models run it. The setup checks that the sums equal the reference's; what the others give is tested ({@code ProductEndingTest}).
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

    private int rows = ROWS;
    private Arena arena = Arena.ofAuto();
    private Kernels kernels = new ReferenceKernels();
    private Workspace workspace = kernels.openWorkspace();
    private MemorySegment codes = MemorySegment.NULL;
    private MemorySegment floats = MemorySegment.NULL;
    private MemorySegment out = MemorySegment.NULL;
    private @Nullable Linear integer;
    private @Nullable Linear floating;
    private Product product = Product.ofFloats(0, MemorySegment.NULL);
    private Requantization requantization = new Requantization(0, MemorySegment.NULL, MemorySegment.NULL);
    private MemorySegment apart = MemorySegment.NULL;
    private MemorySegment stream = MemorySegment.NULL;
    private int streamStride;

    @Setup(Level.Trial)
    public void prepare() {
        kernels = Providers.open(provider);
        String[] sides = shape.split("x", -1);
        int outputs = Integer.parseInt(sides[0]);
        int inputs = Integer.parseInt(sides[1]);
        rows = sides.length > 2 ? Integer.parseInt(sides[2]) : ROWS;
        arena = Arena.ofShared();
        RandomMemory memory = new RandomMemory(arena);
        workspace = kernels.openWorkspace();
        codes = memory.bytes((long) rows * inputs);
        floats = memory.floats((long) rows * inputs, 1);
        out = memory.empty((long) rows * outputs);
        MemorySegment weightCodes = memory.bytes((long) outputs * inputs);
        integer = kernels.integerLinear(weightCodes, outputs, inputs, rows);
        floating = kernels.floatLinear(memory.floats((long) outputs * inputs, 1), outputs, inputs, rows);
        MemorySegment scale = memory.floats(outputs, 1e-5);
        MemorySegment offset = memory.floats(outputs, 1);
        product = new Product(true, outputs, scale, offset, offset);
        requantization = new Requantization(outputs, scale, offset).withStride(kernels.rowBytes(outputs));
        streamStride = kernels.rowBytes(Float.BYTES * outputs) / Float.BYTES;
        apart = memory.bytes((long) rows * Math.max(Math.max(inputs, integer.inputStride()), requantization.stride()));
        stream = memory.floats((long) rows * streamStride, 1);
        if (!provider.equals(Providers.REFERENCE)) {
            check(weightCodes, outputs, inputs, memory.empty((long) rows * outputs));
        }
    }

    private void check(MemorySegment weightCodes, int outputs, int inputs, MemorySegment expected) {
        Kernels reference = new ReferenceKernels();
        try (Workspace plain = reference.openWorkspace();
                Linear expectedLinear = reference.integerLinear(weightCodes, outputs, inputs, rows)) {
            expectedLinear.run(plain, codes, rows, expected);
            Objects.requireNonNull(integer).run(workspace, codes, rows, out);
            if (expected.mismatch(out) >= 0) {
                throw new IllegalStateException(provider + " is wrong at " + shape);
            }
        }
    }

    @Benchmark
    public MemorySegment int8() {
        Objects.requireNonNull(integer).run(workspace, codes, rows, out);
        return out;
    }

    @Benchmark
    public MemorySegment int8Added() {
        Objects.requireNonNull(integer).addTo(workspace, apart, rows, product, out, stream, streamStride);
        return stream;
    }

    @Benchmark
    public MemorySegment int8Codes() {
        return Objects.requireNonNull(integer).requantize(workspace, apart, rows, requantization, out);
    }

    @Benchmark
    public MemorySegment float32() {
        Objects.requireNonNull(floating).run(workspace, floats, rows, out);
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
