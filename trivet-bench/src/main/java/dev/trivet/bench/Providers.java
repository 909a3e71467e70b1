package dev.trivet.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.OnednnKernels;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.VectorKernels;

/** Kernels by the names that benchmarks' parameters have for them. */
final class Providers {
    static final String REFERENCE = "reference";
    static final String VECTOR = "vector";
    static final String ONEDNN = "onednn";

    private Providers() {}

    /**
     * New kernels; the caller closes them.
     *
     * @throws IllegalArgumentException if there are none of this name
     * @throws UnsatisfiedLinkError if oneDNN does not load here
     */
    static Kernels open(String name) {
        return switch (name) {
            case REFERENCE -> new ReferenceKernels();
            case VECTOR -> new VectorKernels();
            case ONEDNN -> new OnednnKernels();
            default -> throw new IllegalArgumentException("no kernels named " + name);
        };
    }

    /** Whether oneDNN loads on this machine. */
    static boolean hasOnednn() {
        try {
            open(ONEDNN).close();
            return true;
        } catch (UnsatisfiedLinkError | UnsupportedOperationException _) {
            return false;
        }
    }
}
