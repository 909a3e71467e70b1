package dev.trivet.cli.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.Linear;
import dev.trivet.kernel.Requantization;
import dev.trivet.kernel.Workspace;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The roof under which a model runs: one product of a shape that suits the kernels, all of it in the second-level cache, over and over.
 * It is measured with the kernels that run the models, in the same rounds, so it is a rate that this machine does reach. Where the kernels want
 * rows apart, the product makes codes of rows apart, as those of a model do; else sums, after which nothing is done.
 */
public final class PeakCaller implements Contender.Caller {
    private static final int ROWS = 192;
    private static final int INTEGER_INPUTS = 1024;
    private static final int FLOAT_INPUTS = 256;
    private static final int OUTPUTS = 256;
    /** Products of one run; a call of its own costs about as much as in a model. */
    private static final int REPEATS = 8;

    private final Arena arena = Arena.ofShared();
    private final Workspace workspace;
    private final Linear linear;
    private final MemorySegment in;
    private final MemorySegment out;
    private final Requantization codes;

    /** @param integer bytes with int32 sums, or float32 */
    public PeakCaller(Kernels kernels, boolean integer) {
        workspace = kernels.openWorkspace();
        int inputs = inputs(integer);
        long size = integer ? 1 : Float.BYTES;
        MemorySegment weight = arena.allocate(size * OUTPUTS * inputs, 64);
        linear = integer
                ? kernels.integerLinear(weight, OUTPUTS, inputs, ROWS)
                : kernels.floatLinear(weight, OUTPUTS, inputs, ROWS);
        in = arena.allocate(size * ROWS * Math.max(inputs, linear.inputStride()), 64);
        MemorySegment zeros = arena.allocate(4L * OUTPUTS, 64);
        codes = new Requantization(OUTPUTS, zeros, zeros).withStride(kernels.rowBytes(OUTPUTS));
        out = arena.allocate(4L * ROWS * OUTPUTS, 64);
    }

    private static int inputs(boolean integer) {
        return integer ? INTEGER_INPUTS : FLOAT_INPUTS;
    }

    /** Of one run. */
    public static long multiplyAdds(boolean integer) {
        return (long) REPEATS * ROWS * OUTPUTS * inputs(integer);
    }

    @Override
    public void run() {
        workspace.enter();
        for (int i = 0; i < REPEATS; i++) {
            if (linear.inputStride() > 0) {
                linear.requantize(workspace, in, ROWS, codes, out);
            } else {
                linear.run(workspace, in, ROWS, out);
            }
        }
    }

    @Override
    public void close() {
        linear.close();
        workspace.close();
        arena.close();
    }
}
