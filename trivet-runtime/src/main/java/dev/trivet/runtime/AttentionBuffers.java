package dev.trivet.runtime;

import java.lang.foreign.MemorySegment;

/**
 * Where a block's attention keeps what it works on, {@code [groups, heads, groupTokens, headWidth]} image by image.
 *
 * @param mixed raw sums of the product with the values
 * @param factors float32, without the last dimension: what normalized rows are multiplied by
 */
record AttentionBuffers(
        MemorySegment query, MemorySegment key, MemorySegment value, MemorySegment mixed, MemorySegment factors) {}
