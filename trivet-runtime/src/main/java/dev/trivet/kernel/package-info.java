/** Kernels, three of each: reference (defines the result), vector (portable SIMD), oneDNN (fast). */
@NullMarked
package dev.trivet.kernel;

import org.jspecify.annotations.NullMarked;
