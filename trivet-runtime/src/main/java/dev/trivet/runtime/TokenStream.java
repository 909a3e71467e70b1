package dev.trivet.runtime;

import dev.trivet.kernel.Kernels;
import java.lang.foreign.MemorySegment;

/**
 * A residual stream or some of its rows: float32 tokens, as far apart as products add to them fastest ({@link Kernels#rowBytes}).
 *
 * @param memory {@code [rows, stride]}, of which {@code width} are a token
 */
record TokenStream(MemorySegment memory, int width, int stride) {
    /** How many elements apart tokens of that width are best. */
    static int stride(Kernels kernels, int width) {
        return kernels.rowBytes(Float.BYTES * width) / Float.BYTES;
    }

    /** Elements between two tokens. */
    int gap() {
        return stride - width;
    }

    /** From a token on. */
    TokenStream from(long token) {
        return new TokenStream(memory.asSlice(bytesTo(token)), width, stride);
    }

    /** Some tokens alone. */
    TokenStream tokens(long first, long count) {
        return new TokenStream(memory.asSlice(bytesTo(first), bytesTo(count)), width, stride);
    }

    long bytesTo(long token) {
        return Float.BYTES * token * stride;
    }

    /** Tokens that follow each other, from one of {@code from} on, to where this begins. */
    void load(MemorySegment from, long first, long count) {
        long bytes = (long) Float.BYTES * width;
        for (long t = 0; t < count; t++) {
            MemorySegment.copy(from, (first + t) * bytes, memory, bytesTo(t), bytes);
        }
    }

    /** The first tokens to where they follow each other, from one of {@code to} on. */
    void store(MemorySegment to, long first, long count) {
        long bytes = (long) Float.BYTES * width;
        for (long t = 0; t < count; t++) {
            MemorySegment.copy(memory, bytesTo(t), to, (first + t) * bytes, bytes);
        }
    }
}
