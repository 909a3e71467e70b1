package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;

/** LayerNorm parameters, float32 {@code [width]} each. */
record NormParameters(MemorySegment gamma, MemorySegment beta) {
    /** Whether the values are the same, bit for bit. */
    boolean matches(NormParameters other) {
        return gamma.mismatch(other.gamma) < 0 && beta.mismatch(other.beta) < 0;
    }
}
