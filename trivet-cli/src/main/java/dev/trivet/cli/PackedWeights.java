package dev.trivet.cli;

import dev.trivet.kernel.Kernels;
import picocli.CommandLine.Option;

/** How commands that run finished models hold their weights. */
final class PackedWeights {
    @Option(
            names = "--packed-weights",
            description =
                    "Keep weights of fewer than 8 bits packed in memory and expand a layer's each time it runs; less"
                            + " memory, a little slower, the same results.")
    boolean packed;

    /** The process's kernels, announced on standard error. */
    Kernels kernels(OutputOptions common) {
        Kernels best = common.kernels();
        if (!packed) {
            return best;
        }
        Kernels packing = best.packingWeights();
        if (packing.equals(best)) {
            common.err().println("--packed-weights changes nothing: these kernels have no packed form");
        }
        return packing;
    }
}
