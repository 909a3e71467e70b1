/** The quantized-model file. */
@NullMarked
package dev.trivet.format;

import org.jspecify.annotations.NullMarked;
