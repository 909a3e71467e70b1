/** Executors: a model, float or quantized, run on the kernels. */
@NullMarked
package dev.trivet.runtime;

import org.jspecify.annotations.NullMarked;
