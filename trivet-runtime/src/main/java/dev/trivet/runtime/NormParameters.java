package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;

/** LayerNorm parameters, float32 {@code [width]} each. */
record NormParameters(MemorySegment gamma, MemorySegment beta) {}
