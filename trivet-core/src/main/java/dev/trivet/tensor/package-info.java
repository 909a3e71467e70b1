/** Tensor files: safetensors reading and writing. */
@NullMarked
package dev.trivet.tensor;

import org.jspecify.annotations.NullMarked;
