package dev.trivet.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Matmul;
import dev.trivet.kernel.MatmulShape;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.Vector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * What a search without integer kernels has to do: codes become floats, and the product is one of floats. Everything else is that of
 * the kernels it wraps, so the time between the two is that of the arithmetic. Float sums above 2^24 round. Thread-safe.
 */
final class FakeQuantizedKernels implements Kernels {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Byte> B =
            VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.max(64, F.length() * 8)));
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();
    /** Scratch slots that the wrapped kernels do not use. */
    private static final int FIRST_SLOT = 8;

    private final Kernels kernels;

    FakeQuantizedKernels(Kernels kernels) {
        this.kernels = kernels;
    }

    @Override
    public String name() {
        return kernels.name();
    }

    @Override
    public String description() {
        return "float32 in place of integers, " + kernels.description();
    }

    @Override
    public Workspace openWorkspace() {
        return kernels.openWorkspace();
    }

    @Override
    public Linear floatLinear(MemorySegment weight, int outputs, int inputs, int typicalRows) {
        return kernels.floatLinear(weight, outputs, inputs, typicalRows);
    }

    @Override
    public Linear integerLinear(MemorySegment codes, int outputs, int inputs, int typicalRows) {
        long count = (long) outputs * inputs;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment weight = arena.allocate(4 * count, 64);
            toFloats(codes, count, true, weight);
            Linear linear = kernels.floatLinear(weight, outputs, inputs, typicalRows);
            return new Linear() {
                @Override
                public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
                    long values = (long) rows * inputs;
                    MemorySegment left = workspace.scratch(FIRST_SLOT, 4 * values);
                    toFloats(in, values, false, left);
                    linear.run(workspace, left, rows, out);
                    toIntegers(out, (long) rows * outputs);
                }

                @Override
                public long weightBytes() {
                    return linear.weightBytes();
                }

                @Override
                public void close() {
                    linear.close();
                }
            };
        }
    }

    @Override
    public long packedBytes(int outputs, int inputs) {
        return 4 * kernels.packedBytes(outputs, inputs);
    }

    @Override
    public Matmul floatMatmul(MatmulShape shape) {
        return kernels.floatMatmul(shape);
    }

    @Override
    public Matmul integerMatmul(MatmulShape shape, boolean leftSigned) {
        Matmul matmul = kernels.floatMatmul(shape);
        return (workspace, left, right, batch, out) -> {
            long lefts = (long) batch * shape.m() * shape.k();
            long rights = (long) batch * shape.n() * shape.k();
            MemorySegment a = workspace.scratch(FIRST_SLOT, 4 * lefts);
            MemorySegment b = workspace.scratch(FIRST_SLOT + 1, 4 * rights);
            toFloats(left, lefts, leftSigned, a);
            toFloats(right, rights, true, b);
            matmul.run(workspace, a, b, batch, out);
            toIntegers(out, (long) batch * shape.m() * shape.n());
        };
    }

    private static void toFloats(MemorySegment codes, long count, boolean signed, MemorySegment out) {
        long i = 0;
        for (; i + B.length() <= count; i += F.length()) {
            Vector<Byte> bytes = ByteVector.fromMemorySegment(B, codes, i, ORDER);
            bytes.convertShape(signed ? VectorOperators.B2I : VectorOperators.ZERO_EXTEND_B2I, I, 0)
                    .convertShape(VectorOperators.I2F, F, 0)
                    .reinterpretAsFloats()
                    .intoMemorySegment(out, 4 * i, ORDER);
        }
        for (; i < count; i++) {
            int code = codes.get(ValueLayout.JAVA_BYTE, i);
            out.setAtIndex(ValueLayout.JAVA_FLOAT, i, signed ? code : code & 0xff);
        }
    }

    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;

    private static void toIntegers(MemorySegment values, long count) {
        long i = 0;
        for (; i + F.length() <= count; i += F.length()) {
            FloatVector.fromMemorySegment(F, values, 4 * i, ORDER)
                    .convertShape(VectorOperators.F2I, I, 0)
                    .reinterpretAsInts()
                    .intoMemorySegment(values, 4 * i, ORDER);
        }
        for (; i < count; i++) {
            values.setAtIndex(ValueLayout.JAVA_INT, i, Math.round(values.getAtIndex(ValueLayout.JAVA_FLOAT, i)));
        }
    }

    /** The wrapped kernels belong to somebody else. */
    @Override
    public void close() {}
}
